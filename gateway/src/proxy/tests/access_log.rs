//! A line for each request, whatever becomes of it.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex};

use prometheus_client::metrics::counter::Counter;

use super::double::{Double, Manner, OK};
use super::harness::Gateway;
use crate::plane::now_ns;
use crate::telemetry::access_log::AccessLog;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn who_went_before_the_answer_has_a_line_too() {
    use std::io::Write as _;

    let upstream = Double::new(Manner::Hold);
    let written = Written::default();
    let (log, writer) = AccessLog::new(64, Box::new(written.clone()), Counter::default());
    std::thread::spawn(move || writer.run(now_ns));
    let api = format!("[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [{:?}]\n", upstream.url());
    let gateway = Gateway::start_logging("", &api, Some(log));
    let mut client = gateway.connect().unwrap();
    client.write_all(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    gateway.until("the upstream is asked", || upstream.asked() == 1);
    drop(client);
    gateway.until("a line", || !written.lines().is_empty());
    let line = written.lines().remove(0);
    for part in ["\"path\":\"/left\"", "\"status\":499", "\"reason\":\"client_gone\"", "\"upstream\":"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn every_request_has_a_line_that_says_what_became_of_it() {
    let [bad, good] = [Double::new(Manner::Close), Double::new(OK)];
    let written = Written::default();
    let (log, writer) = AccessLog::new(64, Box::new(written.clone()), Counter::default());
    std::thread::spawn(move || writer.run(now_ns));
    let api = |name: &str, path: &str, rest: &str| {
        format!("[[api]]\nname = \"{name}\"\nlisten_path = \"{path}\"\n{rest}\n")
    };
    let both = format!("upstreams = [{:?}, {:?}]\nrequest_id = true", bad.url(), good.url());
    let text = [
        api("good", "/good", &format!("upstreams = [{:?}]", good.url())),
        api("bad", "/bad", &format!("upstreams = [{:?}]", bad.url())),
        api("both", "/both", &both),
        api("keyed", "/keyed", "respond = { status = 200 }\nauth = { key = { file = \"keys.toml\" } }"),
    ];
    let gateway = Gateway::start_logging("", &text.concat(), Some(log));
    let good_name = format!("{0}/{0}", good.address);
    let bad_name = format!("{0}/{0}", bad.address);
    let rows = [
        ("GET", "/good/a?secret=1", 200, Some("good"), None, Some(&good_name), None),
        ("POST", "/bad", 502, Some("bad"), Some("broken"), Some(&bad_name), None),
        ("GET", "/both", 200, Some("both"), None, Some(&good_name), Some(2)),
        ("GET", "/keyed", 401, Some("keyed"), Some("unauthorized"), None, None),
        ("GET", "/nowhere", 404, None, Some("no_api"), None, None),
    ];
    for (method, target, ..) in rows {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        gateway.ask(&head);
    }
    gateway.until("all lines are written", || written.lines().len() == rows.len());
    for (line, (method, target, status, api, reason, upstream, attempts)) in written.lines().iter().zip(rows)
    {
        let path = target.split('?').next().unwrap();
        let middle = format!(
            r#"Z","client":"127.0.0.1","method":"{method}","path":"{path}","status":{status},"duration_us":"#
        );
        assert!(line.starts_with(r#"{"time":"20"#) && line.contains(&middle), "{line}");
        let has = |name: &str, value: Option<String>| match value {
            Some(value) => assert!(line.contains(&format!(r#""{name}":{value}"#)), "{name} in {line}"),
            None => assert!(!line.contains(&format!(r#""{name}""#)), "no {name} in {line}"),
        };
        let quoted = |text: &str| format!("{text:?}");
        has("api", api.map(quoted));
        has("reason", reason.map(quoted));
        has("upstream", upstream.map(|name| quoted(name)));
        has("attempts", attempts.map(|count: u32| count.to_string()));
        has("auth_scheme", (api == Some("keyed")).then(|| quoted("none")));
        has("auth_reason", (api == Some("keyed")).then(|| quoted("absent")));
        has("request_id", (api == Some("both")).then(|| "\"".to_owned()));
    }
}
