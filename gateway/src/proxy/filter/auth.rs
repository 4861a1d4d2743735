//! Who presents a credential: the schemes in the order in which the API names them, and the session that
//! proves one passed. Knows no limits and no grants; those are filters behind it.

mod bounds;

mod challenge;

mod identity;

mod basic;

mod hmac;

mod jwt;

mod key;

mod key_sets;

mod mtls;

mod passwords;

mod pending;

mod presented;

mod reason;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

pub use self::bounds::Kept;
pub(in crate::proxy) use self::identity::{Identity, Session};
pub use self::jwt::{KEYS_MAX, Tokens};
pub use self::key_sets::{DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, HeldFacts, KeySetFacts, fetch_key_sets};
pub(in crate::proxy) use self::pending::Pending;
pub(in crate::proxy) use self::presented::Presented;
pub(in crate::proxy) use self::reason::{Answer, AuthRefusal, Reason};
use super::policies::Policies;
use crate::model::{Api, AuthScheme, LimitKey, Require};

/// A kind of authentication at one API, built at publish. What is hot answers at once and allocates
/// nothing; [`Verdict::Wait`] is for what is cold: a hash that is slow on purpose, a key set to be fetched.
trait Scheme: Send + Sync {
    /// Label of metrics and word of logs.
    fn name(&self) -> &'static str;

    /// Looks for its credential and judges it; a credential that passes is taken out of the request, unless
    /// the API's settings leave it to the upstream.
    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict;

    /// What WWW-Authenticate says of it, `why` where it was this scheme that refused.
    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue>;

    /// Fields that its identities may set towards the upstream: taken off whatever a client sends.
    fn upstream_headers(&self) -> &[HeaderName] {
        &[]
    }
}

/// What a scheme finds.
enum Verdict {
    /// No credential of this kind, by its form: the next scheme is asked.
    Absent,
    Pass(Arc<Identity>),
    Refused(Reason),
    /// Slow work decides; polled on the request's own task, within [`model::AuthBounds`].
    Wait(Waiting),
}

/// Ends with who it is, or why not. Holds nothing of the request.
type Waiting = Pin<Box<dyn Future<Output = Result<Arc<Identity>, Reason>>>>;

/// What schemes are built from besides their own settings.
struct Site<'a> {
    realm: &'a str,
    /// What outlives a snapshot: caches, pools, permits.
    kept: &'a Arc<Kept>,
    /// Whether another scheme of this API reads `Authorization: Bearer` too.
    shares_bearer: bool,
    /// Claims that limits and headers of this API repeat.
    claims: &'a [Arc<str>],
}

