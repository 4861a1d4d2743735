//! A request whose credential is judged by slow work: awaited on its own task, no longer than it may.

use std::sync::Arc;

use super::bounds::Permit;
use super::{Identity, Reason, Session, Waiting};

/// To be awaited by [`Pending::end`].
pub(in crate::proxy) struct Pending {
    /// Who passed before anybody had to wait.
    first: Option<Arc<Identity>>,
    waits: Vec<(&'static str, Waiting)>,
    permit: Permit,
}

impl Pending {
    pub(super) fn new(
        first: Option<Arc<Identity>>,
        waits: Vec<(&'static str, Waiting)>,
        permit: Permit,
    ) -> Self {
        Self { first, waits, permit }
    }

    /// The session, or the scheme that refused and why.
    pub async fn end(self) -> Result<Session, (&'static str, Reason)> {
        let Self { mut first, waits, permit } = self;
        let mut at = "none";
        let all = async {
            for (scheme, waiting) in waits {
                at = scheme;
                let identity = waiting.await.map_err(|reason| (scheme, reason))?;
                first.get_or_insert(identity);
            }
            Ok(first.take())
        };
        match tokio::time::timeout(permit.most, all).await {
            Ok(Ok(Some(identity))) => Ok(Session::of(identity)),
            Ok(Err(refused)) => Err(refused),
            Ok(Ok(None)) | Err(_) => Err((at, Reason::Unavailable)),
        }
    }
}
