//! The name servers of this host: resolv.conf, and systemd-resolved's own list behind its stub.

use std::net::IpAddr;
use std::path::Path;

/// Where name servers stand. A stub address of 127.0.0.0/8 in the first is this host's own; the second
/// names whom the stub asks.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// Name servers of one file; resolvers take three.
const SERVERS_MAX: usize = 16;

/// Each with the file that names it; none where there is no such file.
pub(super) fn servers() -> Vec<(IpAddr, String)> {
    let read = |file: &&str| Some((std::fs::read_to_string(Path::new(file)).ok()?, (*file).to_owned()));
    let files = FILES.iter().filter_map(read);
    files
        .flat_map(|(text, file)| parse(&text).into_iter().map(move |server| (server, file.clone())))
        .collect()
}

/// `nameserver ADDRESS` lines, an interface behind % left out.
pub(super) fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).take(SERVERS_MAX).collect()
}
