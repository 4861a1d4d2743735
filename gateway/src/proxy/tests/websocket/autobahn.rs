//! The cases of the Autobahn test suite that somebody between two ends can spoil: frames of every length
//! form, control frames between fragments, what is malformed for the other end to judge, closing. A row is
//! what one end sends; the other gets the same bytes, whatever pieces they come in.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::thread::scope;

use super::{ASK, KEY, SWITCH};
use super::{Upstream, head, read_end, read_exactly, request, tunnel};
use crate::proxy::tests::forward;
use crate::proxy::tests::harness::Gateway;

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame; who is a client masks it (RFC 6455 section 5.3).
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(masked | u8::try_from(short).unwrap()),
        middle @ 126..=65_535 => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(masked | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    match mask {
        None => bytes.extend(payload),
        Some(mask) => {
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
    bytes
}

/// Name, and frames as their first byte and payload.
type Row = (&'static str, Vec<(u8, Vec<u8>)>);

fn rows() -> Vec<Row> {
    let text = |length: usize| vec![b'*'; length];
    let close = |code: u16, reason: &str| [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    let mut rows: Vec<Row> = Vec::new();
    for length in [0, 125, 126, 127, 128, 65_535, 65_536] {
        rows.push(("1.1 text", vec![(FIN | TEXT, text(length))]));
        rows.push(("1.2 binary", vec![(FIN | BINARY, vec![0xfe; length])]));
    }
    for length in [0, 1, 125, 126] {
        rows.push(("2.1-5 a ping, and one too long", vec![(FIN | PING, text(length))]));
    }
    rows.push(("2.7-9 pongs that nobody asked for", vec![(FIN | PONG, text(9)), (FIN | PING, text(3))]));
    rows.push(("2.10 ten pings", (0..10).map(|n| (FIN | PING, vec![n; 8])).collect()));
    for bits in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        rows.push(("3 reserved bits", vec![(FIN | TEXT, text(3)), (FIN | bits | TEXT, text(3))]));
    }
    for opcode in (3..8).chain(11..16) {
        rows.push(("4 reserved opcodes", vec![(FIN | opcode, text(3))]));
    }
    rows.push(("5.1 a ping in fragments", vec![(PING, text(3)), (FIN, text(3))]));
    rows.push(("5.3 two fragments", vec![(TEXT, text(9)), (FIN, text(9))]));
    rows.push(("5.6 a ping between", vec![(TEXT, text(9)), (FIN | PING, text(4)), (FIN, text(9))]));
    rows.push(("5.9 a continuation of nothing", vec![(FIN, text(9)), (FIN | TEXT, text(1))]));
    rows.push((
        "5.19 fragments and pings",
        (0..5).flat_map(|n| [(u8::from(n == 0), text(5)), (FIN | PING, vec![n; 2])]).collect(),
    ));
    rows.push(("6.2 UTF-8 cut inside a letter", vec![(TEXT, vec![0xce]), (FIN, vec![0xba])]));
    for bytes in [&[0xce, 0xba, 0xed, 0xa0, 0x80][..], &[0xf4, 0x90, 0x80, 0x80], &[0xfe], &[0xff], &[0]] {
        rows.push(("6.3-21 invalid UTF-8", vec![(FIN | TEXT, bytes.to_vec())]));
    }
    for length in [1 << 16, 1 << 18, 1 << 20, 4 << 20, 16 << 20] {
        rows.push(("9.1-2 a large message", vec![(FIN | BINARY, vec![0xfe; length])]));
    }
    for piece in [64, 1_024, 65_536] {
        let mut frames: Vec<_> = (0..(4 << 20) / piece).map(|_| (0, vec![7; piece])).collect();
        frames[0].0 = BINARY;
        frames.push((FIN, Vec::new()));
        rows.push(("9.3-4 a large message in fragments", frames));
    }
    rows.push(("10.1 fragments of 1,300", (0..51).map(|n| (u8::from(n == 0), text(1_300))).collect()));
    for code in
        [0, 999, 1_000, 1_001, 1_002, 1_004, 1_005, 1_006, 1_011, 1_016, 2_999, 3_000, 4_999, 5_000, 65_535]
    {
        rows.push(("7.7-13 close with a code", vec![(FIN | CLOSE, close(code, "why"))]));
    }
    rows.push(("7.3.1 close without", vec![(FIN | CLOSE, Vec::new())]));
    rows.push(("7.3.2 close with half a code", vec![(FIN | CLOSE, vec![3])]));
    rows.push(("7.3.5 close with all that fits", vec![(FIN | CLOSE, close(1_000, &"*".repeat(123)))]));
    rows.push(("7.3.6 close with too much", vec![(FIN | CLOSE, close(1_000, &"*".repeat(124)))]));
    rows.push(("7.1 a message behind a close", vec![(FIN | CLOSE, close(1_000, "")), (FIN | TEXT, text(9))]));
    rows
}

fn bytes(row: &Row, mask: Option<[u8; 4]>) -> Vec<u8> {
    row.1.iter().flat_map(|(first, payload)| frame(*first, payload, mask)).collect()
}

/// In pieces of so many bytes, each a write of its own.
fn write(mut to: &TcpStream, bytes: &[u8], piece: usize) {
    bytes.chunks(piece).for_each(|piece| to.write_all(piece).unwrap());
}

#[test]
fn frames_pass_unchanged_both_ways_in_whatever_pieces() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let (mut client, mut server) = tunnel(&gateway, &upstream);
    for row in rows() {
        let (up, down) = (bytes(&row, Some([0x37, 0xfa, 0x21, 0x3d])), bytes(&row, None));
        for piece in [usize::MAX, 997, 1] {
            // Byte by byte a megabyte takes too long, and says no more.
            if piece < 997 && up.len() > 2_000 || piece < usize::MAX && up.len() > 1 << 20 {
                continue;
            }
            println!("{} {piece}", row.0);
            scope(|scope| {
                let (clients, servers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (&up, &down);
                scope.spawn(move || write(&clients, up, piece));
                scope.spawn(move || write(&servers, down, piece));
                let reading = &mut server;
                scope.spawn(move || read_exactly(reading, up));
                read_exactly(&mut client, down);
            });
        }
    }
}

#[test]
fn a_close_and_the_end_behind_it_reach_the_other_end_whoever_begins() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    let close = frame(FIN | CLOSE, &1_000_u16.to_be_bytes(), None);
    let masked = frame(FIN | CLOSE, &1_000_u16.to_be_bytes(), Some([1, 2, 3, 4]));
    for client_begins in [true, false] {
        let (mut client, mut server) = tunnel(&gateway, &upstream);
        let (first, second, bytes, answer) = if client_begins {
            (&mut client, &mut server, &masked, &close)
        } else {
            (&mut server, &mut client, &close, &masked)
        };
        write(first, bytes, usize::MAX);
        read_exactly(second, bytes);
        write(second, answer, usize::MAX);
        read_exactly(first, answer);
        // The server closes first (RFC 6455 section 7.1.1).
        server.shutdown(Shutdown::Write).unwrap();
        read_end(&mut client);
        drop(client);
        read_end(&mut server);
    }
    // Without a close: the end alone.
    let (client, mut server) = tunnel(&gateway, &upstream);
    drop(client);
    read_end(&mut server);
}

#[test]
fn extensions_and_protocols_are_agreed_between_the_ends() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&forward("a", "/", upstream.port, ""));
    const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"a, b\"\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n";
    let mut client = super::connect(&gateway, &request(&format!("{ASK}{KEY}{DEFLATE}")));
    let (asked, mut server) = upstream.next();
    for line in DEFLATE.to_ascii_lowercase().lines() {
        assert_eq!(asked.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {asked}");
    }
    let agreed = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover\r\nsec-websocket-protocol: b\r\n";
    let switch = SWITCH.strip_suffix("\r\n").unwrap();
    server.write_all(format!("{switch}{agreed}\r\n").as_bytes()).unwrap();
    let answer = head(&mut client).unwrap().to_ascii_lowercase();
    for line in agreed.lines() {
        assert_eq!(answer.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {answer}");
    }
}
