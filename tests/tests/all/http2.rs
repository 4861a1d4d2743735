//! HTTP/2 listeners: over TLS by ALPN and by prior knowledge; the same exchange as HTTP/1's; what becomes
//! of floods, stalls and trickles; conformance by h2spec.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::h2::{
    ACK, CANCEL, CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY,
    HEADERS, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame, get, request,
};
use weir_tests::http::{self, PATIENCE};
use weir_tests::pki::Authority;
use weir_tests::recorder::Recorder;
use weir_tests::tls::{Client, Offer};
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::{Place, Weir};

/// A plain listener with `h2c` and one with TLS on the port of `tls_port`, `/` forwarded to `upstream`,
/// `/hello` answered by Weir; no kernel plane.
fn config(place: &Place, upstream: u16, rest: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:{}\"\nh2c = true\n\
         [[api]]\nname = \"hello\"\nlisten_path = \"/hello\"\nrespond = {{ status = 200, body = \"hello\" }}\n\
         [[api]]\nname = \"up\"\nlisten_path = \"/\"\nupstreams = [\"http://127.0.0.1:{upstream}\"]\n\
         {rest}[kernel]\nmode = \"off\"\nguard_own_addresses = false\n",
        place.port
    )
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\nok";

fn start(rest: &str) -> Result<(Weir, Recorder)> {
    start_before(OK, Duration::ZERO, rest)
}

fn start_before(answer: &str, after: Duration, rest: &str) -> Result<(Weir, Recorder)> {
    let upstream = Recorder::start(answer, after)?;
    let weir = Weir::start(|place| config(place, upstream.port, rest))?;
    Ok((weir, upstream))
}

fn socket(weir: &Weir) -> Result<TcpStream> {
    let stream = TcpStream::connect(weir.address())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn connect(weir: &Weir) -> Result<Connection<TcpStream>> {
    Connection::begin(socket(weir)?)
}

#[test]
fn one_plain_listener_speaks_both() -> Result<()> {
    let (weir, upstream) = start("")?;
    ensure!(http::get(weir.address(), "/hello")?.text() == "hello");
    let mut connection = connect(&weir)?;
    connection.send(&[get(1, "/hello"), get(3, "/up")].concat())?;
    let (head, body) = connection.answer(1)?;
    ensure!(head.has_status(200) && body == b"hello");
    let mut connection = connect(&weir)?;
    connection.send(&request(1, END_STREAM, "HEAD", "/hello", &[]))?;
    let (head, body) = connection.answer(1)?;
    ensure!(head.has_status(200) && body.is_empty(), "HEAD has no body");
    // A preface in pieces, and a line that is nobody's.
    let mut slow = socket(&weir)?;
    for piece in PREFACE.chunks(5) {
        std::io::Write::write_all(&mut slow, piece)?;
        let_pass(Duration::from_millis(5));
    }
    let mut slow = Connection { stream: slow };
    slow.send(&[frame(SETTINGS, 0, 0, &[]), get(1, "/hello")].concat())?;
    ensure!(slow.answer(1)?.1 == b"hello");
    let mut stranger = Connection { stream: socket(&weir)? };
    stranger.send(b"SSH-2.0-OpenSSH\r\n")?;
    ensure!(stranger.read()?.is_none(), "closed without a word");
    wait_for("the other request", PATIENCE, || (upstream.heads().len() == 1).then_some(()))?;
    Ok(())
}

#[test]
fn the_upstream_gets_what_http1_would_have_brought() -> Result<()> {
    let (weir, upstream) = start("")?;
    let mut connection = connect(&weir)?;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), ("x-end", "1")];
    connection.send(&request(1, END_STREAM, "GET", "/p?q=1", &crumbs))?;
    let (head, body) = connection.answer(1)?;
    ensure!(head.has_status(200) && body == b"ok");
    connection.send(&request(3, 0, "POST", "/p", &[("content-length", "6")]))?;
    connection.send(&[frame(DATA, 0, 3, b"abc"), frame(DATA, END_STREAM, 3, b"def")].concat())?;
    ensure!(connection.answer(3)?.1 == b"ok");
    let heads = upstream.heads();
    let first = heads.first().context("a request")?;
    ensure!(first.starts_with("get /p?q=1 http/1.1\r\n"), "{first}");
    for kept in ["\r\ncookie: a=1; b=2\r\n", "\r\nx-forwarded-host: a.example\r\n", "\r\nx-end: 1\r\n"] {
        ensure!(first.contains(kept), "{kept:?} in {first}");
    }
    ensure!(!first.contains("\r\nte:"), "{first}");
    ensure!(heads.get(1).is_some_and(|head| head.contains("\r\ncontent-length: 6\r\n")), "{heads:?}");
    Ok(())
}

