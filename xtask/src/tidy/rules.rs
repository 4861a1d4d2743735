//! The rules, a function each: a file's path and text in, findings out.

use super::Finding;

type Rule = fn(&str, &str) -> Vec<Finding>;

/// All of them; each has a test that breaks it.
pub(super) const RULES: [Rule; 13] = [
    arrows,
    module_docs,
    names,
    globs,
    unsafe_places,
    serde_places,
    foreign_types,
    clocks,
    tasks,
    statuses,
    tests_rules,
    length,
    text,
];

/// The order of parts (design.md section 2): a file names its own part or one behind it. Only telemetry
/// may be named from everywhere, but for the last two.
const ORDER: [&str; 13] = [
    "main", "cli", "run", "control", "config", "tyk", "kernel", "fleet", "proxy", "limit", "plane", "store",
    "model",
];

fn arrows(path: &str, text: &str) -> Vec<Finding> {
    // A test may be written in the words of a configuration.
    let Some(part) = part_of(path).filter(|_| !is_test(path)) else { return Vec::new() };
    let own = ORDER.iter().position(|name| *name == part);
    lines(text, |line| {
        let named = named_parts(line);
        let wrong =
            named.into_iter().find(|name| match (own, ORDER.iter().position(|part| part == name)) {
                (Some(own), Some(named)) => named < own,
                (None, Some(_)) => part == "telemetry",
                (Some(_), None) => *name == "telemetry" && matches!(part, "store" | "model"),
                (None, None) => false,
            })?;
        Some(format!(
            "`{part}` may not name `{wrong}`: the arrows go one way; send news by a channel that run.rs wires"
        ))
    })
}

/// Parts that `crate::...` paths of a line name, in use lists too.
fn named_parts(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code.get(at + 7..).unwrap_or_default();
        match rest.strip_prefix('{') {
            Some(list) => named.extend(list.split([',', '}']).map(first_word)),
            None => named.push(first_word(rest)),
        }
    }
    named
}

fn first_word(text: &str) -> &str {
    let text = text.trim();
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Top-level module of a file of the gateway.
fn part_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("gateway/src/")?;
    let part = inside.split('/').next()?.trim_end_matches(".rs");
    (part != "lib").then_some(part)
}

fn module_docs(path: &str, text: &str) -> Vec<Finding> {
    let exempt = !is_rust(path)
        || path.ends_with("/tests.rs")
        || path.contains("/tests/") && !path.ends_with("main.rs");
    if exempt || text.starts_with("//!") {
        return Vec::new();
    }
    whole("begin with `//!`: one paragraph on the module's place, and what it must not know")
}

const VAGUE: [&str; 11] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "types",
    "prelude",
    "shared_types",
    "lib_impl",
];

fn names(path: &str, _: &str) -> Vec<Finding> {
    let stem = path.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
    let vague = path.split('/').chain([stem]).any(|part| VAGUE.contains(&part));
    if is_rust(path) && vague {
        whole("a name that says nothing: name the thing or the step")
    } else {
        Vec::new()
    }
}

fn globs(path: &str, text: &str) -> Vec<Finding> {
    if !is_rust(path) {
        return Vec::new();
    }
    let glob = format!("::{}", "*;");
    lines(text, |line| {
        (line.trim_start().starts_with("pub use") && line.contains(&glob))
            .then(|| "no `pub use` of everything: name what is exported".to_owned())
    })
}

/// Where unsafe may stand (style.md rule 20).
const UNSAFE: [&str; 14] = [
    "ebpf/src/clock.rs",
    "ebpf/src/maps.rs",
    "ebpf/src/maps/",
    "ebpf/src/frame.rs",
    "ebpf/src/cookie.rs",
    "ebpf/src/proof.rs",
    "ebpf/src/main.rs",
    "ebpf/src/abi.rs",
    "ebpf/src/replay.rs",
    "ebpf/src/rig.rs",
    "ebpf/src/sequence.rs",
    "ebpf/src/socket.rs",
    "gateway/src/plane/",
    "gateway/src/kernel/",
];

fn unsafe_places(path: &str, text: &str) -> Vec<Finding> {
    if !is_rust(path)
        || path.starts_with("tests/")
        || is_tidy(path)
        || UNSAFE.iter().any(|place| path.starts_with(place))
    {
        return Vec::new();
    }
    lines(code(text).as_str(), |line| {
        let words = line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
        words.then(|| "unsafe stands in style.md rule 20's files only".to_owned())
    })
}

/// Where text or wire becomes a type (style.md rule 12).
const SERDE: [&str; 7] = [
    "gateway/src/config",
    "gateway/src/tyk",
    "gateway/src/control",
    "gateway/src/store",
    "gateway/src/fleet",
    "gateway/src/telemetry/analytics",
    "gateway/src/cli",
];

fn serde_places(path: &str, text: &str) -> Vec<Finding> {
    let allowed = SERDE.iter().any(|place| path.starts_with(place)) || path.contains("/filter/auth/jwt");
    if !path.starts_with("gateway/src/") || allowed {
        return Vec::new();
    }
    lines(code(text).as_str(), |line| {
        (line.contains("serde::") || line.contains("serde_json")).then(|| {
            "serde stays where text becomes a type: config, tyk, control, store, fleet, cli, jwt".to_owned()
        })
    })
}

