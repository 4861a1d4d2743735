//! Where a master is: written down, or asked of the Sentinels each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;

use super::open::{Dialer, Opened, To};
use super::server::{alongside, ask};
use super::slots::{SlotMap, text};
use super::{Address, Fault, Kind};

/// For one Sentinel's answer.
const PATIENCE: Duration = Duration::from_millis(400);

/// How a server finds its address.
pub(super) enum Find {
    Written(Address),
    Sentinels(Sentinels),
    /// A Cluster's: its slots are what that says.
    Cluster(Address, Arc<ArcSwap<SlotMap>>),
}

impl Find {
    /// Where it is always the same.
    pub fn known(&self) -> Option<Address> {
        match self {
            Self::Written(address) | Self::Cluster(address, _) => Some(address.clone()),
            Self::Sentinels(_) => None,
        }
    }

    pub async fn master(&self, dialer: &Dialer) -> Result<Address, Fault> {
        match self {
            Self::Written(address) | Self::Cluster(address, _) => Ok(address.clone()),
            Self::Sentinels(sentinels) => sentinels.master(dialer).await,
        }
    }

    pub fn serves(&self, slot: u16) -> bool {
        match self {
            Self::Written(_) | Self::Sentinels(_) => true,
            Self::Cluster(address, slots) => slots.load().master(slot) == Some(address),
        }
    }
}

/// Watchers of one master.
pub(super) struct Sentinels {
    name: String,
    /// Whom to ask first: another one each time, should one be cut off and not know it.
    next: AtomicUsize,
}

impl Sentinels {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), next: AtomicUsize::new(0) }
    }

    async fn master(&self, dialer: &Dialer) -> Result<Address, Fault> {
        let sentinels = &dialer.config.addresses;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last = None;
        for idx in 0..sentinels.len() {
            let Some(sentinel) = sentinels.get((first + idx) % sentinels.len()) else { continue };
            let asked = timeout(PATIENCE, self.ask(dialer, sentinel)).await;
            let silent = || Err(Fault::new(Kind::Silent, format!("no answer within {PATIENCE:?}")));
            match asked.unwrap_or_else(|_| silent()) {
                Ok(master) => return Ok(master),
                Err(fault) => {
                    last = Some(Fault::new(fault.kind, format!("the Sentinel {sentinel}: {fault}")));
                }
            }
        }
        Err(last.unwrap_or_else(|| Fault::new(Kind::Broken, "there are no Sentinels")))
    }

    async fn ask(&self, dialer: &Dialer, sentinel: &Address) -> Result<Address, Fault> {
        let Opened { mut connection, mut driver } = dialer.open(sentinel, To::Sentinel).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer = alongside(&mut driver, ask(&mut connection, &question)).await?;
        let address = || {
            let [host, port] = answer.as_sequence()? else { return None };
            Some(Address::new(text(host)?, text(port)?.parse().ok()?))
        };
        address().ok_or_else(|| Fault::new(Kind::Broken, format!("it knows no master `{}`", self.name)))
    }
}