#[test]
fn an_answer_to_head_keeps_the_length_that_get_would_have() -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n";
    let (weir, _upstream) = start_before(head, Duration::ZERO, "")?;
    let mut connection = connect(&weir)?;
    // Content-Length is field 28 of HPACK's table, 77 two bytes of its Huffman code.
    connection.send(&request(1, END_STREAM, "HEAD", "/", &[]))?;
    let (head, body) = connection.answer(1)?;
    ensure!(head.ends_stream() && body.is_empty());
    let length = [0x0f, 0x0d, 0x82, 0x75, 0xdf];
    ensure!(head.payload.windows(length.len()).any(|part| part == length), "{:x?}", head.payload);
    Ok(())
}

#[test]
fn trailers_of_a_request_frame_and_name_nobody() -> Result<()> {
    let (weir, upstream) = start("")?;
    let mut connection = connect(&weir)?;
    let trailers =
        [("x-forwarded-for", "6.6.6.6"), ("host", "b"), ("authorization", "x"), ("x-checksum", "7")];
    connection.send(&request(1, 0, "POST", "/", &[]))?;
    connection.send(&frame(DATA, 0, 1, b"abc"))?;
    connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers)))?;
    ensure!(connection.answer(1)?.1 == b"ok");
    // The recorder takes what follows a head without a length for another head.
    let behind = wait_for("a chunked body", PATIENCE, || upstream.heads().get(1).cloned())?;
    ensure!(behind == "3\r\nabc\r\n0\r\nx-checksum: 7\r\n\r\n", "{behind:?}");
    Ok(())
}

#[test]
fn streams_are_bounded_over_all_connections() -> Result<()> {
    let (weir, upstream) = start_before(OK, Duration::from_millis(300), "[bounds]\nall_streams = 2\n")?;
    let (mut first, mut second) = (connect(&weir)?, connect(&weir)?);
    first.send(&[get(1, "/up"), get(3, "/up")].concat())?;
    wait_for("both", PATIENCE, || (upstream.heads().len() == 2).then_some(()))?;
    second.send(&get(1, "/up"))?;
    let refused = second.until("a reset", |frame| frame.kind == RST_STREAM)?;
    ensure!(refused.error_code() == Some(REFUSED_STREAM), "{refused:?}");
    ensure!(first.answer(3)?.1 == b"ok");
    second.send(&get(3, "/up"))?;
    ensure!(second.answer(3)?.1 == b"ok", "a place is given back");
    ensure!(upstream.heads().len() == 3);
    Ok(())
}

