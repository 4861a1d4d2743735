//! Lists of prefixes: swapped whole, kept over reloads and restarts, counted by name, refused whole.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::programs::TestRun as _;
use aya::programs::TestRunOptions;
use weir::plane::{List, Wanted};
use weir_ebpf::abi::{CLASSES, Rules, Sentence};
use weir_ebpf::scope::PortCell;
use weir_tests::frames::{ACK, TCP, V4, ethernet, tcp};
use weir_tests::http::{self, Connection};
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::weir::{Place, Weir, binary};

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: u16 = 8_080;
const XDP_DROP: u32 = 1;
/// More than a change in place may be, so that each list takes a generation of its own.
const MANY: u32 = 2_000;

fn wanted(lists: Vec<List>) -> Wanted {
    Wanted {
        rules: Rules { budget: [1 << 30; CLASSES], epoch_shift: ONE_EPOCH, ..Rules::default() },
        ports: vec![PortCell::tcp(PORT)],
        own: vec![IpAddr::V4(OWN)],
        lists,
        ..Wanted::default()
    }
}

fn frame(source: Ipv4Addr) -> Vec<u8> {
    let header = V4 { source, destination: OWN, protocol: TCP, fragment: 0, option_words: 0 };
    ethernet(0x0800, &header.bytes(&tcp(PORT, ACK)))
}

fn deny(prefixes: &[String]) -> List {
    List::new("deny", Sentence::Deny, prefixes.iter().map(|text| text.parse().expect("a prefix")))
}

#[test]
fn lists_are_swapped_whole_under_traffic() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let filler = |second: u8| (0..MANY).map(move |n| format!("100.{second}.{}.{}/32", n >> 8, n & 0xff));
    // Both deny the victim, by other prefixes and beside other addresses; neither names the stranger.
    let first: Vec<_> = filler(1).chain(["10.1.0.0/16".to_owned(), "10.1.2.3/32".to_owned()]).collect();
    let second: Vec<_> = filler(2).chain(["10.1.2.0/24".to_owned()]).collect();
    let lists = [wanted(vec![deny(&first)]), wanted(vec![deny(&second)])];
    let [a, b] = &lists;
    kernel.maps.apply(a, 1)?;
    let maps = kernel.maps.clone();
    let (stop, victim, stranger) =
        (AtomicBool::new(false), frame(Ipv4Addr::new(10, 1, 2, 3)), frame(Ipv4Addr::new(10, 2, 2, 3)));
    let packets = kernel.packets()?;
    let run = |frame: &[u8]| -> Result<u32> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        Ok(packets.test_run(options)?.return_value)
    };
    let judged = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| -> Result<u64> {
            let mut judged = 0;
            while !stop.load(Ordering::Relaxed) {
                if run(&victim)? != XDP_DROP || run(&stranger)? == XDP_DROP {
                    bail!("packet {judged} met neither list");
                }
                judged += 1;
            }
            Ok(judged)
        });
        let swapped = (0..40).try_for_each(|turn| maps.apply(if turn % 2 == 0 { b } else { a }, 1));
        stop.store(true, Ordering::Relaxed);
        swapped?;
        traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?
    })?;
    println!("{judged} pairs of packets over 40 swaps");
    assert!(judged > 1_000, "{judged}");
    assert_eq!(run(&frame(Ipv4Addr::new(100, 1, 0, 7)))?, XDP_DROP, "in force: the first list");
    assert_ne!(run(&frame(Ipv4Addr::new(100, 2, 0, 7)))?, XDP_DROP, "gone: the second");
    Ok(())
}

#[test]
fn a_successor_finds_what_holds_and_clears_what_was_left() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let texts: Vec<_> = (0..MANY).map(|n| format!("2001:db8:{n:x}::/48")).collect();
    kernel.maps.apply(&wanted(vec![deny(&texts)]), 1)?;
    let before = kernel.maps.rules()?.lists;
    let successor = weir::plane::Maps::open(&kernel.pins())?;
    successor.apply(&wanted(vec![deny(&texts)]), 1)?;
    assert_eq!(successor.rules()?.lists, before, "the same lists: no swap");
    successor.apply(&wanted(vec![deny(&["10.0.0.0/8".to_owned()])]), 1)?;
    assert_ne!(successor.rules()?.lists, before, "other lists: the other generation");
    assert_eq!(kernel.run(&frame(Ipv4Addr::new(10, 2, 3, 4)))?, XDP_DROP);
    let third = weir::plane::Maps::open(&kernel.pins())?;
    third.apply(&wanted(Vec::new()), 1)?;
    assert_ne!(kernel.run(&frame(Ipv4Addr::new(10, 2, 3, 4)))?, XDP_DROP);
    Ok(())
}

/// XDP on lo, whose clients are 127.0.0.0/8; nobody else is guarded.
fn config(place: &Place, kernel: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"ok\" }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"generic\"\nclients = 4096\nguard_own_addresses = false\n{kernel}\n[limit.client]\nrequests = {{ rate = \"1/min\", burst = 1 }}\nshed = []\n",
        place.port
    )
}

fn on_own_loopback(test: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("lists")?.run(test)
}

fn server(weir: &Weir) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), weir.place.port)
}

fn is_dropped(weir: &Weir, client: &str) -> Result<bool> {
    let opened = Connection::open_from_within(client.parse()?, server(weir), Duration::from_millis(500));
    Ok(opened.is_err())
}

fn loaded_from_stdin(weir: &Weir, list: &str, text: &str) -> Result<(i32, String)> {
    let mut command = Command::new(binary()?);
    command.args([list, "load", "-", "--socket"]).arg(weir.place.socket());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.code().unwrap_or(-1), said.concat()))
}

