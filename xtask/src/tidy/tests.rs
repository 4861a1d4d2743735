use std::path::Path;

use super::check;

/// A text that breaks one rule, and where.
#[track_caller]
fn check_broken(path: &str, text: &str, line: usize, part: &str) {
    let findings = check(Path::new(path), text);
    let found = findings.iter().any(|finding| finding.line == line && finding.message.contains(part));
    assert!(found, "{path}: wanted `{part}` at {line}, got {findings:?}");
}

#[test]
fn every_rule_finds_what_breaks_it() {
    let doc = "//! A part.\n";
    for (path, text, line, part) in [
        ("gateway/src/limit/a.rs", "use crate::proxy::Shared;\n", 2, "may not name `proxy`"),
        ("gateway/src/limit.rs", "use crate::{model, kernel::Facts};\n", 2, "may not name `kernel`"),
        ("gateway/src/model/a.rs", "use crate::telemetry::log;\n", 2, "may not name `telemetry`"),
        ("gateway/src/telemetry/a.rs", "use crate::plane::Plane;\n", 2, "may not name `plane`"),
        ("gateway/src/proxy/util.rs", "", 0, "says nothing"),
        ("gateway/src/proxy/helpers/a.rs", "", 0, "says nothing"),
        ("gateway/src/proxy.rs", "pub use a::*;\n", 2, "name what is exported"),
        ("gateway/src/proxy/a.rs", "fn f() { unsafe { g() } }\n", 2, "rule 20"),
        ("gateway/src/model/a.rs", "use serde::Serialize;\n", 2, "serde stays"),
        ("gateway/src/limit/a.rs", "use hyper::HeaderMap;\n", 2, "no HTTP types"),
        ("gateway/src/proxy/a.rs", "use aya::maps::Array;\n", 2, "aya stays"),
        ("gateway/src/limit/a.rs", "let now = Instant::now();\n", 2, "time is an argument"),
        ("gateway/src/proxy/a.rs", "tokio::spawn(f());\n", 2, "tasks are spawned"),
        ("gateway/src/proxy/a.rs", "StatusCode::OK\n", 2, "respond.rs"),
        ("tests/tests/all/a.rs", "#[ignore]\n", 2, "no ignored tests"),
        ("tests/tests/all/a.rs", "std::thread::sleep(d);\n", 2, "no sleeps"),
        ("gateway/src/proxy/a.rs", "let a = 1; \n", 2, "line's end"),
        ("gateway/src/proxy/a.rs", "\tlet a = 1;\n", 2, "no tabs"),
        ("gateway/src/proxy/a.rs", "// TODO later\n", 2, "names its issue"),
        ("gateway/src/proxy/a.rs", "// see /home/me\n", 2, "one machine"),
        ("gateway/src/proxy/a.rs", "let a = 1;", 0, "newline"),
    ] {
        check_broken(path, &format!("{doc}{text}"), line, part);
    }
    check_broken("gateway/src/proxy/a.rs", "let a = 1;\n", 0, "begin with");
    check_broken("gateway/src/proxy/a.rs", &format!("{doc}{}", "// a\n".repeat(801)), 0, "split");
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        ("gateway/src/run.rs", "//! A.\nuse crate::{config, kernel, proxy};\n"),
        ("gateway/src/config.rs", "//! A.\nuse serde::Deserialize;\nuse crate::limit;\n"),
        (
            "gateway/src/proxy/a.rs",
            "//! A.\nuse crate::telemetry::metrics::Metrics;\n// unsafe { } and tokio::spawn( in a comment\n",
        ),
        ("gateway/src/plane/a.rs", "//! A.\nfn f() { unsafe { g() } }\n"),
        ("README.md", "# Weir\n"),
    ] {
        assert_eq!(check(Path::new(path), text), [], "{path}");
    }
}