#[test]
fn what_is_no_request_reaches_nobody() -> Result<()> {
    let (weir, upstream) = start("")?;
    type Case<'a> = (&'a str, Vec<u8>, fn(&Frame) -> bool);
    let of = |fields: &[(&str, &str)]| frame(HEADERS, 5, 1, &block(fields));
    let (m, s, p, a) = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.example"));
    let is_reset: fn(&Frame) -> bool = |frame| frame.error_code() == Some(PROTOCOL_ERROR);
    let is_400: fn(&Frame) -> bool = |frame| frame.has_status(400);
    let is_either: fn(&Frame) -> bool =
        |frame| frame.has_status(400) || frame.error_code() == Some(PROTOCOL_ERROR);
    let cases: Vec<Case<'_>> = vec![
        ("Connection", of(&[m, s, p, a, ("connection", "x")]), is_reset),
        ("Transfer-Encoding", of(&[m, s, p, a, ("transfer-encoding", "chunked")]), is_reset),
        ("Upgrade", of(&[m, s, p, a, ("upgrade", "websocket")]), is_reset),
        ("TE", of(&[m, s, p, a, ("te", "gzip")]), is_reset),
        ("upper case", of(&[m, s, p, a, ("X-Upper", "1")]), is_reset),
        ("a line's end", of(&[m, s, p, a, ("x-a", "1\r\nx-b: 2")]), is_reset),
        ("NUL", of(&[m, s, p, a, ("x-a", "1\x002")]), is_reset),
        ("a name with a colon", of(&[m, s, p, a, ("x:a", "1")]), is_reset),
        ("no path", of(&[m, s, a]), is_reset),
        ("an empty path", of(&[m, s, (":path", ""), a]), is_reset),
        ("a path twice", of(&[m, s, p, p, a]), is_reset),
        ("a line's end in the path", of(&[m, s, (":path", "/ HTTP/1.1\r\nx: 1"), a]), is_reset),
        ("no authority", of(&[m, s, p]), is_400),
        ("Host differs", of(&[m, s, p, a, ("host", "b.example")]), is_400),
        ("Host twice", of(&[m, s, p, ("host", "a.example"), ("host", "a.example")]), is_400),
        ("a list of hosts", of(&[m, s, p, (":authority", "a,b")]), is_either),
        ("user info", of(&[m, s, p, (":authority", "u@a.example")]), is_either),
        ("*", of(&[(":method", "OPTIONS"), s, (":path", "*"), a]), is_400),
        (
            "a length that is not the body's",
            [request(1, 0, "POST", "/", &[("content-length", "5")]), frame(DATA, END_STREAM, 1, b"ab")]
                .concat(),
            is_either,
        ),
    ];
    for (what, frames, is_right) in &cases {
        let mut connection = connect(&weir)?;
        connection.send(frames)?;
        let ends = |frame: &Frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY);
        let answer = connection.until(what, ends)?;
        ensure!(is_right(&answer), "{what}: {answer:?}");
    }
    // A body that is cut short may have begun to be forwarded: nothing else may.
    let heads = upstream.heads();
    ensure!(heads.iter().all(|head| head.starts_with("post ")), "{heads:?}");
    Ok(())
}

#[test]
fn half_an_answer_is_reset_and_trailers_pass() -> Result<()> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n4\r\nhalf\r\n";
    for (rest, is_whole) in [("0\r\nX-T: 1\r\n\r\n", true), ("zz\r\n", false)] {
        let (weir, _upstream) = start_before(&format!("{chunked}{rest}"), Duration::ZERO, "")?;
        let mut connection = connect(&weir)?;
        connection.send(&get(1, "/"))?;
        let is_end = |frame: &Frame| frame.stream == 1 && (frame.ends_stream() || frame.kind == RST_STREAM);
        let end = connection.until("the end", is_end)?;
        let wanted = if is_whole { HEADERS } else { RST_STREAM };
        ensure!(end.kind == wanted, "{rest:?}: {end:?}");
    }
    Ok(())
}

