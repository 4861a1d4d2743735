//! `bench idle`: what a connection costs that does nothing: kept alive after a request, and half-way
//! through its handshake.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::scenario::{Ground, Scenario};
use super::{LOAD_CPU, Subject};
use crate::bench::report::{Folder, step};
use crate::cpu::{family_resident_bytes, stay_on};
use crate::http;
use crate::netns::Netns;
use crate::table::Table;
use crate::tls::{Client, Offer};
use crate::wait::let_pass;

/// For whatever still goes on when the last connection stands.
const SETTLE: Duration = Duration::from_millis(500);
/// The beginning of a ClientHello that says it is 512 bytes long.
const HALF_A_HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Connections of each kind
    #[arg(long, default_value_t = 1_000)]
    connections: u32,
}

type Open = Box<dyn FnMut(SocketAddr) -> Result<Box<dyn std::any::Any>>>;

pub fn run(arguments: &Arguments, out: &Folder) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let ground = Netns::new("lo")?;
    ground.run(|| compare(arguments, out))
}

fn compare(arguments: &Arguments, out: &Folder) -> Result<()> {
    stay_on(LOAD_CPU)?;
    let ground = Ground::new()?;
    let client = Client::new(&ground.authority, &Offer::default())?;
    let kept_alive: Open = Box::new(|to| {
        let mut connection = http::Connection::open(to)?;
        connection.get("/", "")?;
        Ok(Box::new(connection))
    });
    let kept_tls: Open = Box::new(move |to| {
        let mut connection = client.connect(to, "bench.example")?;
        connection.get("/")?;
        Ok(Box::new(connection))
    });
    let half_open: Open = Box::new(|to| {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&HALF_A_HELLO)?;
        Ok(Box::new(stream))
    });
    let kinds = [
        ("kept alive", Scenario::Plain, kept_alive),
        ("kept alive, TLS", Scenario::Tls, kept_tls),
        ("handshake begun", Scenario::Tls, half_open),
    ];
    let mut table = Table::new(["connection", "subject", "bytes each"]);
    for (name, scenario, mut open) in kinds {
        for subject in [Subject::Nginx, Subject::Haproxy, Subject::WeirTable, Subject::WeirKernel] {
            let started = subject.start(scenario, &ground)?;
            stay_on(LOAD_CPU)?;
            // What the first ones bring is not a connection's.
            let mut held = (0..64).map(|_| open(started.address)).collect::<Result<Vec<_>>>()?;
            let_pass(SETTLE);
            let before = family_resident_bytes(started.pid)?;
            for _ in 0..arguments.connections {
                held.push(open(started.address)?);
            }
            let_pass(SETTLE);
            let grown = family_resident_bytes(started.pid)?.saturating_sub(before);
            let each = grown / u64::from(arguments.connections);
            step(&format!("{name}: {}: {each} bytes", subject.label()));
            table.row([name.to_owned(), subject.label().to_owned(), each.to_string()]);
        }
    }
    let notes = [format!("growth of resident memory over {} connections", arguments.connections)];
    out.table("idle", "proxy: memory of a connection that does nothing", &table, &notes)
}
