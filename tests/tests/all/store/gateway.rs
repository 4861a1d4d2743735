//! A whole weir and its store: what it says, and that it serves all the same.

use std::time::Duration;

use anyhow::{Context, Result};
use weir::plane::now_ns;
use weir_tests::http;
use weir_tests::redis::Redis;
use weir_tests::wait::wait_for;
use weir_tests::weir::{Place, Weir};

const SOON: Duration = Duration::from_secs(8);

fn text(place: &Place, store: &str) -> String {
    format!(
        "[kernel]\nmode = \"off\"\n\n[[listener]]\naddress = \"127.0.0.1:{}\"\n\n[limit.client]\nrequests = {{ rate = \"1000/s\", burst = 1000 }}\n\n[[api]]\nname = \"a\"\nlisten_path = \"/\"\nrespond = {{ status = 200, body = \"ok\" }}\n\n{store}\n",
        place.port
    )
}

fn store_line(weir: &Weir, line: &str) -> usize {
    weir.output().lines().filter(|said| said.contains(line)).count()
}

fn wait_up(weir: &Weir, up: bool) -> Result<()> {
    let is = || weir.status("/store/up").ok().filter(|found| *found == up).map(drop);
    wait_for(format!("store.up is {up}"), SOON, is).with_context(|| weir.output())
}

#[test]
fn one_that_is_absent_holds_up_the_start_for_two_seconds_and_is_told_once() -> Result<()> {
    let mut redis = Redis::prepared(&["--save", ""])?;
    let began = now_ns();
    let weir = Weir::start(|place| text(place, &format!("[store]\nredis = [\"{}\"]", redis.url())))?;
    let took = Duration::from_nanos(now_ns() - began);
    assert!(took >= Duration::from_secs(2), "ready after {took:?}");
    assert_eq!(http::get(weir.address(), "/")?.status, 200);
    assert_eq!(weir.status("/store/up")?, false);
    assert!(weir.status("/store/reason")?.to_string().contains("refused"), "{}", weir.status("/store")?);
    assert_eq!(weir.metric("weir_store_up")?, 0);
    assert_eq!(weir.command(&["store", "status"])?.status.code(), Some(3));
    let ping = weir.command(&["store", "ping"])?;
    assert_eq!(ping.status.code(), Some(3));
    redis.start_again()?;
    wait_up(&weir, true)?;
    assert_eq!(weir.metric("weir_store_up")?, 1);
    assert_eq!((store_line(&weir, "the store is down"), store_line(&weir, "the store is up again")), (1, 1));
    let ping = weir.json(&["store", "ping", "--json"])?;
    assert_eq!(ping["masters"][0]["role"], "master");
    assert!(ping["masters"][0]["round_trip_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{ping}");
    let offset = weir.status("/store/masters/0/clock_offset_ms")?;
    assert!(offset.as_i64().is_some_and(|ms| ms.abs() < 1_000), "{offset}");
    redis.kill();
    wait_up(&weir, false)?;
    assert_eq!(http::get(weir.address(), "/")?.status, 200);
    assert_eq!(store_line(&weir, "the store is down"), 2);
    redis.start_again()?;
    wait_up(&weir, true)
}

/// In the sandbox, with the password's file replaced as an editor does it.
#[test]
fn a_new_password_is_taken_while_it_runs() -> Result<()> {
    let mut redis = Redis::start_with(&["--save", "", "--requirepass", "first-secret"])?;
    redis.speak_with(&["-a", "first-secret"]);
    let url = redis.url();
    let weir = Weir::start(|place| {
        std::fs::write(place.folder().join("password"), "first-secret\n").unwrap();
        text(place, &format!("[store]\nredis = [\"{url}\"]\npassword_file = \"password\""))
    })?;
    wait_up(&weir, true)?;
    redis.ask(&["CONFIG", "SET", "requirepass", "second-secret"])?;
    redis.speak_with(&["-a", "second-secret"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"])?;
    wait_up(&weir, false)?;
    let is_named =
        || weir.status("/store/reason").is_ok_and(|why| why.to_string().contains("password refused"));
    wait_for("the password is named", SOON, || is_named().then_some(()))?;
    let folder = weir.place.folder();
    std::fs::write(folder.join("password.new"), "second-secret\n")?;
    std::fs::rename(folder.join("password.new"), folder.join("password"))?;
    wait_up(&weir, true)?;
    let said = weir.output() + &weir.json(&["status", "--json"])?.to_string();
    assert!(!said.contains("-secret"), "{said}");
    Ok(())
}