/// A scheme's row: from its settings to the scheme, or to none where the settings are another's.
type Row = fn(&AuthScheme, &Site<'_>) -> Option<Box<dyn Scheme>>;

const SCHEMES: [Row; 5] = [key::row, jwt::row, basic::row, mtls::row, hmac::row];

/// An API's schemes; none where anybody may pass.
pub(super) struct Auth {
    schemes: Vec<Box<dyn Scheme>>,
    require: Require,
    kept: Arc<Kept>,
    /// Fields that schemes and policies set: a client's own are taken off.
    upstream_headers: Vec<HeaderName>,
}

/// What auth says at once.
pub(in crate::proxy) enum Authenticated {
    Session(Session),
    Refused(Box<AuthRefusal>),
    /// To be awaited; only where a scheme waits.
    Pending(Box<Pending>),
}

impl Auth {
    pub fn build(api: &Api, policies: &Policies, kept: &Arc<Kept>) -> Self {
        let (settings, require) =
            api.auth.as_ref().map_or((&[][..], Require::Any), |auth| (auth.schemes.as_slice(), auth.require));
        let realm = api.auth.as_ref().map_or("", |auth| &auth.realm);
        let n_bearers = settings.iter().filter(|one| one.reads_bearer()).count();
        let claims = claims(api, policies);
        let site = Site { realm, kept, shares_bearer: n_bearers > 1, claims: &claims };
        let scheme = |one| SCHEMES.iter().find_map(|row| row(one, &site));
        let schemes: Vec<_> = settings.iter().filter_map(scheme).collect();
        let of_schemes = schemes.iter().flat_map(|one| one.upstream_headers());
        let upstream_headers = of_schemes.chain(policies.header_names()).cloned().collect();
        Self { schemes, require, kept: Arc::clone(kept), upstream_headers }
    }

    /// Whether anybody passes without a credential.
    pub fn is_open(&self) -> bool {
        self.schemes.is_empty()
    }

    pub fn authenticate(&self, presented: &mut Presented<'_>) -> Authenticated {
        if self.is_open() {
            return Authenticated::Session(Session::anonymous());
        }
        for name in &self.upstream_headers {
            presented.headers.remove(name);
        }
        match self.require {
            Require::Any => self.any(presented),
            Require::All => self.all(presented),
        }
    }

    /// The first scheme whose credential is there decides.
    fn any(&self, presented: &mut Presented<'_>) -> Authenticated {
        for scheme in &self.schemes {
            match scheme.authenticate(presented) {
                Verdict::Absent => {}
                Verdict::Pass(identity) => return Authenticated::Session(Session::of(identity)),
                Verdict::Refused(reason) => return self.refused(&**scheme, reason),
                Verdict::Wait(waiting) => return self.waits(None, vec![(&**scheme, waiting)]),
            }
        }
        self.refuse(NO_SCHEME, Reason::Absent)
    }

    /// Every scheme must pass; the first gives the identity.
    fn all(&self, presented: &mut Presented<'_>) -> Authenticated {
        let (mut first, mut waits) = (None, Vec::new());
        for scheme in &self.schemes {
            match scheme.authenticate(presented) {
                Verdict::Absent => return self.refused(&**scheme, Reason::Absent),
                Verdict::Refused(reason) => return self.refused(&**scheme, reason),
                Verdict::Pass(identity) if first.is_none() && waits.is_empty() => first = Some(identity),
                Verdict::Pass(_) => {}
                Verdict::Wait(waiting) => waits.push((&**scheme, waiting)),
            }
        }
        match first {
            Some(identity) if waits.is_empty() => Authenticated::Session(Session::of(identity)),
            first => self.waits(first, waits),
        }
    }

    fn refused(&self, scheme: &dyn Scheme, reason: Reason) -> Authenticated {
        self.refuse(scheme.name(), reason)
    }

    fn refuse(&self, scheme: &'static str, reason: Reason) -> Authenticated {
        Authenticated::Refused(Box::new(self.refusal(scheme, reason)))
    }

    /// A refusal with the challenges of every scheme, each once.
    pub fn refusal(&self, scheme: &'static str, reason: Reason) -> AuthRefusal {
        let mut challenges: Vec<HeaderValue> = Vec::new();
        for one in &self.schemes {
            let why = (one.name() == scheme).then_some(reason);
            if reason.answer() == Answer::Forbidden && why.is_none() {
                continue;
            }
            if let Some(challenge) = one.challenge(why).filter(|challenge| !challenges.contains(challenge)) {
                challenges.push(challenge);
            }
        }
        AuthRefusal { scheme, reason, challenges }
    }

    fn waits(&self, first: Option<Arc<Identity>>, waits: Vec<(&dyn Scheme, Waiting)>) -> Authenticated {
        let waits = waits.into_iter().map(|(scheme, waiting)| (scheme.name(), waiting)).collect();
        match self.kept.admit() {
            Some(permit) => Authenticated::Pending(Box::new(Pending::new(first, waits, permit))),
            None => self.refuse(NO_SCHEME, Reason::Busy),
        }
    }
}

/// Names of claims that rows of limits, the API's headers and those of policies repeat, each once.
fn claims(api: &Api, policies: &Policies) -> Vec<Arc<str>> {
    let by_limits = api.limits.iter().filter_map(|row| match &row.key {
        LimitKey::Claim(name) => Some(name),
        LimitKey::Client | LimitKey::Credential | LimitKey::Subject | LimitKey::Api => None,
    });
    let mut claims: Vec<_> = by_limits.chain(policies.claims()).cloned().collect();
    claims.sort_unstable();
    claims.dedup();
    claims
}

/// The `scheme` of a refusal that no scheme made.
const NO_SCHEME: &str = "none";

/// Puts what the identity says into a request that goes to the upstream.
pub(super) fn to_upstream(identity: &Identity, headers: &mut HeaderMap) {
    for (name, value) in &identity.headers {
        headers.insert(name, value.clone());
    }
}
