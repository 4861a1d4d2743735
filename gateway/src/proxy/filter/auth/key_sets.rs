//! The sets of keys that issuers publish, of every API that names them: kept over reloads, fetched on the
//! control side only. A request never fetches; where it may, it has one fetched and waits. However many
//! requests come with whatever names of keys, a URL has one fetch under way, and one in a cool-down.

mod fetch;

mod lifetime;

mod pin;

mod source;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use self::fetch::DOCUMENT_BYTES_MAX;
pub use self::source::{Source, Wait};
use super::Kept;
use crate::model::KeySetSource;
use crate::plane::{fresh_seed, now_ns, unix_s};

/// Sets of all APIs together.
pub const DOCUMENTS_MAX: usize = 64;
/// How soon what nobody told of is noticed: a source whose API is gone, an age that is over.
const LOOK: Duration = Duration::from_secs(1);

/// Of the process.
#[derive(Default)]
pub struct KeySets {
    sources: Mutex<Vec<Weak<Source>>>,
    /// There is something to fetch.
    wake: Arc<Notify>,
}

/// How a set stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetFacts {
    pub url: Arc<str>,
    /// None: there is no set.
    pub held: Option<HeldFacts>,
    pub fetched: u64,
    pub failed: u64,
    /// Requests that wanted a fetch during a cool-down.
    pub held_off: u64,
    pub is_fetching: bool,
    /// Of the last fetch, where it failed.
    pub error: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFacts {
    /// Names of the keys; "" where one has none.
    pub keys: Vec<String>,
    /// Why others of the document are not used.
    pub left_out: Vec<String>,
    pub bytes: usize,
    pub age_s: u64,
    /// Its time is over; it is used because it cannot be fetched.
    pub is_stale: bool,
    /// Read from the pinned copy, not from the issuer.
    pub is_pinned: bool,
}

impl KeySets {
    /// The one for these settings, which begins with the pinned copy where there is one.
    pub(super) fn of(&self, settings: &KeySetSource) -> Arc<Source> {
        let mut sources = self.locked();
        sources.retain(|source| source.strong_count() > 0);
        let same = |source: &Weak<Source>| source.upgrade().filter(|source| source.settings == *settings);
        if let Some(source) = sources.iter().find_map(same) {
            return source;
        }
        let wake = Arc::clone(&self.wake);
        let source = Arc::new(Source::new(settings.clone(), wake, now_ns(), unix_s()));
        sources.push(Arc::downgrade(&source));
        self.wake.notify_one();
        source
    }

    pub fn facts(&self) -> Vec<KeySetFacts> {
        let (now_ns, unix_s) = (now_ns(), unix_s());
        self.alive().iter().map(|source| source.facts(now_ns, unix_s)).collect()
    }

    /// Has every set fetched, whatever its age; those of one URL where one is given. Returns once they were,
    /// with how many they are.
    pub async fn refresh(&self, url: Option<&str>) -> usize {
        let wanted: Vec<_> = self
            .alive()
            .into_iter()
            .filter(|source| url.is_none_or(|url| url == &*source.settings.url))
            .collect();
        let waits: Vec<_> = wanted.iter().map(|source| source.refresh()).collect();
        for wait in waits {
            wait.end().await;
        }
        wanted.len()
    }

    fn alive(&self) -> Vec<Arc<Source>> {
        self.locked().iter().filter_map(Weak::upgrade).collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Weak<Source>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches what is due or wanted, for as long as this runs.
pub async fn fetch_key_sets(kept: Arc<Kept>) {
    let sets = &kept.key_sets;
    let mut fetches = JoinSet::new();
    loop {
        for source in sets.alive() {
            source.drop_stale(now_ns());
            if source.begin(now_ns()) {
                fetches.spawn(async move {
                    let fetched = fetch::fetch(&source.settings).await;
                    source.end(fetched, now_ns(), unix_s(), fresh_seed()).await;
                });
            }
        }
        tokio::select! {
            () = sets.wake.notified() => {}
            Some(ended) = fetches.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a fetch of keys ended before its time");
                }
            }
            () = sleep(LOOK) => {}
        }
    }
}