/// Repeats frames until the connection ends or `most` were sent; whether GOAWAY told it to be calm.
fn flood(
    connection: &mut Connection<TcpStream>,
    most: usize,
    mut frames: impl FnMut(usize) -> Vec<u8>,
) -> Result<bool> {
    for idx in 0..most {
        if connection.send(&frames(idx)).is_err() {
            break;
        }
    }
    while let Ok(Some(frame)) = connection.read() {
        if frame.kind == GOAWAY && frame.error_code() == Some(ENHANCE_YOUR_CALM) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Frames of a flood: far beyond what is forgiven.
const FLOOD: usize = 20_000;

#[test]
fn floods_end_the_connection_and_reach_nobody() -> Result<()> {
    type Frames = fn(usize) -> Vec<u8>;
    fn id(idx: usize) -> u32 {
        u32::try_from(2 * idx + 1).unwrap_or(u32::MAX)
    }
    let floods: [(&str, &[&str], Frames); 11] = [
        ("PING", &["h2_ping"], |_| frame(PING, 0, 0, &[0; 8])),
        ("PING answers", &["h2_ping"], |_| frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", &["h2_settings"], |_| frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", &["h2_priority"], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("WINDOW_UPDATE", &["h2_window_update"], |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown frames", &["h2_other"], |_| frame(0xee, 0, 0, &[0; 4])),
        ("rapid reset", &["h2_reset", "h2_calm"], |idx| {
            [get(id(idx), "/flood"), frame(RST_STREAM, 0, id(idx), &CANCEL.to_be_bytes())].concat()
        }),
        ("made-you-reset", &["h2_window_update", "h2_made_reset", "h2_calm"], |idx| {
            [get(id(idx), "/flood"), frame(WINDOW_UPDATE, 0, id(idx), &0x7fff_ffff_u32.to_be_bytes())]
                .concat()
        }),
        ("empty DATA", &["h2_empty_data", "h2_calm"], |idx| match idx {
            0 => request(1, 0, "POST", "/slow-body", &[]),
            _ => frame(DATA, 0, 1, &[]),
        }),
        ("empty CONTINUATION", &["h2_continuation", "h2_calm"], |idx| match idx {
            0 => frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")])),
            _ => frame(CONTINUATION, 0, 1, &[]),
        }),
        ("streams without end", &["h2_refused", "h2_calm"], |idx| {
            request(id(idx), 0, "POST", "/slow-body", &[])
        }),
    ];
    for (what, reasons, frames) in floods {
        let (weir, upstream) = start_before(OK, Duration::from_millis(20), "")?;
        let mut good = connect(&weir)?;
        good.send(&get(1, "/good"))?;
        good.answer(1)?;
        let before = weir.resident_kib()?;
        let mut connection = connect(&weir)?;
        let calmed = flood(&mut connection, FLOOD, frames)?;
        let is_counted = || reasons.iter().any(|reason| weir.closed(reason).is_ok_and(|count| count == 1));
        wait_for(format_args!("{what} is counted"), PATIENCE, || is_counted().then_some(()))?;
        ensure!(calmed, "{what}: no GOAWAY");
        // Whoever was there goes on, on the connection that was there.
        good.send(&get(3, "/good"))?;
        ensure!(good.answer(3)?.1 == b"ok", "{what}");
        let grown = weir.resident_kib()?.saturating_sub(before);
        ensure!(grown < 4_096, "{what}: {grown} KiB more");
        let reached = upstream.heads().iter().filter(|head| head.contains("/flood")).count();
        println!("{what}: {grown} KiB more, {reached} requests reached the upstream");
        ensure!(reached == 0, "{what}: {reached} requests reached the upstream");
    }
    Ok(())
}

#[test]
fn who_floods_again_is_shed() -> Result<()> {
    let limit = "[limit.client]\nrequests = { rate = \"10/s\", burst = 300 }\nshed_after = { refused = 20, within = \"10s\" }\n";
    let (weir, _upstream) = start(limit)?;
    for _ in 0..2 {
        flood(&mut connect(&weir)?, FLOOD, |_| frame(PING, 0, 0, &[0; 8]))?;
    }
    let is_banned = || (weir.metric("weir_bans").is_ok_and(|bans| bans == 1)).then_some(());
    wait_for("the ban", PATIENCE, is_banned)?;
    ensure!(connect(&weir)?.read().is_ok_and(|frame| frame.is_none()) || weir.closed("banned")? > 0, "shed");
    Ok(())
}

#[test]
fn trickles_and_stalls_are_ended() -> Result<()> {
    let times = "[timeouts]\nrequest_head = \"400ms\"\nrequest_body_idle = \"400ms\"\nresponse_write_idle = \"400ms\"\nkeep_alive = \"400ms\"\n";
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(1_000_000));
    let (weir, _upstream) = start_before(&long, Duration::ZERO, times)?;
    // A preface that does not come whole.
    let mut half = Connection { stream: socket(&weir)? };
    half.send(PREFACE.get(..20).context("a part")?)?;
    ensure!(half.read()?.is_none());
    weir.wait_closed("request_head")?;
    let counted = weir.closed("request_head")?;
    // A block of headers whose bytes come one by one, each within any time between two.
    let mut trickling = connect(&weir)?;
    let head = get(1, "/hello");
    let sent = head.iter().take_while(|byte| {
        let_pass(Duration::from_millis(50));
        trickling.send(&[**byte]).is_ok()
    });
    let sent = sent.count();
    ensure!(sent < head.len(), "all {sent} bytes were taken");
    ensure!(weir.closed("request_head")? > counted);
    // Nobody asks for anything: a goodbye without blame.
    let mut idle = connect(&weir)?;
    let goodbye = idle.until("GOAWAY", |frame| frame.kind == GOAWAY)?;
    ensure!(goodbye.error_code() == Some(0), "{goodbye:?}");
    // A window of nothing, and a window of a byte now and then.
    let mut stalled = Connection::begin_with(socket(&weir)?, &[(4, 0)])?;
    stalled.send(&get(1, "/"))?;
    let end = stalled.until("the end", |frame| frame.kind == RST_STREAM)?;
    ensure!(end.error_code() == Some(CANCEL), "{end:?}");
    weir.wait_closed("h2_window_stalled")?;
    let mut sipping = Connection::begin_with(socket(&weir)?, &[(4, 1)])?;
    sipping.send(&get(1, "/"))?;
    let mut sips = 0;
    loop {
        let frame = sipping.until("a byte or the end", |frame| matches!(frame.kind, DATA | RST_STREAM))?;
        if frame.kind == RST_STREAM {
            break;
        }
        let_pass(Duration::from_millis(100));
        sips += 1;
        ensure!(sips < 50, "{sips} bytes were given one by one");
        sipping.send(&frame_of_window(1))?;
    }
    // A socket that is not read, with all the window in the world.
    let mut deaf = Connection::begin_with(socket(&weir)?, &[(4, 0x7fff_ffff)])?;
    deaf.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()))?;
    for idx in 0..20 {
        deaf.send(&get(2 * idx + 1, "/"))?;
    }
    weir.wait_closed("response_write_idle")?;
    // A body that stops coming.
    let mut stopping = connect(&weir)?;
    stopping.send(&request(1, 0, "POST", "/", &[("content-length", "9")]))?;
    stopping.send(&frame(DATA, 0, 1, b"a"))?;
    let end =
        stopping.until("the end", |frame| frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM))?;
    ensure!(!end.has_status(200), "{end:?}");
    Ok(())
}

