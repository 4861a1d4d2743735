//! `request_id`: one name for a request in every log. A trusted proxy's is kept, a stranger's is not.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::{OnAnswer, Seen, ToUpstream};
use crate::model::Api;

/// Longer ones of trusted proxies are replaced.
const ID_BYTES_MAX: usize = 128;

struct RequestId(HeaderName);

pub(super) fn to_upstream(api: &Api) -> Option<Box<dyn ToUpstream>> {
    Some(Box::new(RequestId(name(api)?)))
}

pub(super) fn on_answer(api: &Api) -> Option<Box<dyn OnAnswer>> {
    Some(Box::new(RequestId(name(api)?)))
}

/// The header, where the API has one.
pub(super) fn name(api: &Api) -> Option<HeaderName> {
    HeaderName::from_bytes(api.shaping.request_id.as_ref()?.as_bytes()).ok()
}

/// The id that came, if it may be believed, or a new one.
pub(super) fn of(headers: &HeaderMap, name: &HeaderName, is_trusted: bool) -> HeaderValue {
    let came = headers.get(name).filter(|id| is_trusted && !id.is_empty() && id.len() <= ID_BYTES_MAX);
    came.cloned().unwrap_or_else(fresh)
}

/// 128 bits in hex: 64 of the thread's own, drawn at its start, and 64 that count on from there.
fn fresh() -> HeaderValue {
    thread_local! {
        static IDS: (u64, Cell<u64>) = {
            let random = |part: u64| RandomState::new().hash_one(part);
            (random(1), Cell::new(random(2)))
        };
    }
    let (own, count) = IDS.with(|(own, count)| {
        let next = count.get().wrapping_add(1);
        count.set(next);
        (*own, next)
    });
    let id = Bytes::from(format!("{own:016x}{count:016x}"));
    HeaderValue::from_maybe_shared(id).unwrap_or(HeaderValue::from_static("0"))
}

impl ToUpstream for RequestId {
    fn apply(&self, seen: &Seen, headers: &mut HeaderMap) {
        if let Some(id) = &seen.id {
            headers.insert(&self.0, id.clone());
        }
    }
}

impl OnAnswer for RequestId {
    fn apply(&self, seen: &Seen, headers: &mut HeaderMap) {
        if let Some(id) = &seen.id {
            headers.insert(&self.0, id.clone());
        }
    }
}
