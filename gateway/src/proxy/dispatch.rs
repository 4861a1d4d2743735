//! Chooses the API: by host, then by the longest listen path, on the normalised path. Whole segments
//! match: `/orders` serves `/orders` and `/orders/7`, not `/ordersX`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::snapshot::ApiIdx;
use crate::model::Api;

mod path;

#[cfg(test)]
mod tests;

pub use path::normalise;

/// Tables of listen paths, built at publish.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_host: HashMap<Arc<str>, Paths>,
    any_host: Paths,
}

#[derive(Debug, Default)]
struct Paths {
    /// Listen path without its last '/'.
    by_path: HashMap<Box<str>, ApiIdx>,
    /// Segments of the longest listen path: no deeper prefix is looked up.
    depth: usize,
}

impl Routes {
    pub fn build(apis: &[Arc<Api>]) -> Self {
        let mut routes = Self::default();
        for (idx, api) in apis.iter().enumerate() {
            let paths = match &api.host {
                Some(host) => routes.by_host.entry(Arc::clone(host)).or_default(),
                None => &mut routes.any_host,
            };
            paths.insert(&api.listen_path, ApiIdx(idx));
        }
        routes
    }

    /// `host` as the request names it, `path` normalised. A host's own APIs come first, whatever the length.
    pub fn find(&self, host: &str, path: &str) -> Option<ApiIdx> {
        let host = lower_host(host);
        let own = self.by_host.get(host.as_ref()).and_then(|paths| paths.longest(path));
        own.or_else(|| self.any_host.longest(path))
    }
}

impl Paths {
    fn insert(&mut self, listen_path: &str, idx: ApiIdx) {
        let prefix = listen_path.trim_end_matches('/');
        self.depth = self.depth.max(prefix.matches('/').count());
        self.by_path.insert(prefix.into(), idx);
    }

    fn longest(&self, path: &str) -> Option<ApiIdx> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]).take(self.depth);
        let mut found = self.by_path.get("").copied();
        for end in ends {
            let hit = path.get(..end).and_then(|prefix| self.by_path.get(prefix));
            found = hit.copied().or(found);
        }
        found
    }
}

/// The host in lower case, without its port.
fn lower_host(host: &str) -> Cow<'_, str> {
    let name = match host.strip_prefix('[') {
        // An IPv6 literal keeps its brackets; the port follows them.
        Some(_) => host.find(']').and_then(|end| host.get(..=end)).unwrap_or(host),
        None => host.split(':').next().unwrap_or(host),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
