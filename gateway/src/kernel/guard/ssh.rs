//! Operators' addresses: far ends of the SSH sessions that this process was started from, or that are
//! open on this host. A session says so in its environment; sudo clears that, but not its parents'.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses that are kept.
const SESSIONS_MAX: usize = 64;
const ANCESTORS_MAX: usize = 64;
/// Processes of others that are asked.
const PROCESSES_MAX: usize = 8_192;
const ENVIRON_BYTES: u64 = 1 << 20;
const SOCKETS_MAX: usize = 65_536;

/// `own` is this process's SSH_CONNECTION or SSH_CLIENT. Its parents' word is taken as well; other
/// processes' only where a TCP connection of this host agrees, since anyone can write a variable. What
/// may not be read is passed over: without root that is most of it.
pub fn sessions(own: Option<&str>) -> Vec<IpAddr> {
    let mut peers: Vec<IpAddr> = own.and_then(peer).into_iter().collect();
    peers.extend(ancestors().filter_map(|pid| peer(&connection_of(pid)?)));
    let others: Vec<_> = processes().filter_map(connection_of).collect();
    if !others.is_empty() {
        let open = established();
        peers.extend(
            others
                .iter()
                .filter_map(|text| both_ends(text))
                .filter(|ends| open.contains(ends))
                .map(|(_, peer)| peer.ip()),
        );
    }
    let mut seen = HashSet::new();
    peers.retain(|peer| !peer.is_loopback() && seen.insert(*peer));
    peers.truncate(SESSIONS_MAX);
    peers
}

/// `PEER PORT ..`, which SSH_CONNECTION and SSH_CLIENT begin with.
pub(super) fn peer(text: &str) -> Option<IpAddr> {
    address(text.split(' ').next()?)
}

/// Both ends of `PEER PORT ADDRESS PORT`: ours, then the peer's.
pub(super) fn both_ends(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = text.split(' ');
    let mut end = || Some(SocketAddr::new(address(words.next()?)?, words.next()?.parse().ok()?));
    let (peer, own) = (end()?, end()?);
    Some((own, peer))
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical())
}

/// This process's parents, the nearest first.
fn ancestors() -> impl Iterator<Item = u32> {
    let next = |pid: &u32| parent(*pid).filter(|pid| *pid > 0);
    std::iter::successors(Some(std::process::id()), next).skip(1).take(ANCESTORS_MAX)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, but no field behind its last bracket does.
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).take(PROCESSES_MAX)
}

/// SSH_CONNECTION of a process, as it was started.
fn connection_of(pid: u32) -> Option<String> {
    let mut environ = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ"))
        .ok()?
        .take(ENVIRON_BYTES)
        .read_to_end(&mut environ)
        .ok()?;
    let value = environ.split(|byte| *byte == 0).find_map(|pair| pair.strip_prefix(b"SSH_CONNECTION="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// TCP connections of this network namespace: our end and the peer's.
fn established() -> HashSet<(SocketAddr, SocketAddr)> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let texts: Vec<String> = tables.into_iter().map(text).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(socket).take(SOCKETS_MAX).collect()
}

/// `sl: local:port peer:port state ..` in hex; 01 is established.
pub(super) fn socket(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.split_whitespace().skip(1);
    let (own, peer, state) = (words.next()?, words.next()?, words.next()?);
    if state != "01" {
        return None;
    }
    Some((end(own)?, end(peer)?))
}

fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut octets = [0; 16];
            for (to, at) in octets.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                to.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}