fn frame_of_window(bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 1, &bytes.to_be_bytes())
}

#[test]
fn memory_of_a_client_that_never_reads_is_bounded() -> Result<()> {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n{}", "x".repeat(4_000_000));
    let (weir, _upstream) = start_before(&long, Duration::ZERO, "")?;
    let mut first = connect(&weir)?;
    first.send(&get(1, "/hello"))?;
    first.answer(1)?;
    let before = weir.resident_kib()?;
    let deaf = (0..10_u32).map(|_| {
        let mut deaf = Connection::begin_with(socket(&weir)?, &[(4, 0x7fff_ffff)])?;
        deaf.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()))?;
        for idx in 0..50 {
            deaf.send(&get(2 * idx + 1, "/"))?;
        }
        Ok(deaf)
    });
    let deaf = deaf.collect::<Result<Vec<_>>>()?;
    // All streams have begun, and each has fetched what it is going to.
    let_pass(Duration::from_secs(1));
    let each = weir.resident_kib()?.saturating_sub(before) / 10;
    drop(deaf);
    println!("a client that reads nothing of 50 answers of 4 MB takes {each} KiB");
    ensure!(each < 4_096, "{each} KiB");
    Ok(())
}

#[test]
fn a_drain_says_goodbye_and_lets_streams_finish() -> Result<()> {
    let (mut weir, upstream) = start_before(OK, Duration::from_millis(500), "")?;
    let mut connection = connect(&weir)?;
    connection.send(&get(1, "/"))?;
    wait_for("the request", PATIENCE, || (upstream.heads().len() == 1).then_some(()))?;
    weir.signal(Signal::SIGTERM)?;
    connection.until("GOAWAY", |frame| frame.kind == GOAWAY && frame.error_code() == Some(0))?;
    let ping = connection.until("the drain's PING", |frame| frame.kind == PING && frame.flags & ACK == 0)?;
    connection.send(&frame(PING, ACK, 0, &ping.payload))?;
    ensure!(connection.answer(1)?.1 == b"ok", "the running stream is answered");
    ensure!(weir.wait(PATIENCE)?.success());
    Ok(())
}

