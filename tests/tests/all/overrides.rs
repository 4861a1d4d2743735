//! Named limits of some prefixes instead of everybody's: in the packet path, by the host's build and by
//! the kernel, and for requests in both planes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use weir::model::{ClientKey, Rate};
use weir::plane::{LimitRow, Wanted};
use weir_ebpf::abi::{CLASSES, Rules};
use weir_ebpf::gcra::Limit;
use weir_ebpf::scope::PortCell;
use weir_ebpf::verdict::Verdict;
use weir_tests::frames::{ACK, TCP, V4, ethernet, tcp};
use weir_tests::host_path::HostPath;
use weir_tests::http::Connection;
use weir_tests::kernel_path::{KernelPath, ONE_EPOCH};
use weir_tests::netns::Netns;
use weir_tests::root::require_root;
use weir_tests::weir::{Place, Weir};

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: u16 = 8_080;
const ANYBODY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const PARTNER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SHARED: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

fn packets(burst: u64) -> [Limit; 4] {
    let rate = Rate::new(1, Duration::from_secs(60), burst).expect("fits");
    [rate.limit(), Limit::NONE, Limit::NONE, Limit::NONE]
}

fn over(name: &str, prefix: &str, burst: u64) -> LimitRow {
    let prefixes = vec![prefix.parse().expect("a prefix")];
    LimitRow { name: name.to_owned(), prefixes, limits: packets(burst), aggregates: Vec::new() }
}

fn wanted(overrides: Vec<LimitRow>) -> Wanted {
    let mut rules = Rules { limits: packets(2), epoch_shift: ONE_EPOCH, ..Rules::default() };
    rules.budget = [1 << 30; CLASSES];
    Wanted { rules, ports: vec![PortCell::tcp(PORT)], own: vec![OWN.into()], overrides, ..Wanted::default() }
}

fn frame(source: Ipv4Addr) -> Vec<u8> {
    let header = V4 { source, destination: OWN, protocol: TCP, fragment: 0, option_words: 0 };
    ethernet(0x0800, &header.bytes(&tcp(PORT, ACK)))
}

/// Packets that pass before one is over.
fn passed_by_host(host: &mut HostPath, source: Ipv4Addr) -> usize {
    let passes = |verdict| matches!(verdict, Verdict::Conforming | Verdict::Unproved);
    (0..20).take_while(|_| passes(host.decide(&frame(source)).verdict)).count()
}

fn passed_by_kernel(kernel: &mut KernelPath, source: Ipv4Addr) -> Result<usize> {
    let mut passed = 0;
    while passed < 20 && kernel.run(&frame(source))? == 2 {
        passed += 1;
    }
    Ok(passed)
}

#[test]
fn a_client_has_the_limits_of_the_longest_override() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let overrides = vec![over("partner", "10.1.0.0/16", 5), over("shared", "10.1.2.0/24", 9)];
    let wanted = wanted(overrides);
    let mut kernel = KernelPath::small()?;
    kernel.maps.apply(&wanted, 7)?;
    for is_proved in [false, true] {
        let mut host = HostPath::new(wanted.clone());
        for (source, burst) in [(ANYBODY, 2), (PARTNER, 5), (SHARED, 9)] {
            let key = ClientKey::v4(source.octets());
            if is_proved {
                host.prove(key, None);
                kernel.charge.prove(key)?;
                kernel.charge.forgive(key)?;
            }
            assert_eq!(passed_by_host(&mut host, source), burst, "host: {source}, proved: {is_proved}");
            assert_eq!(
                passed_by_kernel(&mut kernel, source)?,
                burst,
                "kernel: {source}, proved: {is_proved}"
            );
        }
    }
    Ok(())
}

#[test]
fn overrides_come_and_go_and_keep_to_their_prefixes() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let mut kernel = KernelPath::small()?;
    let both = vec![over("partner", "10.1.0.0/16", 5), over("shared", "10.1.2.0/24", 9)];
    let passed = |kernel: &mut KernelPath, overrides: &[LimitRow]| -> Result<[usize; 3]> {
        kernel.maps.apply(&wanted(overrides.to_vec()), 7)?;
        let mut passed = [0; 3];
        for (of, source) in passed.iter_mut().zip([ANYBODY, PARTNER, SHARED]) {
            let key = ClientKey::v4(source.octets());
            kernel.charge.prove(key)?;
            kernel.charge.forgive(key)?;
            *of = passed_by_kernel(kernel, source)?;
        }
        Ok(passed)
    };
    let [partner, shared] = &both[..] else { panic!("two") };
    assert_eq!(passed(&mut kernel, &both)?, [2, 5, 9]);
    assert_eq!(passed(&mut kernel, std::slice::from_ref(shared))?, [2, 2, 9], "under the same row");
    assert_eq!(passed(&mut kernel, &[])?, [2, 2, 2]);
    assert_eq!(passed(&mut kernel, &[shared.clone(), partner.clone()])?, [2, 5, 9], "in another order");
    Ok(())
}

fn config(place: &Place, mode: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\n[[override]]\nname = \"partner\"\nprefixes = [\"127.0.0.8/29\"]\nrequests = {{ rate = \"1/min\", burst = 4 }}\n[kernel]\ninterfaces = [\"lo\"]\nmode = \"{mode}\"\nclients = 4096\nguard_own_addresses = false\n[limit.client]\nrequests = {{ rate = \"1/min\", burst = 1 }}\nshed = []\n",
        place.port
    )
}

#[test]
fn requests_have_the_overrides_limits_in_both_planes_and_explain_says_which() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    Netns::new("overrides")?.run(|| {
        for mode in ["generic", "off"] {
            let weir = Weir::start(|place| config(place, mode))?;
            let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), weir.place.port);
            for (client, burst) in [("127.0.0.2", 1), ("127.0.0.9", 4)] {
                let mut served = 0;
                while Connection::open_from(client.parse()?, server)?.get("/", "")?.status == 200 {
                    served += 1;
                }
                assert_eq!(served, burst, "{client} with mode {mode}");
            }
            let explained = weir.json(&["explain", "127.0.0.9", "--json"])?;
            assert_eq!(explained["limits_of"], "partner");
            assert_eq!(explained["words"][0]["burst"], 4);
            assert!(weir.json(&["explain", "127.0.0.2", "--json"])?["limits_of"].is_null());
        }
        Ok(())
    })
}
