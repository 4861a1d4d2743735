//! Who presents a credential: the schemes, and the session that proves one passed.

mod key;

use std::ops::ControlFlow;
use std::sync::Arc;

use hyper::HeaderMap;

use crate::model::{self, Api};
use crate::proxy::respond::Rejection;

/// Proof that auth was passed; made in this module only.
pub(in crate::proxy) struct Session {
    credential: Option<Arc<str>>,
}

impl Session {
    /// Name of the credential; None at an API without auth.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }
}

/// A kind of authentication: takes its credential out of the headers and names whose it is.
trait Scheme: Send + Sync {
    fn authenticate(&self, headers: &mut HeaderMap) -> Option<Arc<str>>;
}

/// A scheme's row: from an API's settings to the scheme, or to none.
type Row = fn(&model::Auth) -> Option<Box<dyn Scheme>>;

/// Each knows its own settings.
const SCHEMES: [Row; 1] = [key::row];

/// An API's scheme, or none.
pub(super) struct Auth {
    scheme: Option<Box<dyn Scheme>>,
}

impl Auth {
    pub fn build(api: &Api) -> Self {
        let scheme = api.auth.as_ref().and_then(|auth| SCHEMES.iter().find_map(|row| row(auth)));
        Self { scheme }
    }

    pub fn authenticate(&self, headers: &mut HeaderMap) -> ControlFlow<Rejection, Session> {
        let Some(scheme) = &self.scheme else { return ControlFlow::Continue(Session { credential: None }) };
        match scheme.authenticate(headers) {
            Some(name) => ControlFlow::Continue(Session { credential: Some(name) }),
            None => ControlFlow::Break(Rejection::Unauthorized),
        }
    }
}