#[test]
fn tls_agrees_on_http2_and_then_it_is_spoken() -> Result<()> {
    let authority = Authority::new("Weir's test authority")?;
    let place = Place::new()?;
    authority.issue(&["a.example"])?.write(place.folder(), "a")?;
    place.write_config(&tls_config(&place, 1))?;
    let weir = Weir::start_at(place)?;
    for (offered, agreed) in [(&["h2"][..], "h2"), (&["http/1.1", "h2"], "h2"), (&["http/1.1"], "http/1.1")] {
        let client = Client::new(&authority, &Offer { alpn: offered, ..Offer::default() })?;
        let mut stream = client.connect(weir.address(), "a.example")?;
        ensure!(stream.alpn() == Some(agreed.as_bytes()), "{offered:?}");
        if agreed == "h2" {
            let mut connection = Connection::begin(stream)?;
            connection.send(&get(1, "/hello"))?;
            ensure!(connection.answer(1)?.1 == b"hello");
        } else {
            ensure!(stream.get("/hello")?.text() == "hello");
        }
    }
    // HTTP/2 was agreed, HTTP/1 comes.
    let client = Client::new(&authority, &Offer { alpn: &["h2"], ..Offer::default() })?;
    let mut liar = client.connect(weir.address(), "a.example")?;
    ensure!(!liar.get("/hello").is_ok_and(|answer| answer.status == 200));
    Ok(())
}

fn tls_config(place: &Place, upstream: u16) -> String {
    let tls = "tls = { certificates = [{ cert = \"a.crt\", key = \"a.key\" }] }";
    config(place, upstream, "").replace("h2c = true", tls)
}

/// The program, where `cargo xtask test` builds it, or in PATH.
fn h2spec() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/h2spec/h2spec");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("h2spec"));
    std::iter::once(built).chain(found).find(|program| program.is_file())
}

/// Some cases want a body to stop in the middle of.
const LONGER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789";

/// What h2spec has.
const CASES: &str = "145 tests, 145 passed, 0 skipped, 0 failed";

#[test]
fn h2spec_passes_on_tls_and_cleartext() -> Result<()> {
    let Some(program) = h2spec() else {
        ensure!(
            std::env::var("CI").as_deref() != Ok("true"),
            "h2spec is missing: `cargo xtask test` builds it"
        );
        eprintln!("skipped: no h2spec; `cargo xtask test` builds it where there is a Go");
        return Ok(());
    };
    let authority = Authority::new("Weir's test authority")?;
    // Most cases want to misbehave before the answer is over.
    let upstream = Recorder::start(LONGER, Duration::from_millis(50))?;
    for (is_tls, arguments) in [(false, &[][..]), (true, &["-t", "-k"])] {
        let place = Place::new()?;
        authority.issue(&["a.example"])?.write(place.folder(), "a")?;
        let text = if is_tls { tls_config(&place, upstream.port) } else { config(&place, upstream.port, "") };
        place.write_config(&text)?;
        let weir = Weir::start_at(place)?;
        let mut command = Command::new("timeout");
        command.arg("120").arg(&program).args(["-h", "127.0.0.1", "-o", "3", "-p"]);
        command.arg(weir.place.port.to_string()).args(arguments);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let failed: Vec<_> = said.lines().filter(|line| line.contains('×')).collect();
        ensure!(
            said.contains(CASES),
            "TLS {is_tls}: {failed:#?}\n{}",
            said.lines().last().unwrap_or_default()
        );
        println!("h2spec, TLS {is_tls}: {CASES}");
    }
    Ok(())
}
