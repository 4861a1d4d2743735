use std::path::Path;

use proptest::prelude::*;

use super::*;

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";

fn parsed(text: &str) -> Result<Config, Errors> {
    parse(text, Path::new("weir.toml"), Path::new("/run/weir/control.sock"))
}

/// `text` behind a listener of two lines is wrong at `line:column`, and the message says `part`.
#[track_caller]
fn check_wrong(text: &str, place: &str, part: &str) {
    let errors = parsed(&format!("{text}\n{LISTENER}")).expect_err(text);
    let found = errors
        .0
        .iter()
        .any(|error| format!("{}:{}", error.line, error.column) == place && error.message.contains(part));
    assert!(found, "{text}\nwanted {place} with `{part}`, got\n{errors}");
}

#[test]
fn mistakes_are_named_with_their_place() {
    let rule = |name: &str, ports: &str, rest: &str| {
        format!("[[kernel.rule]]\nname = \"{name}\"\nports = [\"{ports}\"]\n{rest}\n")
    };
    const SOME: &str = "requests = { rate = \"9/s\", burst = 9 }";
    let over = |name: &str, prefix: &str, rest: &str| {
        format!("[[override]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n{rest}\n")
    };
    let sum = |name: &str, prefix: &str, rest: &str| {
        format!("[[limit.aggregate]]\nname = \"{name}\"\nprefix = \"{prefix}\"\n{rest}\n")
    };
    const SUM: &str = "packets = { rate = \"9/s\", burst = 9 }";
    let list = |name: &str, action: &str, rest: &str| {
        format!("[[kernel.list]]\nname = \"{name}\"\naction = \"{action}\"\nprefixes = []\n{rest}\n")
    };
    for (text, place, part) in [
        ("via = \"a b\"", "1:7", "letters, digits"),
        ("via = \"\"", "1:7", "letters, digits"),
        ("workers = 0", "1:11", "\"auto\" or 1"),
        ("wrokers = 2", "1:1", "did you mean `workers`"),
        ("[kernal]\nclients = 5000", "1:2", "did you mean `kernel`"),
        ("[kernel]\nclients = 10", "2:11", "4096"),
        ("[kernel]\nmode = \"nativ\"", "2:8", "did you mean `native`"),
        ("[kernel]\nmodee = \"native\"", "2:1", "did you mean `mode`"),
        ("[kernel]\ninterfaces = \"eth0\"", "2:14", "list of interface names"),
        ("[kernel]\nprotect = [\"tcp/443\", \"tcp/0\"]", "2:23", "tcp/PORT"),
        ("[kernel]\nprotect = [\"sctp/5\"]", "2:12", "tcp/PORT"),
        ("[kernel]\nallow = [\"10.0.0.0/33\"]", "2:10", "no address"),
        ("[kernel]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]", "3:9", "`allow` too"),
        (&over("a", "10.0.0.0/8", ""), "2:8", "sets no limit"),
        (&sum("a b", "v4/24", SUM), "2:8", "letters, digits"),
        (&sum("a", "v4/25", SUM), "3:10", "did you mean `v4/24`"),
        (&sum("a", "v4/24", ""), "1:1", "packets"),
        (&sum("a", "v4/24", "packets = { rate = \"9/s\", burst = 0 }"), "4:20", "at least 1"),
        (&sum("a", "v4/24", &format!("{SUM}\nport = \"tcp/0\"")), "5:8", "or one port"),
        (&sum("a", "v4/24", &format!("{SUM}\nport = \"tcp/1-9\"")), "5:8", "or one port"),
        (&sum("a", "v6/48", SUM).repeat(2), "6:8", "another aggregate"),
        (&[sum("a", "v6/48", SUM), sum("b", "v6/48", SUM)].concat(), "6:8", "in one word"),
        (
            &[
                sum("a", "v6/48", &format!("{SUM}\nport = \"each\"")),
                sum("b", "v6/48", &format!("{SUM}\nport = \"udp/53\"")),
            ]
            .concat(),
            "7:8",
            "in one word",
        ),
        (
            &(1..=9)
                .map(|n| sum(&n.to_string(), "v4/24", &format!("{SUM}\nport = \"udp/{n}\"")))
                .collect::<String>(),
            "42:8",
            "at most 8",
        ),
        (
            &format!("{}{}", rule("a", "tcp/1", "weight = 10"), sum("a", "v4/24", SUM)),
            "8:35",
            "may cost 10 by its rule",
        ),
        (
            &format!(
                "{}{}[[override.aggregate]]\nname = \"nets\"",
                sum("net", "v4/24", SUM),
                over("a", "10.0.0.0/8", "")
            ),
            "10:8",
            "did you mean `net`",
        ),
        (
            &format!(
                "{}{}{1}",
                sum("net", "v4/24", SUM) + &over("a", "10.0.0.0/8", ""),
                "[[override.aggregate]]\nname = \"net\"\n"
            ),
            "12:8",
            "stands twice",
        ),
        ("[kernel]\naggregates = 9", "2:14", "1024 to"),
        (&over("client", "10.0.0.0/8", SOME), "2:8", "another limit"),
        (&over("a", "2001:db8::/65", SOME), "2:8", "at most that long"),
        (&over("a", "10.0.0.0/33", SOME), "3:13", "no address"),
        (&over("a", "10.0.0.0/8", "bytes = { rate = \"1MiB/s\", burst = \"1KiB\" }"), "4:36", "64KiB"),
        ("[kernel]\nprefixes = 1\nallow = [\"10.0.0.1\", \"10.0.0.2\"]", "2:12", "hold 2 prefixes"),
        (&rule("a", "tcp/0", ""), "3:10", "tcp/PORT"),
        (&rule("a", "udp/9-8", ""), "3:10", "a range"),
        (&rule("none", "tcp/1", ""), "2:8", "another rule"),
        (
            &format!("{}{}", rule("a", "tcp/1-9", ""), rule("b", "tcp/9", "")),
            "7:10",
            "meets ports of the rule `a`",
        ),
        (&rule("a", "tcp/1", "weight = 256"), "4:10", "1 to 255"),
        (&rule("a", "tcp/1", "weight = { sny = 2 }"), "4:10", "syn, tcp"),
        (&rule("a", "tcp/1", "class = \"fragment\""), "4:9", "did you mean `fragments`"),
        (
            &format!(
                "{}[limit.client]\npackets = {{ rate = \"9/s\", burst = 9 }}",
                rule("a", "tcp/1", "weight = 10")
            ),
            "4:10",
            "never pass",
        ),
        (&list("x!", "deny", ""), "2:8", "letters, digits"),
        (&list("deny", "deny", ""), "2:8", "another list"),
        (&format!("{0}{0}", list("a", "deny", "")), "7:8", "another list"),
        (&list("a", "dney", ""), "3:10", "did you mean `deny`"),
        (&list("a", "allow", "dry_run = true"), "5:11", "cannot be tried"),
        ("[kernel]\nwatchdog = \"500ms\"", "2:12", "at least 1s"),
        ("[kernel]\nwatchdog = \"on\"", "2:12", "as in \"5s\""),
        ("[kernel]\npin_dir = \"bpf\"", "2:11", "absolute"),
        ("[kernel.unproved]\nsyn = \"0/s\"", "2:7", "cut off"),
        ("[kernel.unproved]\nsyn = \"20000\"", "2:7", "as in \"100/s\""),
        ("[limit.client]\nrequests = { rate = \"1/h\", burst = 2 }", "2:21", "15 min"),
        ("[limit.client]\nrequests = { rate = \"0/s\", burst = 2 }", "2:21", "at least 1"),
        ("[limit.client]\nrequests = { rate = \"100\", burst = 2 }", "2:21", "as in \"100/s\""),
        ("[limit.client]\nrequests = { rate = \"100/s\", burst = \"2\" }", "2:38", "number of units"),
        ("[limit.client]\nrequests = { rate = \"100/s\" }", "2:12", "burst"),
        ("[limit.client]\nbytes = { rate = \"20MiB/s\", burst = \"1KiB\" }", "2:37", "64KiB"),
        ("[limit.client]\nbytes = { rate = \"20MB/s\", burst = \"1MiB\" }", "2:18", "20MiB/s"),
        ("[limit.client]\nshed_after = { refused = 0, within = \"10s\" }", "2:26", "1 to"),
        ("[limit.client]\nshed = [\"10s\", \"0s\"]", "2:16", "never do anything"),
        ("[timeouts]\ndrain = \"30\"", "2:9", "as in \"5s\""),
        ("[timeouts]\ndrian = \"30s\"", "2:1", "did you mean `drain`"),
        ("[bounds]\nheader_bytes = \"1KiB\"", "2:16", "8KiB to 16MiB"),
        ("[bounds]\nconnections = 10\nconnections_per_client = 20", "3:26", "above"),
        ("[fleet]\nnode = \"a\"", "1:1", "needs [store]"),
        ("[store]\nredis = [\"redis://a\"]\n[fleet]\nperiod = \"1s\"", "4:10", "20ms to 150ms"),
        ("[store]\nredis = [\"redis://a\"]\n[fleet]\nnode = \"a b\"", "4:8", "letters, digits"),
        ("[store]\nredis = [\"redis://a\"]\n[fleet]\non_partition = \"closed\"", "4:16", "in this version"),
        ("[store]\nredis = []", "2:9", "at least one"),
        ("[store]\nredis = [\"127.0.0.1\"]", "2:10", "redis://HOST:PORT"),
        ("[store]\nredis = [\"redis://u:secret@h\"]", "2:10", "password_file"),
        ("[store]\nredis = [\"redis://a\", \"redis://b\"]", "2:9", "more than one"),
        ("[store]\nredis = [\"redis://a\", \"rediss://b\"]\ncluster = true", "2:23", "same for all"),
        ("[store]\nredis = [\"redis://a/1\"]\ncluster = true", "2:10", "no databases"),
        ("[store]\nredis = [\"redis://a\"]\ncluster = true\nsentinel = \"m\"", "4:12", "not both"),
        ("[store]\nredis = [\"redis://a\"]\nsentinle = \"m\"", "3:1", "did you mean `sentinel`"),
        ("[store]\nredis = [\"redis://a\"]\ntls = { ca = \"a\" }", "3:7", "rediss://"),
        ("[store]\nredis = [\"redis://a\"]\nuser = \"weir\"", "3:8", "needs a password"),
        ("[store]\nredis = [\"redis://a\"]\npassword_file = \"nowhere\"", "3:17", "cannot be read"),
        ("[store]\nredis = [\"redis://a\"]\nsentinel_user = \"a\"", "3:17", "no Sentinels"),
        ("[store]\nredis = [\"redis://a\"]\nprefix = \"{a}\"", "3:10", "letters"),
        ("[store]\nredis = [\"redis://a\"]\ntags = 0", "3:8", "1 to 256"),
        ("[store]\nredis = [\"redis://a\"]\ntimeouts = { late = \"3s\" }", "3:21", "before `give_up`"),
        ("[admin]\naddress = \"localhost\"", "2:11", "address and port"),
        ("[admin]\naddress = \"127.0.0.1:8080\"", "2:11", "[[listener]]'s too"),
        ("[[listener]]\naddress = \"127.0.0.1:8080\"", "4:11", "stands twice"),
        ("[[listener]]\naddress = \"0.0.0.0:1\"\ntls = {}", "3:7", "certificates"),
        ("[[listener]]\naddress = \"0.0.0.0:1\"\ntls = { certificates = [] }\nh2c = true", "4:7", "ALPN"),
        ("[[listener]]\naddress = \"0.0.0.0:1\"\nproxy_protocol = true", "3:18", "trusted_proxies"),
        ("[access_log]\nto = \"\"", "2:6", "stdout"),
        ("[access_log]\nto = \"stdout\"\nqueue = 0", "3:9", "1 to"),
        ("workers = ", "1:11", ""),
    ] {
        check_wrong(text, place, part);
    }
}

