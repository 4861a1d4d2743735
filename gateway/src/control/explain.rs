//! `weir explain IP`: why a client is served or not, and until when.

use std::time::Duration;

use weir_ebpf::abi::{PROVED, Sentence, Word};

use super::bans::Naming;
use super::message::{Explained, WordView, duration_text};
use super::{Parts, bans, fleet};
use crate::limit::{Aggregate, Override};
use crate::model::{Client, ClientKey, Origin, Rate, Standing};
use crate::plane::{PinDir, aggregate_tats, now_ns};

pub(super) fn explain(parts: &Parts, address: &str) -> Result<Explained, String> {
    let address = bans::parse_address(address)?;
    let key = ClientKey::of(address);
    let now_ns = now_ns();
    let config = parts.config.load();
    let shared = &parts.shared;
    let entry = match &parts.maps {
        Some(maps) => maps.entry(key).map_err(|error| error.to_string())?,
        None => None,
    };
    let over = config.limit.over(address);
    let mut words = words(parts, key, over, now_ns);
    let is_proved = entry.is_some_and(|entry| entry.flags & PROVED != 0);
    if is_proved {
        words.extend(aggregates(parts, key, over, now_ns)?);
    }
    let namings = bans::lists(parts, address);
    let mut explained = Explained {
        client: key.to_string(),
        lists: namings.iter().map(|naming| naming.what.clone()).collect(),
        ban: shared.bans.find(key, now_ns).map(|row| bans::view(&row, now_ns)),
        proved: parts.maps.as_ref().map(|_| is_proved),
        passed: entry.map(|entry| entry.passed),
        dropped: entry.map(|entry| entry.dropped),
        words,
        fleet: None,
        refusals: shared.shedder.refusals(key, now_ns),
        shed_after: config.limit.shed.refused,
        next_shed_level: shared.shedder.level(key, now_ns).unwrap_or(0),
        limits_of: over.map(|over| over.name.to_string()),
        conclusion: String::new(),
    };
    explained.conclusion = conclusion(&explained, &namings);
    Ok(explained)
}

/// And what other nodes know of it.
pub(super) async fn with_fleet(
    parts: &Parts,
    mut explained: Explained,
    address: &str,
) -> Result<Explained, String> {
    let key = ClientKey::of(bans::parse_address(address)?);
    explained.fleet = fleet::view(parts, key).await;
    Ok(explained)
}

/// The client's limits, where it stands on each.
fn words(parts: &Parts, key: ClientKey, over: Option<&Override>, now_ns: u64) -> Vec<WordView> {
    let config = parts.config.load();
    let limit = &config.limit;
    let everybodys = [limit.requests, limit.packets, limit.bytes, limit.syns];
    let [requests, packets, bytes, syns] =
        over.map_or(everybodys, |over| [over.requests, over.packets, over.bytes, over.syns]);
    let kernel = parts.maps.is_some();
    [
        ("requests", Word::Requests, requests, true),
        ("packets", Word::Packets, packets, kernel),
        ("bytes", Word::Bytes, bytes, kernel),
        ("syns", Word::Syns, syns, kernel),
    ]
    .into_iter()
    .filter(|(.., held)| *held)
    .filter_map(|(name, word, rate, _)| Some(view(parts, key, name, word, &rate?, now_ns)))
    .collect()
}

fn view(parts: &Parts, key: ClientKey, name: &str, word: Word, rate: &Rate, now_ns: u64) -> WordView {
    let limit = rate.limit();
    let standing = parts.shared.plane.peek(Client { key, origin: Origin::Peer }, word, now_ns);
    let wait_ns = limit.wait_ns(standing.debt_ns, 1).unwrap_or(limit.tau_ns);
    WordView {
        name: name.to_owned(),
        left: standing.remaining(&limit),
        burst: rate.burst(),
        wait_seconds: wait_ns as f64 / 1e9,
    }
}

/// What its prefix's proved clients share; where each port has a word, the one that has least left.
fn aggregates(
    parts: &Parts,
    key: ClientKey,
    over: Option<&Override>,
    now_ns: u64,
) -> Result<Vec<WordView>, String> {
    let config = parts.config.load();
    let held = over.map_or(&config.limit.aggregates, |over| &over.aggregates);
    let held: Vec<_> = held.iter().filter(|one| one.prefix.is_v4() == key.is_v4()).collect();
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let sums: Vec<_> = held.iter().map(|one| one.in_plane()).collect();
    let pins = PinDir::new(&config.kernel.pin_dir);
    let tats = aggregate_tats(&pins, key, &sums).map_err(|error| error.to_string())?;
    let view = |(one, tat_ns): (&Aggregate, u64)| {
        let (limit, standing) = (one.packets.limit(), Standing { debt_ns: tat_ns.saturating_sub(now_ns) });
        let wait_ns = limit.wait_ns(standing.debt_ns, 1).unwrap_or(limit.tau_ns);
        WordView {
            name: format!("aggregate {}", one.name),
            left: standing.remaining(&limit),
            burst: one.packets.burst(),
            wait_seconds: wait_ns as f64 / 1e9,
        }
    };
    Ok(held.into_iter().zip(tats).map(view).collect())
}

fn conclusion(explained: &Explained, namings: &[Naming]) -> String {
    let naming = |sentence| namings.iter().find(|naming| naming.sentence == sentence);
    if let Some(list) = naming(Sentence::Allow) {
        return format!("its packets pass: it is in {}", list.what);
    }
    if let Some(list) = naming(Sentence::Deny) {
        return format!("its packets are dropped: it is in {}", list.what);
    }
    if let Some(ban) = &explained.ban {
        let why = match ban.reason.as_str() {
            "shed" => format!("shed at level {} for coming on after 429", ban.level),
            _ => "banned by an operator".to_owned(),
        };
        let until = match (ban.ends_in_seconds, &ban.ends_at) {
            (Some(seconds), Some(at)) => {
                format!("for another {}, until {at}", duration_text(Duration::from_secs(seconds)))
            }
            _ => "until it is lifted".to_owned(),
        };
        let client = explained.client.trim_end_matches("/64");
        return format!(
            "its packets are dropped: {why}, {until}; `weir bans rm {client} --grace 60s` lifts it at once"
        );
    }
    match explained.words.iter().find(|word| word.left == 0) {
        Some(word) if word.name == "requests" => {
            format!("its next request gets 429, for another {:.1} s", word.wait_seconds)
        }
        Some(word) => format!("its next packet is dropped by its limit of {}", word.name),
        None => "it is served: no list, no ban, and room in every limit".to_owned(),
    }
}
