//! Which upstream a request goes to, and what becomes of it when that one fails.

use std::io::Write as _;
use std::net::IpAddr;

use super::double::{Double, Manner, OK};
use super::harness::Gateway;
use crate::plane::now_ns;
use crate::proxy::TargetFacts;

const BROKEN: Manner = Manner::Answer("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");

#[test]
fn a_name_is_followed_to_its_addresses() {
    let [one, two, three] = Double::at_one_port(["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    let gateway = Gateway::start(&api(&[named(&one)], ""));
    assert!(gateway.ask_once().starts_with("HTTP/1.1 502 "), "nobody knows the name yet");
    learn(&gateway, &[&one]);
    all_good(&gateway, 4);
    assert_eq!(asked([&one, &two, &three]), [4, 0, 0]);
    let host = format!("host: up.test:{}\r\n", one.address.port());
    assert!(one.heads()[0].to_ascii_lowercase().contains(&host), "{:?}", one.heads());
    learn(&gateway, &[&two, &three]);
    all_good(&gateway, 4);
    assert_eq!(asked([&one, &two, &three]), [4, 2, 2], "the old address is left, all new ones are used");
    gateway.shared.learn([].into());
    all_good(&gateway, 2);
    assert_eq!(asked([&one, &two, &three]), [4, 3, 3], "without an answer the addresses stay");
}

#[test]
fn weights_are_kept() {
    let [one, two] = [Double::new(OK), Double::new(OK)];
    let text = format!(
        "[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = [{{ url = {:?}, weight = 3 }}, {:?}]\n",
        one.url(),
        two.url()
    );
    let gateway = Gateway::start(&text);
    all_good(&gateway, 100);
    assert_eq!(asked([&one, &two]), [75, 25]);
}

#[test]
fn what_an_ejected_one_had_is_spread_over_all_others() {
    let [one, two, three] = [Double::new(Manner::Close), Double::new(OK), Double::new(OK)];
    let gateway = Gateway::start(&forward(
        &[&one, &two, &three],
        "eject = { failures = 1, time = \"1h\", most = \"1h\" }",
    ));
    all_good(&gateway, 300);
    let [one, two, three] = asked([&one, &two, &three]);
    assert!(one == 1 && two > 110 && three > 110, "{one} {two} {three}");
}

#[test]
fn the_least_pending_is_chosen() {
    let [slow, fast] = [Double::new(Manner::Hold), Double::new(OK)];
    let gateway = Gateway::start(&forward(&[&slow, &fast], "balance = \"least_pending\""));
    let running = gateway.begin(LAST);
    gateway.until("the slow one has it", || slow.asked() == 1);
    all_good(&gateway, 20);
    assert_eq!(asked([&slow, &fast]), [1, 20]);
    slow.answer_one();
    assert!(running.finish().ends_with("held"));
    gateway.until("nothing is in flight", || targets(&gateway).iter().all(|target| target.in_flight == 0));
}

#[test]
fn a_hash_keeps_its_clients_when_one_target_goes() {
    let all = Double::at_one_port(["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    let [one, two, three] = &all;
    for (double, body) in all.iter().zip([
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3",
    ]) {
        double.becomes(Manner::Answer(body));
    }
    let gateway = Gateway::start(&api(&[named(one)], "balance = { header_hash = \"X-User\" }"));
    learn(&gateway, &[one, two, three]);
    let owners = || -> Vec<char> {
        let owner = |user: u32| {
            let request =
                format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: u{user}\r\nConnection: close\r\n\r\n");
            gateway.ask(&request).chars().last().unwrap()
        };
        (0..300).map(owner).collect()
    };
    let before = owners();
    for body in ['1', '2', '3'] {
        let own = before.iter().filter(|owner| **owner == body).count();
        assert!((60..=140).contains(&own), "{body} has {own} of 300");
    }
    assert_eq!(before, owners(), "the same upstream for the same user");
    learn(&gateway, &[one, three]);
    let without = owners();
    let kept = before.iter().zip(&without).filter(|(before, _)| **before != '2');
    assert!(kept.clone().all(|(before, now)| before == now), "only those of the one that went moved");
    learn(&gateway, &[one, two, three]);
    assert_eq!(before, owners(), "and they come back with it");
    // Without the header it is the client: one for all.
    let first = gateway.ask_once();
    assert!((0..10).all(|_| gateway.ask_once() == first));
}

#[test]
fn an_upstream_whose_answers_break_off_is_ejected() {
    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    const HALF_CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n";
    for half in [HALF, HALF_CHUNKED] {
        let [bad, good] = [Double::new(Manner::AnswerAndClose(half)), Double::new(OK)];
        let eject = "eject = { failures = 3, time = \"400ms\" }";
        let gateway = Gateway::start(&forward(&[&bad, &good], eject));
        let each = |n: usize| (0..n).for_each(|_| drop(gateway.ask_once()));
        each(40);
        assert_eq!(asked([&bad, &good]), [3, 37]);
        let ejected = targets(&gateway).remove(0);
        assert_eq!(ejected.state, "ejected");
        assert!(
            ejected.why.as_deref().is_some_and(|why| why.starts_with("answers break off: ")),
            "{ejected:?}"
        );
        assert_eq!(gateway.shared.metrics.api("a").cut.get(), 3);
        // A good head alone does not clear it: the first break behind it is enough.
        gateway.until("it is asked once more", || {
            each(2);
            bad.asked() == 4
        });
        each(20);
        assert_eq!(bad.asked(), 4, "and ejected at once");
        bad.becomes(OK);
        gateway.until("it serves again", || {
            all_good(&gateway, 1);
            targets(&gateway)[0].state == "serving"
        });
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_ejects_nobody() {
    const BEGUN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let only = Double::new(Manner::Answer(BEGUN));
    let gateway = Gateway::start(&forward(&[&only], "eject = { failures = 1 }"));
    for left in 1..=5 {
        let mut client = gateway.connect().unwrap();
        client.write_all(LAST.as_bytes()).unwrap();
        gateway.until("it is answered", || only.asked() == left);
        drop(client);
        gateway.until("that is noticed", || gateway.closed("client_gone") == u64::try_from(left).unwrap());
    }
    assert_eq!(targets(&gateway)[0].state, "serving");
    assert_eq!(gateway.shared.metrics.api("a").cut.get(), 0);
}

#[test]
fn an_upstream_that_answers_500_is_ejected_and_comes_back() {
    let [bad, good] = [Double::new(BROKEN), Double::new(OK)];
    let eject = "eject = { failures = 3, statuses = [500], time = \"400ms\" }";
    let gateway = Gateway::start(&forward(&[&bad, &good], eject));
    many(&gateway, 40);
    assert_eq!(asked([&bad, &good]), [3, 37]);
    let ejected = targets(&gateway).remove(0);
    assert_eq!((ejected.state, ejected.why.as_deref()), ("ejected", Some("answered 500")));
    bad.becomes(OK);
    gateway.until("it serves again", || {
        all_good(&gateway, 1);
        targets(&gateway)[0].state == "serving"
    });
    let before = asked([&bad, &good]);
    all_good(&gateway, 40);
    assert_eq!(asked([&bad, &good]), before.map(|count| count + 20), "its whole share at once");
}

#[test]
fn never_are_too_many_ejected() {
    let all = [Double::new(BROKEN), Double::new(BROKEN), Double::new(BROKEN)];
    let gateway = Gateway::start(&forward(&all.each_ref(), "eject = { failures = 1, statuses = [500] }"));
    many(&gateway, 30);
    let ejected = targets(&gateway).iter().filter(|target| target.state == "ejected").count();
    assert_eq!(ejected, 2, "half of three, rounded up");
    let alone = Double::new(BROKEN);
    let gateway = Gateway::start(&forward(&[&alone], "eject = { failures = 1, statuses = [500] }"));
    many(&gateway, 30);
    assert_eq!(alone.asked(), 30, "the only one is always asked");
}

#[test]
fn a_reload_forgets_no_ejection() {
    let [bad, good] = [Double::new(BROKEN), Double::new(OK)];
    let text = forward(&[&bad, &good], "eject = { failures = 1, statuses = [500] }");
    let gateway = Gateway::start(&text);
    many(&gateway, 2);
    assert_eq!(targets(&gateway)[0].state, "ejected");
    gateway.reload(&format!(
        "{text}\n[[api]]\nname = \"b\"\nlisten_path = \"/b\"\nupstreams = [{:?}]\n",
        good.url()
    ));
    all_good(&gateway, 10);
    assert_eq!((targets(&gateway)[0].state, bad.asked()), ("ejected", 1));
}

#[test]
fn a_dying_upstream_loses_no_idempotent_request() {
    let doubles = [Double::new(OK), Double::new(OK), Double::new(OK)];
    let gateway = Gateway::start(&forward(&doubles.each_ref(), ""));
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..8).map(|_| scope.spawn(|| many(&gateway, 200))).collect();
        gateway.until("all are used", || doubles.iter().all(|double| double.asked() > 40));
        doubles[1].die();
        for load in loads {
            let answers = load.join().unwrap();
            assert_eq!(good(&answers), 200, "{}", tail(&answers));
        }
    });
    assert!(doubles[1].asked() < 600 && doubles[0].asked() > 600, "{:?}", asked(doubles.each_ref()));
}

#[test]
fn what_was_never_sent_goes_elsewhere_whatever_its_method() {
    let [dead, alive] = [Double::new(OK), Double::new(OK)];
    dead.die();
    let gateway = Gateway::start(&forward(&[&dead, &alive], "eject = { failures = 0 }"));
    for _ in 0..10 {
        let answer =
            gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(alive.asked(), 10);
}

#[test]
fn what_is_not_idempotent_is_sent_once() {
    let [one, two] = [Double::new(Manner::Close), Double::new(Manner::Close)];
    let gateway = Gateway::start(&forward(&[&one, &two], "eject = { failures = 0 }"));
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
    ] {
        let before = one.asked() + two.asked();
        assert!(gateway.ask(request).starts_with("HTTP/1.1 502 "), "{request}");
        assert_eq!(one.asked() + two.asked(), before + 1, "{request}");
    }
    let before = one.asked() + two.asked();
    gateway.ask("DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(one.asked() + two.asked(), before + 2, "DELETE is idempotent: each is asked once");
}

#[test]
fn beyond_the_budget_nothing_is_sent_again() {
    let all = [Double::new(Manner::Close), Double::new(Manner::Close), Double::new(Manner::Close)];
    let rest = "eject = { failures = 0 }\nretry = { times = 2, percent = 10, reserve = 5 }";
    let gateway = Gateway::start(&forward(&all.each_ref(), rest));
    let answers = many(&gateway, 100);
    assert_eq!(answers.matches("HTTP/1.1 502 ").count(), 100);
    let attempts: usize = asked(all.each_ref()).iter().sum();
    // The reserve, and a tenth of the requests.
    assert!((110..=116).contains(&attempts), "{attempts} attempts for 100 requests");
    let text = gateway.shared.metrics.encode().unwrap();
    for line in [
        format!("weir_upstream_retries_total{{api=\"a\"}} {}", attempts - 100),
        "weir_upstream_retries_refused_total{api=\"a\"}".to_owned(),
        format!("weir_upstream_faults_total{{api=\"a\",fault=\"broken\"}} {attempts}"),
    ] {
        assert!(text.contains(&line), "{line} not in {text}");
    }
}

#[test]
fn only_so_many_are_in_flight_and_so_many_wait() {
    let slow = Double::new(Manner::Hold);
    let gateway = Gateway::start(&forward(&[&slow], "in_flight = { most = 1, queue = 2, wait = \"10s\" }"));
    let first = gateway.begin(LAST);
    gateway.until("the first is in flight", || slow.asked() == 1);
    let waiting = [gateway.begin(LAST), gateway.begin(LAST)];
    gateway.until("two wait", || waits(&gateway) == 2);
    let refused = gateway.ask_once().to_ascii_lowercase();
    assert!(refused.starts_with("http/1.1 503 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    (0..3).for_each(|_| slow.answer_one());
    for running in [first].into_iter().chain(waiting) {
        assert!(running.finish().ends_with("held"), "who waited is served");
    }
    assert_eq!((slow.asked(), waits(&gateway)), (3, 0));
}

#[test]
fn who_waits_too_long_is_told_so() {
    let slow = Double::new(Manner::Hold);
    let gateway = Gateway::start(&forward(&[&slow], "in_flight = { most = 1, wait = \"100ms\" }"));
    let first = gateway.begin(LAST);
    gateway.until("the first is in flight", || slow.asked() == 1);
    assert!(gateway.ask_once().starts_with("HTTP/1.1 503 "));
    slow.answer_one();
    assert!(first.finish().ends_with("held"));
    slow.becomes(OK);
    gateway.until("there is room again", || gateway.ask_once().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_full_upstream_leaves_its_requests_to_the_others() {
    let [slow, fast] = [Double::new(Manner::Hold), Double::new(OK)];
    let gateway = Gateway::start(&forward(&[&slow, &fast], "in_flight = { most = 1, queue = 0 }"));
    let running = gateway.begin(LAST);
    gateway.until("the slow one has it", || slow.asked() == 1);
    all_good(&gateway, 20);
    assert_eq!(asked([&slow, &fast]), [1, 20]);
    slow.answer_one();
    assert!(running.finish().ends_with("held"));
}

#[test]
fn who_joins_grows_to_its_share() {
    for (slow_start, expected) in [("", 50..=50), ("slow_start = \"1h\"", 0..=2)] {
        let [one, two] = [Double::new(OK), Double::new(OK)];
        let gateway = Gateway::start(&forward(&[&one], slow_start));
        gateway.reload(&forward(&[&one, &two], slow_start));
        all_good(&gateway, 100);
        assert!(expected.contains(&two.asked()), "{slow_start}: {:?}", asked([&one, &two]));
        assert_eq!(targets(&gateway)[1].state == "growing", !slow_start.is_empty());
    }
}

#[test]
fn checks_take_an_upstream_out_and_let_it_in_again() {
    let [sick, well] = [Double::new(OK), Double::new(OK)];
    let check = "check = { path = \"/healthz\", every = \"100ms\", timeout = \"100ms\", up = 2, down = 2 }";
    let gateway = Gateway::start(&forward(&[&sick, &well], check));
    gateway.check_upstreams();
    gateway.until("both are asked", || asked([&sick, &well]).iter().all(|asked| *asked > 0));
    assert!(sick.heads()[0].starts_with("GET /healthz HTTP/1.1\r\n"), "{:?}", sick.heads());
    let standing = |state: &'static str| targets(&gateway)[0].state == state;
    for manner in [BROKEN, Manner::Close, Manner::Hold, Manner::Answer("SSH-2.0-nonsense\r\n\r\n")] {
        sick.becomes(manner);
        gateway.until("it is down", || standing("down"));
        assert!(targets(&gateway)[0].why.as_ref().unwrap().starts_with("check: "));
        let before = sick.heads().iter().filter(|head| head.starts_with("GET / ")).count();
        all_good(&gateway, 20);
        let requests = sick.heads().iter().filter(|head| head.starts_with("GET / ")).count();
        assert_eq!(requests, before, "nobody is sent there");
        sick.becomes(OK);
        gateway.until("it is up", || standing("serving"));
    }
    sick.becomes(BROKEN);
    well.becomes(BROKEN);
    gateway.until("all are down", || targets(&gateway).iter().all(|target| target.state == "down"));
    sick.becomes(OK);
    well.becomes(OK);
    all_good(&gateway, 2);
    gateway.reload(&forward(&[&sick, &well], ""));
    gateway.until("without checks nobody is down", || {
        targets(&gateway).iter().all(|target| target.state == "serving")
    });
}

#[test]
fn a_check_without_a_path_is_a_connection() {
    let upstream = Double::new(OK);
    let check = "check = { every = \"100ms\", timeout = \"100ms\", down = 1 }";
    let gateway = Gateway::start(&forward(&[&upstream], check));
    gateway.check_upstreams();
    gateway.until("it was connected to", || upstream.connections() > 1);
    assert_eq!((upstream.asked(), targets(&gateway)[0].state), (0, "serving"));
    upstream.die();
    gateway.until("it is down", || targets(&gateway)[0].state == "down");
}

#[test]
fn a_tunnel_is_in_flight_and_its_connection_open_until_it_ends() {
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let upstream = Double::new(Manner::Answer(SWITCH));
    let gateway = Gateway::start(&forward(&[&upstream], ""));
    let counts = || (targets(&gateway)[0].in_flight, targets(&gateway)[0].connections);
    let open =
        gateway.begin("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    gateway.until("it is open", || upstream.asked() == 1 && counts() == (1, 1));
    drop(open);
    upstream.die();
    gateway.until("it is closed", || counts() == (0, 0));
}

#[test]
fn idle_connections_are_counted_and_kept_by_api() {
    let upstream = Double::new(OK);
    let text = forward(&[&upstream], "");
    let gateway = Gateway::start(&text);
    all_good(&gateway, 3);
    assert_eq!((targets(&gateway)[0].connections, upstream.connections()), (1, 1));
    gateway.reload(&text);
    all_good(&gateway, 3);
    assert_eq!((targets(&gateway)[0].connections, upstream.connections()), (1, 1), "a reload keeps them");
    upstream.die();
    gateway.ask_once();
    assert_eq!(targets(&gateway)[0].connections, 0);
}

const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// All answers to so many requests over one connection.
fn many(gateway: &Gateway, times: usize) -> String {
    gateway.ask(&format!("{}{LAST}", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(times - 1)))
}

#[track_caller]
fn all_good(gateway: &Gateway, times: usize) {
    let answers = many(gateway, times);
    assert_eq!(good(&answers), times, "{}", tail(&answers));
}

fn good(answers: &str) -> usize {
    answers.matches("HTTP/1.1 200 OK\r\n").count()
}

fn tail(answers: &str) -> &str {
    answers.get(answers.len().saturating_sub(400)..).unwrap_or(answers)
}

fn asked<const N: usize>(doubles: [&Double; N]) -> [usize; N] {
    doubles.map(Double::asked)
}

fn targets(gateway: &Gateway) -> Vec<TargetFacts> {
    gateway.shared.snapshot.load().upstreams(now_ns()).remove(0).targets
}

fn waits(gateway: &Gateway) -> u32 {
    gateway.shared.snapshot.load().upstreams(now_ns()).remove(0).waiting
}

/// Has `up.test` stand for these.
fn learn(gateway: &Gateway, doubles: &[&Double]) {
    let addresses: Vec<IpAddr> = doubles.iter().map(|double| double.address.ip()).collect();
    gateway.shared.learn([("up.test".to_owned(), addresses)].into());
}

fn named(double: &Double) -> String {
    format!("http://up.test:{}", double.address.port())
}

fn forward(doubles: &[&Double], rest: &str) -> String {
    api(&doubles.iter().map(|double| double.url()).collect::<Vec<_>>(), rest)
}

fn api(upstreams: &[String], rest: &str) -> String {
    format!("[[api]]\nname = \"a\"\nlisten_path = \"/\"\nupstreams = {upstreams:?}\n{rest}\n")
}
