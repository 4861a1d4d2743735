//! A request as schemes see it: where a credential may stand, and by what it may be judged.

use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Uri};

use super::Reason;
use crate::proxy::connection::Connection;

/// Nothing of the body: it has not come yet.
pub(in crate::proxy) struct Presented<'a> {
    pub method: &'a Method,
    /// A credential in the query is taken out of it.
    pub uri: &'a mut Uri,
    pub headers: &'a mut HeaderMap,
    pub over: &'a Connection,
    /// Of the monotonic clock.
    pub now_ns: u64,
    /// Seconds of Unix time.
    pub unix_s: u64,
}

/// What a field holds that may stand once.
pub(super) enum Single<'a> {
    None,
    One(&'a HeaderValue),
}

impl Presented<'_> {
    /// Whom the request is for: the target's authority, or Host.
    pub fn authority(&self) -> &str {
        let named = self.uri.authority().map(|authority| authority.as_str());
        named.or_else(|| self.headers.get(HOST)?.to_str().ok()).unwrap_or_default()
    }

    /// The only line of a field. Two credentials of one kind name nobody.
    pub(super) fn single(&self, name: &HeaderName) -> Result<Single<'_>, Reason> {
        let mut lines = self.headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Ok(Single::None),
            (Some(line), None) => Ok(Single::One(line)),
            (Some(_), Some(_)) => Err(Reason::Ambiguous),
        }
    }

    /// What stands behind `scheme` in Authorization, which RFC 9110 section 11.1 compares in any case. None
    /// where there is no such field or it is another scheme's.
    pub(super) fn authorization(&self, scheme: &str) -> Result<Option<&[u8]>, Reason> {
        let Single::One(line) = self.single(&AUTHORIZATION)? else { return Ok(None) };
        Ok(behind_scheme(line.as_bytes(), scheme))
    }
}

/// Three parts as JWS writes them (RFC 7515 section 7.1), of which the first begins a JSON object: what
/// tells a JWT from a key that stands in the same field.
pub(super) fn looks_like_jws(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

/// `scheme SP credentials`.
pub(super) fn behind_scheme<'a>(line: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (name, rest) = line.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    name.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
}
