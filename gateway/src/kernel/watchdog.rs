//! `[kernel] watchdog`: the packet path drops only as long as the keeper renews its lease. The end of a
//! lease needs nobody in user space: the program itself passes what it would drop, and counts on.

use std::time::Duration;

use crate::plane::{Charge, ChargeError, Lease};

/// Renewals in the time of the watchdog: three may be late.
const RENEWALS: u32 = 4;

/// The keeper's lease, taken and to be kept; None: there is no watchdog.
pub struct Watchdog(Option<(Charge, Duration)>);

impl Watchdog {
    /// Takes the lease, or ends a predecessor's where there is no watchdog; what was applied and not
    /// confirmed is not in force any more.
    pub fn start(charge: Charge, length: Option<Duration>) -> Result<Self, ChargeError> {
        charge.end(Lease::Apply)?;
        match length {
            Some(length) => charge.grant(Lease::Keeper, length)?,
            None => charge.end(Lease::Keeper)?,
        }
        Ok(Self(length.map(|length| (charge, length))))
    }

    /// Renews until the process ends, on a thread of its own: a keeper that waits for a gateway is not
    /// gone. To be called with the keeper's signals blocked and its capabilities dropped.
    pub(super) fn keep(&mut self) {
        let Some((charge, length)) = self.0.take() else { return };
        std::thread::spawn(move || {
            loop {
                if let Err(error) = charge.grant(Lease::Keeper, length) {
                    tracing::warn!(%error, "the watchdog's lease cannot be renewed");
                }
                rest(length / RENEWALS);
            }
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a beat, which nothing else tells the time for")]
fn rest(span: Duration) {
    std::thread::sleep(span);
}
