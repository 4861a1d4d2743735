//! The limit of each client address: one charge a request, before anything else is known of it.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Charged, Config, Denied, Ledger, Shedder};
use crate::model::{Client, Decision, Limit, LimitName, Origin, PrefixMap, Rate, Refusal};
use crate::plane::Plane;

/// Where clients are charged: the plane, and the fleet's ledger where there is one.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    pub plane: &'a Plane,
    pub ledger: Option<&'a Ledger>,
}

/// `[limit.client] requests`, compiled.
#[derive(Clone, Debug)]
pub struct ClientLimit {
    /// Everybody's, then those of the overrides.
    rows: Vec<(LimitName, Option<Rate>)>,
    /// Positions in `rows`.
    overrides: PrefixMap<usize>,
}

impl ClientLimit {
    /// None where nobody is limited.
    pub fn new(config: &Config) -> Option<Self> {
        let mut rows = vec![(LimitName::from("client"), config.requests)];
        rows.extend(config.overrides.iter().map(|one| (Arc::clone(&one.name), one.requests)));
        // Of two equal prefixes the later row holds there, and the first override here.
        let numbered = config.overrides.iter().enumerate().rev();
        let overrides = numbered.flat_map(|(idx, one)| one.prefixes.iter().map(move |net| (*net, idx + 1)));
        let overrides = PrefixMap::new(overrides);
        rows.iter().any(|(_, rate)| rate.is_some()).then_some(Self { rows, overrides })
    }

    fn of(&self, address: IpAddr) -> Option<(&LimitName, &Rate)> {
        let (name, rate) = self.rows.get(self.overrides.find(address).unwrap_or(0))?;
        Some((name, rate.as_ref()?))
    }

    /// Takes `n` requests from the client at `address`, whether they conform or not.
    pub fn debit(&self, held: &Held<'_>, client: Client, address: IpAddr, n: u64, now_ns: u64) {
        if let Some((_, rate)) = self.of(address).filter(|_| n > 0) {
            let limit = rate.limit();
            held.plane.debit(client, &limit, n, now_ns);
            if let Some(ledger) = held.ledger {
                ledger.clients.debited(whom(client, &limit, now_ns), n);
            }
        }
    }

    /// Takes one request from the client at `address`, or says why not. A client that this worker knows to be
    /// denied is answered from `denied`, without asking the plane.
    pub fn charge(
        &self,
        held: &Held<'_>,
        denied: &Denied,
        shedder: &Shedder,
        client: Client,
        address: IpAddr,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let Some((name, rate)) = self.of(address) else { return Ok(()) };
        let limit = rate.limit();
        let whom = whom(client, &limit, now_ns);
        let decision = match denied.still(client.key, now_ns) {
            Some(standing) => {
                if let Some(ledger) = held.ledger {
                    ledger.clients.refused(whom);
                }
                let retry_after_ns = limit.wait_ns(standing.debt_ns, 1).unwrap_or(limit.tau_ns);
                Decision::Deny { standing, retry_after_ns }
            }
            None => {
                let charge = || held.plane.charge(client, &limit, 1, now_ns);
                held.ledger.map_or_else(charge, |ledger| ledger.clients.charge(whom, charge))
            }
        };
        let Decision::Deny { standing, retry_after_ns } = decision else { return Ok(()) };
        denied.remember(client.key, standing, retry_after_ns, now_ns);
        let offender = shedder.refused(client, now_ns);
        let shed_ns = offender.map(|offender| u64::try_from(offender.length.as_nanos()).unwrap_or(u64::MAX));
        Err(Refusal {
            name: Arc::clone(name),
            limit,
            burst: rate.burst(),
            standing,
            retry_after_ns: shed_ns.unwrap_or(retry_after_ns),
            shed: shed_ns.is_some(),
        })
    }
}

fn whom<'a>(client: Client, limit: &'a Limit, now_ns: u64) -> Charged<'a> {
    Charged { key: client.key.0, limit, from_peer: client.origin == Origin::Peer, now_ns }
}