fn foreign_types(path: &str, text: &str) -> Vec<Finding> {
    let Some(part) = part_of(path) else { return Vec::new() };
    lines(code(text).as_str(), |line| {
        let is_use = line.contains("hyper::") || line.contains("hyper_util::");
        if is_use && matches!(part, "limit" | "model" | "plane" | "kernel") {
            return Some(format!("no HTTP types in `{part}`"));
        }
        let is_aya = line.contains("aya::");
        (is_aya && !matches!(part, "kernel" | "plane")).then(|| "aya stays in kernel/ and plane/".to_owned())
    })
}

fn clocks(path: &str, text: &str) -> Vec<Finding> {
    // A connection waits for its peer, as a body does.
    let waits = ["/http1/", "/forward/http2.rs", "/body.rs", "/proxy/timer.rs"]
        .iter()
        .any(|place| path.contains(place));
    let allowed = path.contains("/accept") || path.ends_with("/clock.rs") || waits;
    if !path.starts_with("gateway/src/") || allowed || path.starts_with("gateway/src/run") {
        return Vec::new();
    }
    let call = ["Instant", "::now()"].concat();
    lines(code(text).as_str(), |line| {
        line.contains(&call).then(|| "time is an argument: read it in run, accept and clocks".to_owned())
    })
}

fn tasks(path: &str, text: &str) -> Vec<Finding> {
    // The control side's listeners accept as accept.rs does: a task a connection, bounded by a semaphore.
    let allowed = [
        "gateway/src/run",
        "gateway/src/proxy/accept",
        "gateway/src/control/socket.rs",
        "gateway/src/control/admin.rs",
    ];
    if !path.starts_with("gateway/src/") || allowed.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    lines(code(text).as_str(), |line| {
        let spawns = line.contains("tokio::spawn(") || line.contains("spawn_local(");
        spawns.then(|| "tasks are spawned in run and accept, each with an owner".to_owned())
    })
}

fn statuses(path: &str, text: &str) -> Vec<Finding> {
    // What HTTP/1 reads of a status is where a message ends.
    let allowed = path == "gateway/src/proxy/respond.rs"
        || path == "gateway/src/control/admin.rs"
        || path.contains("/http1/")
        || is_test(path);
    if !path.starts_with("gateway/src/") || allowed {
        return Vec::new();
    }
    let name = ["Status", "Code::"].concat();
    lines(code(text).as_str(), |line| {
        line.contains(&name).then(|| "status codes are chosen in proxy/respond.rs".to_owned())
    })
}

fn tests_rules(path: &str, text: &str) -> Vec<Finding> {
    if !is_rust(path) || is_tidy(path) {
        return Vec::new();
    }
    lines(code(text).as_str(), |line| {
        if line.trim_start().starts_with("#[ignore") {
            return Some("no ignored tests: a skip prints what is missing".to_owned());
        }
        let sleeps = line.contains("thread::sleep(") || line.contains("time::sleep(");
        (sleeps && is_test(path))
            .then(|| "no sleeps in tests: wait for a condition with a deadline".to_owned())
    })
}

const LINES_MAX: usize = 800;

fn length(path: &str, text: &str) -> Vec<Finding> {
    let count = text.lines().count();
    if is_rust(path) && count > LINES_MAX {
        return whole(&format!("{count} lines: split what has grown beyond {LINES_MAX}"));
    }
    Vec::new()
}

/// What any text file must be.
fn text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = lines(text, |line| {
        if line.ends_with([' ', '\t']) {
            return Some("no blanks at a line's end".to_owned());
        }
        if is_rust(path) && line.contains('\t') {
            return Some("no tabs".to_owned());
        }
        if is_rust(path) && !is_tidy(path) {
            let todo =
                line.find("TODO").filter(|at| !line.get(at + 4..).unwrap_or_default().starts_with("(#"));
            if todo.is_some() {
                return Some("a TODO names its issue: TODO(#7)".to_owned());
            }
        }
        let machine = ["/root/", "/home/", "/work/"].into_iter().find(|path| line.contains(path));
        machine.filter(|_| !is_tidy(path)).map(|folder| format!("`{folder}` is a path of one machine"))
    });
    if !text.is_empty() && !text.ends_with('\n') {
        findings.extend(whole("end the file with a newline"));
    }
    findings
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// The rules' own words are no breach of them.
fn is_tidy(path: &str) -> bool {
    path.starts_with("xtask/src/tidy")
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests.rs") || path.contains("/tests/")
}

fn whole(message: &str) -> Vec<Finding> {
    vec![Finding { line: 0, message: message.to_owned() }]
}

fn lines(text: &str, mut broken: impl FnMut(&str) -> Option<String>) -> Vec<Finding> {
    let finding = |(idx, line): (usize, &str)| Some(Finding { line: idx + 1, message: broken(line)? });
    text.lines().enumerate().filter_map(finding).collect()
}

/// The text with comments blanked, line for line.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
