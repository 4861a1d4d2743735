//! Where a master is: written down, or asked of the Sentinels each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::spread;
use super::open::{Dialer, Opened, To};
use super::server::{alongside, ask};
use super::slots::{SlotMap, text};
use super::{Address, Fault, Kind};
use crate::store::clock;

/// For one Sentinel's answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often each is asked while its master is connected.
const WATCH: Duration = Duration::from_millis(500);
const LEFT: Duration = Duration::from_secs(30);

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

    /// Ends when whoever knows names another than `current`.
    pub async fn watch(&self, dialer: &Dialer, current: &Address) -> Fault {
        match self {
            Self::Written(_) | Self::Cluster(..) => std::future::pending().await,
            Self::Sentinels(sentinels) => sentinels.watch(dialer, current).await,
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
    /// The master that was left for a newer one, and until when one Sentinel's word for it counts less:
    /// it may be behind the others.
    left: Mutex<Option<(Address, Instant)>>,
}

impl Sentinels {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), next: AtomicUsize::new(0), left: Mutex::default() }
    }

    async fn master(&self, dialer: &Dialer) -> Result<Address, Fault> {
        let sentinels = &dialer.config.addresses;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut named_before = None;
        let mut last = None;
        for idx in 0..sentinels.len() {
            let Some(sentinel) = sentinels.get((first + idx) % sentinels.len()) else { continue };
            match patiently(self.open_and_ask(dialer, sentinel)).await {
                Ok(master) if self.was_left(&master) => named_before = Some(master),
                Ok(master) => return Ok(master),
                Err(fault) => {
                    last = Some(Fault::new(fault.kind, format!("the Sentinel {sentinel}: {fault}")));
                }
            }
        }
        let none = || last.unwrap_or_else(|| Fault::new(Kind::Broken, "there are no Sentinels"));
        named_before.ok_or_else(none)
    }

    /// Asks all of them again and again; ends when one names another master. After a planned failover
    /// the old one calls itself a master for ten seconds, and takes what is lost then.
    async fn watch(&self, dialer: &Dialer, current: &Address) -> Fault {
        let mut open: Vec<Option<Opened>> = Vec::new();
        open.resize_with(dialer.config.addresses.len(), || None);
        loop {
            sleep(spread(WATCH)).await;
            for (sentinel, place) in dialer.config.addresses.iter().zip(&mut open) {
                if place.is_none() {
                    *place = patiently(dialer.open(sentinel, To::Sentinel)).await.ok();
                }
                let Some(opened) = place else { continue };
                match patiently(self.ask(opened)).await {
                    Ok(master) if master != *current && !self.was_left(&master) => {
                        self.leave(current.clone());
                        return Fault::new(
                            Kind::NotMaster,
                            format!("the Sentinels name {master} the master"),
                        );
                    }
                    Ok(_) => {}
                    Err(_) => *place = None,
                }
            }
        }
    }

    fn leave(&self, master: Address) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some((master, clock::now() + LEFT));
    }

    fn was_left(&self, master: &Address) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.as_ref().is_some_and(|(address, until)| address == master && clock::now() < *until)
    }

    async fn open_and_ask(&self, dialer: &Dialer, sentinel: &Address) -> Result<Address, Fault> {
        self.ask(&mut dialer.open(sentinel, To::Sentinel).await?).await
    }

    async fn ask(&self, opened: &mut Opened) -> Result<Address, Fault> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let Opened { connection, driver } = opened;
        let answer = alongside(driver, ask(connection, &question)).await?;
        let address = || {
            let [host, port] = answer.as_sequence()? else { return None };
            Some(Address::new(text(host)?, text(port)?.parse().ok()?))
        };
        address().ok_or_else(|| Fault::new(Kind::Broken, format!("it knows no master `{}`", self.name)))
    }
}

async fn patiently<T>(answer: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let silent = |_| Fault::new(Kind::Silent, format!("no answer within {PATIENCE:?}"));
    timeout(PATIENCE, answer).await.map_err(silent)?
}