#[test]
fn mistakes_of_an_api_are_named_with_their_place() {
    let api = |rest: &str| format!("[[api]]\nname = \"a\"\nlisten_path = \"/a\"\n{rest}");
    for (rest, place, part) in [
        ("", "2:8", "needs `upstreams`, `respond` or"),
        ("upstreams = [\"http://a\"]\nbalance = \"least\"", "5:11", "least_pending"),
        ("upstreams = [\"http://a\"]\nbalance = { header_hash = \"a b\" }", "5:11", "header_hash"),
        ("upstreams = [\"http://a\"]\neject = { failure = 1 }", "5:11", "did you mean `failures`"),
        ("upstreams = [\"http://a\"]\neject = { statuses = [404] }", "5:23", "500 to 599"),
        ("upstreams = [\"http://a\"]\neject = { time = \"10m\" }", "5:18", "longer than `most`"),
        ("upstreams = [\"http://a\"]\neject = { percent = 101 }", "5:21", "0 to 100"),
        ("upstreams = [\"http://a\"]\ncheck = { path = \"x\" }", "5:18", "starts with /"),
        ("upstreams = [\"h2c://a\"]\ncheck = { path = \"/\" }", "5:18", "speak HTTP/1"),
        ("upstreams = [\"http://a\"]\ncheck = { grpc = \"\" }", "5:18", "speaks HTTP/2"),
        ("upstreams = [\"h2c://a\"]\ncheck = { grpc = \"a b\" }", "5:18", "service's name"),
        ("upstreams = [\"h2c://a\"]\ncheck = { path = \"/\", grpc = \"\" }", "5:30", "or `grpc`"),
        ("upstreams = [\"http://a\"]\ncheck = { every = \"1ms\" }", "5:9", "100ms"),
        ("upstreams = [\"http://a\"]\nretry = { times = 9 }", "5:19", "0 to 5"),
        ("upstreams = [\"http://a\"]\nin_flight = { most = 0 }", "5:22", "1 to"),
        ("respond = { status = 200 }\nretry = { times = 1 }", "5:9", "there are none"),
        ("redirect = { to = \"/elsewhere\" }", "4:19", "https://HOST"),
        ("redirect = { to = \"https://a\", status = 200 }", "4:41", "308"),
        ("redirect = { to = \"https://a\" }\nrespond = { status = 200 }", "5:11", "has one of"),
        (
            "respond = { status = 200 }\nrequest_headers = { remove = [\"Content-Length\"] }",
            "5:31",
            "belongs to",
        ),
        ("respond = { status = 200 }\nresponse_headers = { set = { \"X Y\" = \"1\" } }", "5:30", "letters"),
        (
            "respond = { status = 200 }\nresponse_headers = { add = { \"X\" = \"1\\r\\nY: 2\" } }",
            "5:36",
            "printable",
        ),
        ("respond = { status = 200 }\ncors = { origins = [\"https://a/\"] }", "5:21", "without a path"),
        ("respond = { status = 200 }\ncors = { origins = [\"*\"], credentials = true }", "5:8", "refuse"),
        ("respond = { status = 200 }\ncors = { origins = [] }", "5:20", "at least one"),
        ("respond = { status = 200 }\nrequest_id = 7", "5:14", "true or the name"),
        ("upstreams = []", "4:13", "at least one"),
        ("upstreams = [\"ftp://h\"]", "4:14", "http://HOST"),
        ("upstreams = [\"http://\"]", "4:14", "http://HOST"),
        ("upstreams = [\"http://h:99999\"]", "4:14", "http://HOST"),
        ("upstreams = [\"http://u@h:1\"]", "4:14", "http://HOST"),
        ("upstreams = [{ url = \"http://h\", weight = 0 }]", "4:14", "weight"),
        ("upstreams = [{ ulr = \"http://h\" }]", "4:14", "url"),
        ("upstreams = [\"h3://h\"]", "4:14", "an upstream is"),
        ("respond = { status = 100 }", "4:22", "200 to 599"),
        ("respond = { status = 200 }\nupstreams = [\"http://h\"]", "4:11", "has one of"),
        (
            "respond = { status = 200 }\nlimits = [{ key = \"credential\", rate = \"1/s\", burst = 1 }]",
            "5:19",
            "auth",
        ),
        (
            "respond = { status = 200 }\nlimits = [{ key = \"ip\", rate = \"1/s\", burst = 1 }]",
            "5:19",
            "credential",
        ),
        ("respond = { status = 200 }\ncompress = { types = [\"json\"] }", "5:23", "text/html"),
        ("respond = { status = 200 }\ncompress = { level = 10 }", "5:22", "1 to 9"),
        ("respond = { status = 200 }\nbody_bytes = \"many\"", "5:14", "or \"unlimited\""),
        ("respond = { status = 200 }\nrequest_total = \"0s\"", "5:17", "never do anything"),
        ("respond = { status = 200 }\nclient_certificate = \"require\"", "5:22", "did you mean `required`"),
        ("respond = { status = 200 }\nclient_certificate = \"required\"", "5:22", "no [[listener]] asks"),
        ("respond = { status = 200 }\nauth = {}", "5:8", "scheme"),
        ("respond = { status = 200 }\nauth = { require = \"both\" }", "5:20", "any, all"),
        ("respond = { status = 200 }\nauth = { key = { fil = \"x\" } }", "5:18", "did you mean `file`"),
        ("respond = { status = 200 }\nauth = { key = { file = \"x\", query = \"a=b\" } }", "5:38", "letters"),
        ("respond = { status = 200 }\nauth = { headers = { X-A = \"{who}\" } }", "5:28", "{credential}"),
        ("respond = { status = 200 }\nauth = { lift_client_limit = true }", "5:30", "needs a row"),
        ("respond = { status = 200 }\n[[policy]]\nname = \"p\"\nrate = \"1/s\"", "7:8", "needs `burst`"),
        (
            "respond = { status = 200 }\n[[policy]]\nname = \"p\"\ngrants = [{ api = \"b\" }]",
            "7:19",
            "no [[api]]",
        ),
        (
            "respond = { status = 200 }\n[[policy]]\nname = \"p\"\ngrants = [{ api = \"a\", paths = [\"/x*\"] }]",
            "7:33",
            "segments",
        ),
        ("respond = { status = 200 }\nauth = { jwt = { jwks = \"u\" } }", "5:25", "a key set is at"),
    ] {
        check_wrong(&api(rest), place, part);
    }
    let two = "[[api]]\nname = \"a\"\nlisten_path = \"/a\"\nrespond = { status = 200 }\n";
    check_wrong(&two.repeat(2), "6:8", "two APIs");
    check_wrong(&two.repeat(2), "7:15", "already");
    check_wrong(&two.replace("\"/a\"", "\"a\""), "3:15", "starts with /");
    check_wrong(&two.replace("\"/a\"", "\"/b/../a\""), "3:15", "normal form");
}