#[test]
fn additions_hold_over_reloads_loads_and_restarts_until_they_are_taken_out() -> Result<()> {
    on_own_loopback(|| {
        let mut weir = Weir::start(|place| config(place, "deny = [\"127.0.0.2\"]"))?;
        assert!(is_dropped(&weir, "127.0.0.2")? && !is_dropped(&weir, "127.0.0.3")?);
        assert!(weir.command(&["deny", "add", "127.0.0.3"])?.status.success());
        assert!(is_dropped(&weir, "127.0.0.3")?);
        let many: String = (0..MANY).map(|n| format!("10.0.{}.{}\n", n >> 8, n & 0xff)).collect();
        let (code, said) = loaded_from_stdin(&weir, "deny", &format!("# ours\n{many}127.0.0.4 # him\n"))?;
        assert_eq!(code, 0, "{said}");
        assert!(is_dropped(&weir, "127.0.0.3")? && is_dropped(&weir, "127.0.0.4")?);
        let (code, said) = loaded_from_stdin(&weir, "deny", "127.0.0.5\n127.0.0.333\n127.0.0.6\nx\n")?;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("stdin:2:1: `127.0.0.333`") && said.contains("stdin:4:1: `x`"), "{said}");
        assert!(is_dropped(&weir, "127.0.0.4")? && !is_dropped(&weir, "127.0.0.5")?, "the old one holds");
        let text = config(&weir.place, "deny = [\"127.0.0.7\"]");
        weir.place.write_config(&text)?;
        assert!(weir.command(&["reload"])?.status.success());
        let all = |weir: &Weir| -> Result<[bool; 4]> {
            Ok([
                is_dropped(weir, "127.0.0.2")?,
                is_dropped(weir, "127.0.0.3")?,
                is_dropped(weir, "127.0.0.4")?,
                is_dropped(weir, "127.0.0.7")?,
            ])
        };
        assert_eq!(all(&weir)?, [false, true, true, true], "a reload changes the configuration's own");
        weir.stop()?;
        weir.start_again()?;
        assert_eq!(all(&weir)?, [false, true, true, true], "over a restart");
        let (code, said) = loaded_from_stdin(&weir, "deny", "127.0.0.2\n")?;
        assert_eq!((code, all(&weir)?), (0, [true, true, false, true]), "{said}");
        let explained = weir.json(&["explain", "127.0.0.3", "--json"])?;
        assert_eq!(explained["conclusion"], "its packets are dropped: it is in added to deny");
        assert!(weir.command(&["deny", "rm", "127.0.0.3"])?.status.success());
        assert_eq!(weir.command(&["deny", "rm", "127.0.0.3"])?.status.code(), Some(1), "not there any more");
        assert_eq!(all(&weir)?, [true, false, false, true]);
        Ok(())
    })
}

#[test]
fn who_is_added_to_allow_is_free_in_both_planes() -> Result<()> {
    on_own_loopback(|| {
        let weir = Weir::start(|place| config(place, "deny = [\"127.0.0.0/29\"]"))?;
        let ask = || Ok(Connection::open_from("127.0.0.9".parse()?, server(&weir))?.get("/", "")?.status);
        let asked = |ask: &dyn Fn() -> Result<u16>| [ask().ok(), ask().ok()];
        assert_eq!(asked(&ask), [Some(200), Some(429)]);
        assert!(weir.command(&["allow", "add", "127.0.0.8/29"])?.status.success());
        assert_eq!(asked(&ask), [Some(200), Some(200)]);
        assert!(is_dropped(&weir, "127.0.0.3")?);
        assert!(weir.command(&["allow", "add", "127.0.0.3"])?.status.success());
        assert!(!is_dropped(&weir, "127.0.0.3")?, "allow wins");
        Ok(())
    })
}

#[test]
fn lists_are_counted_by_name_and_a_dry_run_drops_nothing() -> Result<()> {
    on_own_loopback(|| {
        let lists = "[[kernel.list]]\nname = \"trial\"\naction = \"deny\"\nprefixes = [\"trial.list\"]\ndry_run = true\n[[kernel.list]]\nname = \"spammers\"\naction = \"deny\"\nprefixes = [\"127.0.0.6\"]\n";
        let place = Place::new()?;
        std::fs::write(place.folder().join("trial.list"), "127.0.0.4/31\n")?;
        place.write_config(&config(&place, lists))?;
        let weir = Weir::start_at(place)?;
        assert!(!is_dropped(&weir, "127.0.0.5")? && is_dropped(&weir, "127.0.0.6")?);
        let view = weir.json(&["deny", "list", "--json"])?;
        let met = |name: &str| {
            let rows = view["lists"].as_array()?;
            rows.iter().find(|row| row["name"] == name)?["packets"].as_u64()
        };
        assert!(met("trial") > Some(0) && met("spammers") > Some(0), "{view}");
        let metrics = http::get(weir.place.admin, "/metrics")?.text();
        let counted = |name: &str| {
            let start = format!("weir_kernel_list_packets_total{{list=\"{name}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
        };
        assert!(counted("trial") > Some(0) && counted("spammers") > Some(0), "{metrics}");
        std::fs::write(weir.place.folder().join("trial.list"), "127.0.0.4/31\nnobody\n")?;
        let told = weir.command(&["reload"])?;
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.code() == Some(1) && said.contains("trial.list:2:1: `nobody`"), "{said}");
        Ok(())
    })
}
