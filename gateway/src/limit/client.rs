//! The limit of each client address: one charge a request, before anything else is known of it.

use std::sync::Arc;

use super::{Denied, Shedder};
use crate::model::{Client, Decision, LimitName, Rate, Refusal};
use crate::plane::Plane;

/// `[limit.client] requests`, compiled.
#[derive(Clone, Debug)]
pub struct ClientLimit {
    name: LimitName,
    rate: Rate,
}

impl ClientLimit {
    pub fn new(rate: Rate) -> Self {
        Self { name: Arc::from("client"), rate }
    }

    /// Takes one request from the client, or says why not. A client that this worker knows to be
    /// denied is answered from `denied`, without asking the plane.
    pub fn charge(
        &self,
        plane: &Plane,
        denied: &Denied,
        shedder: &Shedder,
        client: Client,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let limit = self.rate.limit();
        let decision = match denied.still(client.key, now_ns) {
            Some(standing) => {
                let retry_after_ns = limit.wait_ns(standing.debt_ns, 1).unwrap_or(limit.tau_ns);
                Decision::Deny { standing, retry_after_ns }
            }
            None => plane.charge(client, &limit, 1, now_ns),
        };
        let Decision::Deny { standing, retry_after_ns } = decision else { return Ok(()) };
        denied.remember(client.key, standing, retry_after_ns, now_ns);
        let offender = shedder.refused(client, now_ns);
        let shed_ns = offender.map(|offender| u64::try_from(offender.length.as_nanos()).unwrap_or(u64::MAX));
        Err(Refusal {
            name: self.name.clone(),
            limit,
            burst: self.rate.burst(),
            standing,
            retry_after_ns: shed_ns.unwrap_or(retry_after_ns),
            shed: shed_ns.is_some(),
        })
    }
}