#[test]
fn mistakes_in_keys_are_told_with_their_place() {
    let digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let row = format!("[[key]]\nname = \"a\"\nsha256 = \"{digest}\"\n");
    let policies = std::collections::HashSet::from(["p".to_owned()]);
    let known = keys::Known { policies: &policies, most: 2 };
    let check = |text: &str, place: &str, part: &str| {
        let errors = keys::parse(text, Path::new("keys.toml"), &known).expect_err(part).to_string();
        assert!(errors.contains(&format!("keys.toml:{place}: ")) && errors.contains(part), "{errors}");
    };
    assert!(keys::parse(&format!("{row}policies = [\"p\"]"), Path::new("k"), &known).is_ok());
    check("[[key]]\nname = \"a\"\nsha256 = \"7692\"\n", "3:10", "64 hex digits");
    check("[[key]]\nname = \"a b\"\nsha256 = \"7692\"\n", "2:8", "printable");
    check(&row.repeat(2), "5:8", "stands twice");
    check(&row.repeat(3), "1:1", "raise [auth] credentials");
    check(&format!("{row}policies = [\"q\"]"), "4:13", "no [[policy]]");
    check(&format!("{row}expires = 2027-01-31"), "4:11", "a moment");
    check(&format!("{row}expires = \"tomorrow\""), "4:11", "a moment");
    check(&format!("{row}metadata = {{ a = \"{}\" }}", "x".repeat(600)), "4:18", "at most 512 bytes");
    check(&format!("{row}polices = [\"p\"]"), "4:1", "did you mean `policies`");
}

