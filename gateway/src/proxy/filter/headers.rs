//! `request_headers` and `response_headers`: what is removed, set and added, ready to copy.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::{OnAnswer, Seen, ToUpstream};
use crate::model::{Api, HeaderChanges};

struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

pub(super) fn of_requests(api: &Api) -> Option<Box<dyn ToUpstream>> {
    Some(Box::new(Changes::new(&api.shaping.request_headers)?))
}

pub(super) fn of_answers(api: &Api) -> Option<Box<dyn OnAnswer>> {
    Some(Box::new(Changes::new(&api.shaping.response_headers)?))
}

impl Changes {
    fn new(changes: &HeaderChanges) -> Option<Self> {
        // Configuration lets no other names and values through.
        let field = |(name, value): &(_, _)| field(name, value);
        (!changes.is_empty()).then(|| Self {
            remove: changes
                .remove
                .iter()
                .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .collect(),
            set: changes.set.iter().filter_map(field).collect(),
            add: changes.add.iter().filter_map(field).collect(),
        })
    }

    fn make(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

fn field(name: &std::sync::Arc<str>, value: &std::sync::Arc<str>) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
}

impl ToUpstream for Changes {
    fn apply(&self, _: &Seen, headers: &mut HeaderMap) {
        self.make(headers);
    }
}

impl OnAnswer for Changes {
    fn apply(&self, _: &Seen, headers: &mut HeaderMap) {
        self.make(headers);
    }
}
