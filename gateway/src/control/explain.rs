//! `weir explain IP`: why a client is served or not, and until when.

use std::time::Duration;

use weir_ebpf::abi::{PROVED, Sentence, Word};

use super::bans::Naming;
use super::message::{Explained, WordView, duration_text};
use super::{Parts, bans};
use crate::limit::Override;
use crate::model::{Client, ClientKey, Origin, Rate};
use crate::plane::now_ns;

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
    let words = words(parts, key, over, now_ns);
    let namings = bans::lists(parts, address);
    let mut explained = Explained {
        client: key.to_string(),
        lists: namings.iter().map(|naming| naming.what.clone()).collect(),
        ban: shared.bans.find(key, now_ns).map(|row| bans::view(&row, now_ns)),
        proved: parts.maps.as_ref().map(|_| entry.is_some_and(|entry| entry.flags & PROVED != 0)),
        passed: entry.map(|entry| entry.passed),
        dropped: entry.map(|entry| entry.dropped),
        words,
        refusals: shared.shedder.refusals(key, now_ns),
        shed_after: config.limit.shed.refused,
        next_shed_level: shared.shedder.level(key, now_ns).unwrap_or(0),
        limits_of: over.map(|over| over.name.to_string()),
        conclusion: String::new(),
    };
    explained.conclusion = conclusion(&explained, &namings);
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