#[test]
fn all_mistakes_are_told_at_once_in_order() {
    let errors =
        parsed("workers = 0\n[kernel]\nclients = 1\nmode = \"x\"").expect_err("three and no listener");
    let lines: Vec<_> = errors.0.iter().map(|error| error.line).collect();
    assert_eq!(lines, [1, 1, 3, 4]);
    assert!(errors.to_string().starts_with("weir.toml:1:"), "{errors}");
}

#[test]
fn a_file_that_says_little_gets_the_defaults() {
    let config = parsed(LISTENER).expect("a listener is enough");
    assert_eq!(config.kernel, crate::kernel::Config::default());
    assert_eq!(config.limit, limit::Config::default());
    assert_eq!(
        config.proxy,
        proxy::Config { listeners: config.proxy.listeners.clone(), ..Default::default() }
    );
    assert_eq!(config.workers, None);
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9180");
    let error = parsed("").expect_err("nothing to do");
    assert!(error.to_string().contains("nothing to do"), "{error}");
}

#[test]
fn aggregates_are_everybodys_but_where_an_override_says_otherwise() {
    let rate = |n: u32| format!("packets = {{ rate = \"{n}/s\", burst = {n} }}");
    let text = format!(
        "{LISTENER}[[limit.aggregate]]\nname = \"net\"\nprefix = \"v4/24\"\n{}\n\
         [[limit.aggregate]]\nname = \"dns\"\nprefix = \"v6/56\"\nport = \"udp/53\"\n{}\n\
         [[override]]\nname = \"carrier\"\nprefixes = [\"100.64.0.0/10\"]\n\
         [[override.aggregate]]\nname = \"net\"\n{}\n[[override.aggregate]]\nname = \"dns\"\n\
         [[override]]\nname = \"partner\"\nprefixes = [\"192.0.2.0/24\"]\n{}\n",
        rate(10),
        rate(20),
        rate(90),
        rate(5)
    );
    let config = parsed(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let held = |aggregates: &[limit::Aggregate]| -> Vec<_> {
        aggregates.iter().map(|one| (one.name.to_string(), one.packets.burst())).collect()
    };
    let both = [("net".to_owned(), 10), ("dns".to_owned(), 20)];
    assert_eq!(held(&config.limit.aggregates), both);
    let [carrier, partner] = &config.limit.overrides[..] else { panic!("two") };
    assert_eq!(held(&carrier.aggregates), [("net".to_owned(), 90)]);
    assert_eq!(held(&partner.aggregates), both);
    assert_eq!(config.kernel.aggregates, 65_536, "they need room");
    let of = |config: &Config| {
        let parts = ceiling(config, 2, 2).parts;
        parts.iter().find(|part| part.name == "kernel aggregates").map(|part| part.bytes)
    };
    assert_eq!((of(&config), of(&parsed(LISTENER).unwrap())), (Some(65_536 * 88), None));
}

#[test]
fn keys_and_prefixes_come_from_files_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let hash = "0".repeat(64);
    write("keys.toml", &format!("[[key]]\nname = \"a\"\nsha256 = \"{hash}\"\n"));
    write(
        "bad-keys.toml",
        &format!("[[key]]\nname = \"a\"\nsha256 = \"{hash}\"\n[[key]]\nname = \"a\"\nsha256 = \"zz\"\n"),
    );
    write("list", "# ours\n10.0.0.0/8\n2001:db8::/32 # v6\n\n192.0.2.1\n");
    write("bad-list", "10.0.0.0/8\nnonsense\n");
    let load = |keys: &str, list: &str| {
        let text = format!(
            "{LISTENER}[kernel]\nallow = [\"{list}\"]\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200 }}\nauth = {{ key = {{ file = \"{keys}\" }} }}\n"
        );
        parse(&text, &folder.path().join("weir.toml"), Path::new("s"))
    };
    let config = load("keys.toml", "list").unwrap();
    assert_eq!(config.kernel.allow.len(), 3);
    assert_eq!(config.also.len(), 2);
    let errors = load("bad-keys.toml", "bad-list").unwrap_err().to_string();
    for part in
        ["bad-keys.toml:5:8: key name `a`", "bad-keys.toml:6:10: `sha256`", "bad-list:2:1: `nonsense`"]
    {
        assert!(errors.contains(part), "{part} in\n{errors}");
    }
    let missing = load("none.toml", "list").unwrap_err().to_string();
    assert!(missing.contains("none.toml: cannot be read"), "{missing}");
}

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut loaded = 0;
    let auth = std::iter::once(folder.join("auth/weir.toml"));
    for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).chain(auth) {
        if path.extension().is_some_and(|kind| kind == "toml") && !path.ends_with("keys.toml") {
            let config = load(&path, Path::new("s")).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(ceiling(&config, 2, 2).ceiling_bytes > 0);
            loaded += 1;
        }
    }
    assert!(loaded >= 3);
}

