//! The fleet on a simulated clock, and its store's twin against the script in a real Redis.

use anyhow::{Context, Result, ensure};
use std::sync::Arc;
use weir::fleet::{Answer, Ask, Batch, Item, PUSH, Subject};
use weir::model::{ClientKey, Limit};
use weir_tests::fleet::{Random, Twin, Witness, cases, play};
use weir_tests::redis::Redis;

/// `cargo xtask bench fleet-sim` plays a thousand.
const SEEDS: u64 = 3;

#[test]
fn every_case_keeps_its_promise() -> Result<()> {
    let mut missed = Vec::new();
    for case in cases(&[1, 3, 10]) {
        for seed in 0..SEEDS {
            let played = play(&case.scenario, seed);
            ensure!(played.offered > 0, "{}: nobody came", case.name);
            missed.extend(case.missed(&played).map(|what| format!("{}, seed {seed}: {what}", case.name)));
        }
    }
    ensure!(missed.is_empty(), "{}", missed.join("\n"));
    Ok(())
}

#[test]
fn a_seed_gives_the_same_run_again() -> Result<()> {
    let case = cases(&[10]).into_iter().next().context("no case")?;
    let runs = [7, 7, 8].map(|seed| play(&case.scenario, seed));
    ensure!(runs[0].by_second == runs[1].by_second && runs[0].admitted == runs[1].admitted);
    ensure!(runs[0].by_second != runs[2].by_second, "a seed changes nothing");
    Ok(())
}

/// What it needs of `TIME` and of the stream's ids comes from the test.
fn on_given_time(script: &str) -> Result<String> {
    let (time, id) = ("redis.call('TIME')", "4096, '*'");
    ensure!(script.contains(time) && script.contains(id), "the script reads time in another way");
    let given = "{ math.floor(tonumber(ARGV[#ARGV]) / 1000000), tonumber(ARGV[#ARGV]) % 1000000 }";
    Ok(script.replace(time, given).replace(id, "4096, string.format('%.0f-*', math.floor(now / 1000))"))
}

#[test]
fn the_twin_answers_as_the_script_does() -> Result<()> {
    let server = Redis::start()?;
    let mut redis = Witness::open(server.address())?;
    let script = on_given_time(PUSH)?;
    for seed in 0..8 {
        redis.ask(&["FLUSHALL"])?;
        compare(&mut redis, &script, seed).with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// Three nodes, four clients with limits of their own, and everything that a network does to batches.
fn compare(redis: &mut Witness, script: &str, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut twin = Twin::default();
    let mut now_us: u64 = 1_700_000_000_000_000 + random.below(1_000_000);
    let mut asks: Vec<Vec<Ask>> = vec![Vec::new(); 3];
    let (mut told, mut heard, mut flagrant) = (0, 0, 0);
    let mut last = ["", "", ""].map(str::to_owned);
    for step in 0..600 {
        let gap_us = if random.below(50) == 0 { 12_000_000 } else { 120_000 };
        now_us += random.below(gap_us);
        let idx = random.below(3) as usize;
        let node = format!("n{idx}");
        let again = random.below(8) == 0 && !asks[idx].is_empty();
        let mut ask = match again {
            true => asks[idx][random.below(asks[idx].len() as u64) as usize].clone(),
            false => ask(&mut random, asks[idx].len() as u64 + 1, now_us),
        };
        ask.last_id.clone_from(&last[idx]);
        let sent_ns = now_us * 1_000;
        let expected = Answer::parse(&twin.push(&ask, &node, sent_ns, now_us))?;
        let keys: Vec<_> = ask.keys(&node).iter().map(|key| format!("weir:{{s0}}:{key}")).collect();
        let mut arguments = ask.arguments(&node, sent_ns);
        arguments.push(now_us.to_string());
        let answer = Answer::parse(&redis.eval(script, &keys, &arguments)?)?;
        ensure!(answer == expected, "step {step}: {ask:?}\nthe script {answer:?}\nthe twin {expected:?}");
        told += answer.told.len();
        heard += answer.heard.len();
        flagrant += answer.told.iter().filter(|told| told.flagrant).count();
        last[idx].clone_from(&answer.last_id);
        if !again {
            asks[idx].push(ask);
        }
    }
    ensure!(told > 500 && heard > 20 && flagrant > 0, "{told} told, {heard} heard, {flagrant} flagrant");
    Ok(())
}

fn ask(random: &mut Random, number: u64, now_us: u64) -> Ask {
    let items = (0..random.below(4)).map(|_| item(random, now_us)).collect::<Vec<_>>();
    Ask {
        tag: 0,
        batch: (!items.is_empty()).then(|| Arc::new(Batch { number, items })),
        last_id: String::new(),
        nodes: 1 + random.below(1_000) as u32,
        beats: random.below(4) == 0,
        offset_us: match random.below(4) {
            0 => None,
            1 => Some(-(random.below(70_000_000) as i64)),
            _ => Some(0),
        },
    }
}

fn item(random: &mut Random, now_us: u64) -> Item {
    let client = random.below(4);
    let rate = [60, 3, 1_000, 7][client as usize];
    let limit = Limit::new(rate, 1_000_000_000, 1 + random.below(200)).unwrap_or(Limit::NONE);
    let age_us = if random.below(6) == 0 { random.below(20_000_000) } else { random.below(150_000) };
    let subject = match client {
        3 => Subject::Row(0xfeed),
        _ => Subject::Client(ClientKey(0xc000_0200 + client)),
    };
    Item {
        subject,
        limit,
        admitted: random.below(40) as u32,
        first_ns: (now_us - age_us) * 1_000,
        offered: random.below(if client == 1 { 40 } else { 120 }) as u32,
        samples: u32::from(random.below(5) == 0),
        bannable: random.below(2) == 0,
    }
}
