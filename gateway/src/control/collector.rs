//! What is read when somebody scrapes: kernel counters, tables, bans, memory, the last reload.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Parts, jwks, status};
use crate::fleet::View;
use crate::kernel::{Mode, State};
use crate::plane::{ListCount, Maps, RuleCount, now_ns};
use crate::proxy::{TargetFacts, UpstreamFacts};
use crate::store::redis::{self, MasterStatus};
use crate::telemetry::metrics::collected as names;
use weir_ebpf::abi;

/// Weak: the registry that holds it is held by the parts.
pub struct Collected(Weak<Parts>);

impl Collected {
    pub fn of(parts: &Arc<Parts>) -> Self {
        Self(Arc::downgrade(parts))
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(parts) = self.0.upgrade() else { return Ok(()) };
        kernel(&parts, &mut encoder)?;
        upstreams(&parts, &mut encoder)?;
        store(&parts, &mut encoder)?;
        fleet(&parts, &mut encoder)?;
        jwks::collect(&parts, &mut encoder)?;
        let table = parts.shared.plane.table();
        let last = parts.reloader.last();
        let bans = parts.shared.bans.list(now_ns()).map_or(0, |rows| rows.len() as u64);
        for (metric, value) in [
            (names::TABLE_CAPACITY, table.capacity()),
            (names::TABLE_USED, table.used()),
            (names::AUTH_WAITING, u64::from(parts.shared.auth.waiting())),
            (names::AUTH_WAITING_CAPACITY, u64::from(parts.shared.auth.waiting_most())),
            (names::BANS, bans),
            (names::BANS_CAPACITY, u64::from(parts.shared.bans.capacity())),
            (names::CEILING, parts.ceiling_bytes.load(Ordering::Relaxed)),
            (names::RESIDENT, status::resident_bytes()),
            (names::RELOAD_OK, u64::from(last.ok)),
        ] {
            gauge(&mut encoder, metric, value)?;
        }
        let [passwords, nonces] = [parts.shared.auth.passwords(), parts.shared.auth.nonces()];
        for (metric, values) in [
            (names::AUTH_REMEMBERED, [passwords.0, nonces.0]),
            (names::AUTH_REMEMBERED_CAPACITY, [passwords.1, nonces.1]),
        ] {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (what, value) in ["passwords", "nonces"].into_iter().zip(values) {
                ConstGauge::new(value as u64).encode(family.encode_family(&[("what", what)])?)?;
            }
        }
        counter(&mut encoder, names::TABLE_REPLACED, &[(&[], table.replaced())])?;
        let reloads: [(&[(&str, &str)], u64); 2] =
            [(&[("result", "ok")], last.succeeded), (&[("result", "failed")], last.failed)];
        counter(&mut encoder, names::RELOADS, &reloads)
    }
}

fn upstreams(parts: &Parts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let rows = parts.shared.snapshot.load().upstreams(now_ns());
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let metric = names::UPSTREAMS;
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for row in &rows {
        for state in TargetFacts::STATES {
            let count = row.targets.iter().filter(|target| target.state == state).count();
            let labels = [("api", &*row.api), ("state", state)];
            ConstGauge::new(count as u64).encode(family.encode_family(&labels)?)?;
        }
    }
    let sum = |row: &UpstreamFacts, value: fn(&TargetFacts) -> u32| {
        row.targets.iter().map(|target| u64::from(value(target))).sum::<u64>()
    };
    let mut by_api = |metric: names::Named, values: Vec<u64>| -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
        for (row, value) in rows.iter().zip(values) {
            ConstGauge::new(value).encode(family.encode_family(&[("api", &*row.api)])?)?;
        }
        Ok(())
    };
    let in_flight = rows.iter().map(|row| sum(row, |target| target.in_flight));
    by_api(names::UPSTREAM_IN_FLIGHT, in_flight.collect())?;
    let connections = rows.iter().map(|row| sum(row, |target| target.connections));
    by_api(names::UPSTREAM_CONNECTIONS, connections.collect())?;
    by_api(names::UPSTREAM_WAITING, rows.iter().map(|row| u64::from(row.waiting)).collect())?;
    let labels: Vec<_> = rows.iter().map(|row| [("api", &*row.api)]).collect();
    let ejections: Vec<_> =
        labels.iter().zip(&rows).map(|(labels, row)| (labels.as_slice(), row.ejections)).collect();
    counter(encoder, names::UPSTREAM_EJECTIONS, &ejections)
}

/// Nothing where there is no store.
fn fleet(parts: &Parts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Some(fleet) = &parts.fleet else { return Ok(()) };
    let View { counts, nodes, tracked, lag, missed, orders_waiting } = fleet.view();
    gauge(encoder, names::FLEET_NODES, u64::from(nodes))?;
    gauge(encoder, names::FLEET_TRACKED, tracked as u64)?;
    gauge(encoder, names::FLEET_ORDERS, orders_waiting as u64)?;
    let metric = names::FLEET_LAG;
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    ConstGauge::new(lag.as_secs_f64()).encode(family)?;
    for (metric, value) in [
        (names::FLEET_PUSHED, counts.pushed),
        (names::FLEET_DEFERRED, counts.deferred),
        (names::FLEET_OVERSHOOT, counts.overshoot),
        (names::FLEET_SENTENCES, counts.sentences),
        (names::FLEET_WIDE, counts.wide),
        (names::FLEET_MISSED, missed + counts.untracked),
    ] {
        counter(encoder, metric, &[(&[], value)])?;
    }
    Ok(())
}