#[test]
fn the_manual_knows_every_setting() {
    let manual = include_str!("../../../docs/configuration.md");
    let sources = [
        include_str!("raw.rs"),
        include_str!("auth/key.rs"),
        include_str!("auth/basic.rs"),
        include_str!("auth/mtls.rs"),
        include_str!("auth/hmac.rs"),
    ];
    // In words of its own, or as a field of a row: `{ cert, key, ocsp }`.
    let told = |name: &str| {
        let in_row = |row: &str| row.split(',').any(|field| field.trim() == name);
        manual.contains(&format!("`{name}`"))
            || manual.split("`{").skip(1).filter_map(|rest| rest.split("}`").next()).any(in_row)
    };
    for line in sources.into_iter().flat_map(str::lines) {
        let Some(field) = line.trim().strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) else {
            continue;
        };
        let name = field.0.trim_start_matches("r#");
        assert!(told(name), "docs/configuration.md does not tell of `{name}`");
    }
}

#[test]
fn the_ceiling_is_the_sum_of_its_parts_and_grows_with_the_clients() {
    let config = parsed(LISTENER).unwrap();
    let small = ceiling(&config, 2, 2);
    assert_eq!(small.ceiling_bytes, small.parts.iter().map(|part| part.bytes).sum::<u64>());
    let clients = small.parts.iter().find(|part| part.name == "kernel clients").unwrap();
    assert_eq!(clients.bytes, 262_144 * 136);
    let mut large = config;
    large.kernel.clients *= 2;
    assert!(ceiling(&large, 2, 2).ceiling_bytes > small.ceiling_bytes);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,80}") {
        parsed(&text).err();
        for parse in [units::size, |text: &str| units::duration(text).map(|_| 0), |text: &str| units::rate(text).map(|_| 0)] {
            parse(&text).err();
        }
    }

    #[test]
    fn quantities_mean_what_they_say(amount in 1_u64..1_000_000) {
        prop_assert_eq!(units::duration(&format!("{amount}s")).unwrap().as_secs(), amount);
        prop_assert_eq!(units::size(&format!("{amount}KiB")).unwrap(), amount * 1024);
        prop_assert_eq!(units::rate(&format!("{amount}/min")).unwrap(), (amount, std::time::Duration::from_secs(60)));
    }
}
