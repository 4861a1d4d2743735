//! `bench sources`: ten million distinct sources, as packets, as requests behind a trusted proxy and as
//! real peers of 127/8; memory before and after against what `weir check` promised.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use nix::unistd::Pid;
use weir_ebpf::abi;

use super::report::{Folder, step};
use super::testbed::{Family, Flood, Ground, TCP_PORT, Testbed, UDP_PORT};
use crate::cpu::{children, family_resident_bytes};
use crate::flow::Transport;
use crate::http::Connection;
use crate::rig::{Bound, Pace, Sources};
use crate::table::Table;
use crate::weir::Weir;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Distinct sources of packets, and of requests by X-Forwarded-For
    #[arg(long, default_value_t = 10_000_000)]
    sources: u64,
    /// Distinct peers of 127/8, a connection and a request each
    #[arg(long, default_value_t = 100_000)]
    peers: u32,
}

/// Requests that go out in one write.
const PIPELINE: u64 = 128;
/// Between two lines of progress.
const STRIDE: u64 = 1_000_000;

/// Memory at a moment.
#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    maps: u64,
}

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    let ground = Ground::new()?;
    let testbed = Testbed::new(&ground)?;
    let weir = ground.server.run(|| Weir::start(|_| config()))?;
    let ceiling =
        weir.json(&["check", "--json"])?.pointer("/memory/ceiling_bytes").and_then(serde_json::Value::as_u64);
    let ceiling = ceiling.context("weir check names no ceiling")?;
    let mut table = Table::new(["after", "resident MiB", "maps MiB", "ceiling MiB"]);
    let mut note = |what: String| -> Result<()> {
        let memory = memory(weir.pid(), &weir.place.pins())?;
        step(&format!("{what}: {} MiB resident, {} MiB of maps", memory.resident >> 20, memory.maps >> 20));
        table.row([what, mebibytes(memory.resident), mebibytes(memory.maps), mebibytes(ceiling)]);
        ensure!(memory.resident + memory.maps <= ceiling, "beyond the ceiling of {ceiling} bytes");
        Ok(())
    };
    note("the start".to_owned())?;
    for (family, transport) in [(Family::V4, Transport::Udp), (Family::V6, Transport::Syn)] {
        let mut generator = testbed.generator(Flood { family, transport, sources: Sources::Millions })?;
        let bound = Bound { frames: arguments.sources, time: Duration::from_secs(120) };
        let sent = generator.send(bound, Pace::Unpaced)?;
        note(format!("{} packets of as many sources, {family:?} {transport:?}", sent.frames))?;
    }
    ground.server.run(|| requests(arguments.sources))?;
    note(format!("{} requests of as many clients behind a proxy", arguments.sources))?;
    ground.server.run(|| peers(arguments.peers))?;
    note(format!("{} real peers", arguments.peers))?;
    let notes =
        ["resident: keeper and gateway; maps: memory of the BPF maps, theirs and the rig's, by fdinfo"
            .to_owned()];
    out.table("sources", "sources: memory under ten million sources", &table, &notes)
}

fn config() -> String {
    format!(
        "trusted_proxies = [\"127.0.0.1/32\"]\n[[listener]]\naddress = \"0.0.0.0:{TCP_PORT}\"\n[[listener]]\naddress = \"[::]:{TCP_PORT}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nprotect = [\"udp/{UDP_PORT}\"]\n[limit.client]\nrequests = {{ rate = \"10/min\", burst = 10 }}\npackets = {{ rate = \"1000/s\", burst = 2000 }}\n"
    )
}

fn server() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), TCP_PORT)
}

/// A client each, named by a trusted proxy, over one kept-alive connection.
fn requests(count: u64) -> Result<()> {
    let mut stream = TcpStream::connect(server())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut sent, mut batch, mut answers) = (0, String::new(), Answers::default());
    while sent < count {
        batch.clear();
        let size = PIPELINE.min(count - sent);
        for number in sent..sent + size {
            let client = Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number)?);
            batch.push_str(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"));
        }
        stream.write_all(batch.as_bytes())?;
        answers.read(&mut stream, size)?;
        sent += size;
        if sent % STRIDE < PIPELINE {
            step(&format!("{sent} requests"));
        }
    }
    Ok(())
}

/// Counts answers by their status lines; all must be 200.
#[derive(Default)]
struct Answers {
    tail: Vec<u8>,
}

impl Answers {
    fn read(&mut self, stream: &mut TcpStream, count: u64) -> Result<()> {
        const STATUS: &[u8] = b"HTTP/1.1 ";
        const END: &[u8] = b"\r\n\r\n";
        let (mut ended, mut buffer) = (0, vec![0; 64 * 1_024]);
        while ended < count {
            let read = stream.read(&mut buffer)?;
            ensure!(read > 0, "the gateway closed the connection");
            self.tail.extend_from_slice(buffer.get(..read).unwrap_or_default());
            while let Some(end) = self.tail.windows(END.len()).position(|window| window == END) {
                let head: Vec<u8> = self.tail.drain(..end + END.len()).collect();
                ensure!(head.starts_with(STATUS), "not an answer: {}", String::from_utf8_lossy(&head));
                ensure!(head.starts_with(b"HTTP/1.1 200 "), "refused: {}", String::from_utf8_lossy(&head));
                ended += 1;
            }
        }
        Ok(())
    }
}

/// Addresses of 127/8 with one connection and one request each.
fn peers(count: u32) -> Result<()> {
    for number in 0..count {
        // From 127.1.0.0 on, so that the trusted 127.0.0.1 is none of them.
        let source = Ipv4Addr::from_bits(0x7f01_0000 + number);
        let status =
            Connection::open_from(source.into(), server())?.get("/", "Connection: close\r\n")?.status;
        ensure!(status == 200, "{source} got {status}");
        if number % 20_000 == 19_999 {
            step(&format!("{} peers", number + 1));
        }
    }
    Ok(())
}

/// `pins`: some maps are held by programs alone, so they are opened here to be seen.
fn memory(keeper: Pid, pins: &Path) -> Result<Memory> {
    let mut maps = BTreeMap::new();
    let opened = abi::maps::ALL.iter().map(|name| MapData::from_pin(pins.join(name)));
    let _opened = opened.collect::<Result<Vec<_>, _>>()?;
    for pid in children(keeper).into_iter().chain([keeper, Pid::this()]) {
        collect_maps(pid, &mut maps)?;
    }
    Ok(Memory { resident: family_resident_bytes(keeper)?, maps: maps.values().sum() })
}

/// Bytes of each BPF map that a process holds, by the map's id.
fn collect_maps(pid: Pid, maps: &mut BTreeMap<u64, u64>) -> Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