/// Nothing where there is no store.
fn store(parts: &Parts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Some(link) = &parts.store else { return Ok(()) };
    let status = link.status();
    let longest = |time: fn(&MasterStatus) -> Option<Duration>| {
        status.masters.iter().filter_map(time).max().unwrap_or_default().as_secs_f64()
    };
    for (metric, seconds) in [
        (names::STORE_FLUSH, longest(|master| master.took)),
        (names::STORE_LAG, longest(|master| master.lag)),
    ] {
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let gauge = ConstGauge::new(seconds);
        gauge.encode(encoder.encode_descriptor(metric.name, metric.help, None, kind)?)?;
    }
    gauge(encoder, names::STORE_UP, u64::from(status.state != redis::State::Down))?;
    let pending = status.masters.iter().map(|master| master.pending as u64).sum();
    gauge(encoder, names::STORE_PENDING, pending)?;
    let connects = status.masters.iter().map(|master| master.connects).sum();
    counter(encoder, names::STORE_CONNECTS, &[(&[], connects)])?;
    counter(encoder, names::STORE_CHANGES, &[(&[], status.changes)])
}

fn kernel(parts: &Parts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let metric = names::KERNEL_MODE;
    let mut family = encoder.encode_descriptor(
        metric.name,
        metric.help,
        None,
        prometheus_client::metrics::MetricType::Gauge,
    )?;
    let facts = parts.facts.load();
    for mode in Mode::ALL {
        let value = ConstGauge::new(u64::from(mode == facts.mode));
        value.encode(family.encode_family(&[("mode", mode.to_string())])?)?;
    }
    let metric = names::KERNEL_INTERFACES;
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for state in State::ALL {
        let count = facts.interfaces.iter().filter(|interface| interface.state == state).count();
        ConstGauge::new(count as u64).encode(family.encode_family(&[("state", state.name())])?)?;
    }
    certificates(parts, encoder)?;
    let Some(maps) = &parts.maps else { return Ok(()) };
    let (Ok(rows), Ok(exhausted)) = (maps.counters(), maps.exhausted()) else { return Ok(()) };
    let labels: Vec<_> = rows.iter().map(|row| [("verdict", row.verdict), ("action", row.action)]).collect();
    let packets: Vec<_> =
        labels.iter().zip(&rows).map(|(labels, row)| (labels.as_slice(), row.packets)).collect();
    counter(encoder, names::KERNEL_PACKETS, &packets)?;
    let bytes: Vec<_> =
        labels.iter().zip(&rows).map(|(labels, row)| (labels.as_slice(), row.bytes)).collect();
    counter(encoder, names::KERNEL_BYTES, &bytes)?;
    let classes = CLASSES.map(|class| [("class", class)]);
    let classes: Vec<_> = classes.iter().map(|labels| labels.as_slice()).zip(exhausted).collect();
    counter(encoder, names::BUDGET_EXHAUSTED, &classes)?;
    port_rules(maps, encoder)?;
    lists(maps, encoder)?;
    if let Some(census) = **parts.census.load() {
        gauge(encoder, names::CLIENTS, census.entries)?;
        gauge(encoder, names::CLIENTS_PROVED, census.proved)?;
        gauge(encoder, names::CLIENTS_OWING, census.owing)?;
        counter(encoder, names::EVICTED_OWING, &[(&[], census.evicted_owing)])?;
    }
    counter(encoder, names::PROMOTIONS, &[(&[], maps.promoted().unwrap_or(0))])?;
    gauge(encoder, names::CLIENTS_CAPACITY, maps.capacity_of_clients().map_or(0, u64::from))
}

fn certificates(parts: &Parts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let config = parts.config.load();
    let certificates = config.proxy.certificates();
    if certificates.is_empty() {
        return Ok(());
    }
    let metric = names::CERTIFICATE_END;
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for one in certificates {
        let labels = [("certificate", one.name.as_str())];
        ConstGauge::new(one.not_after_s).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// In the order of `abi::Class`.
const CLASSES: [&str; abi::CLASSES] = ["syn", "tcp", "udp", "echo", "fragments", "apart"];

fn port_rules(maps: &Maps, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Ok(rows) = maps.rule_counts() else { return Ok(()) };
    let labels = |count: &RuleCount| {
        [
            ("rule", count.rule.clone()),
            ("verdict", count.row.verdict.into()),
            ("action", count.row.action.into()),
        ]
    };
    let labels: Vec<_> = rows.iter().map(labels).collect();
    let labels: Vec<_> =
        labels.iter().map(|labels| labels.each_ref().map(|(name, value)| (*name, value.as_str()))).collect();
    let packets: Vec<_> =
        labels.iter().zip(&rows).map(|(labels, count)| (labels.as_slice(), count.row.packets)).collect();
    counter(encoder, names::RULE_PACKETS, &packets)
}

fn lists(maps: &Maps, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let Ok(rows) = maps.list_counts() else { return Ok(()) };
    let labels: Vec<_> = rows.iter().map(|row| [("list", row.name.as_str())]).collect();
    let met = |value: fn(&ListCount) -> u64| -> Vec<_> {
        labels.iter().zip(&rows).map(|(labels, row)| (labels.as_slice(), value(row))).collect()
    };
    counter(encoder, names::LIST_PACKETS, &met(|row| row.packets))?;
    counter(encoder, names::LIST_BYTES, &met(|row| row.bytes))
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    metric: names::Named,
    value: u64,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(
        metric.name,
        metric.help,
        None,
        prometheus_client::metrics::MetricType::Gauge,
    )?)
}

pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    metric: names::Named,
    rows: &[(&[(&str, &str)], u64)],
) -> Result<(), fmt::Error> {
    let kind = prometheus_client::metrics::MetricType::Counter;
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for (labels, value) in rows {
        let counter = ConstCounter::new(*value);
        if labels.is_empty() {
            return counter.encode(family);
        }
        counter.encode(family.encode_family(labels)?)?;
    }
    Ok(())
}
