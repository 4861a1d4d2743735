//! Why Redis did not do what was asked, sorted by what has to happen next.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// A request that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no connection now; nothing was sent.
    Away,
    /// As much waits as may wait; nothing was sent.
    Busy,
    /// The answer did not come in time. Redis may have done it, or may do it yet.
    Silent,
    /// The connection broke. Redis may have done it.
    Broken,
    /// Password, user or certificate.
    Denied,
    /// The server is no master, or not ready to be one; nothing was done.
    NotMaster,
    /// Redis refuses writes: memory, disk or replicas; nothing was done.
    Full,
    /// The user may not do that; nothing was done.
    Forbidden,
    /// The slot is elsewhere, or on its way; nothing was done.
    Moved,
    /// The script is not there; nothing was done.
    NoScript,
    /// Redis answered with another error: the request's fault.
    Refused,
}

impl Fault {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Whether Redis may have done, or may yet do, what was asked.
    pub fn may_have_run(&self) -> bool {
        matches!(self.kind, Kind::Silent | Kind::Broken | Kind::Refused)
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(&self) -> bool {
        matches!(self.kind, Kind::Silent | Kind::Broken | Kind::Denied | Kind::NotMaster)
    }

    /// Whether Redis is there and does not do its work.
    pub(super) fn impairs(&self) -> bool {
        matches!(self.kind, Kind::Full | Kind::Forbidden)
    }

    /// Of a connection that could not be made.
    pub(super) fn of_io(error: &std::io::Error) -> Self {
        let is_certificate = error.kind() == std::io::ErrorKind::InvalidData;
        let kind = if is_certificate { Kind::Denied } else { Kind::Broken };
        Self::new(kind, error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// Error codes of Redis, in an answer or within what a script of Redis 6 says. LOADING and the like
/// are a master's that will be one, or will not: look it up again.
const CODES: [(&str, Kind); 15] = [
    ("NOSCRIPT", Kind::NoScript),
    ("READONLY", Kind::NotMaster),
    ("MASTERDOWN", Kind::NotMaster),
    ("LOADING", Kind::NotMaster),
    ("MOVED", Kind::Moved),
    ("ASK", Kind::Moved),
    ("TRYAGAIN", Kind::Moved),
    ("CLUSTERDOWN", Kind::Moved),
    ("NOAUTH", Kind::Denied),
    ("WRONGPASS", Kind::Denied),
    ("NOPERM", Kind::Forbidden),
    ("OOM", Kind::Full),
    ("MISCONF", Kind::Full),
    ("NOREPLICAS", Kind::Full),
    ("BUSY", Kind::Full),
];

impl From<&RedisError> for Fault {
    fn from(error: &RedisError) -> Self {
        let code = error.code().unwrap_or_default();
        let said = match error.detail() {
            Some(detail) if code.is_empty() => detail.to_owned(),
            Some(detail) => format!("{code} {detail}"),
            // The crate keeps Redis's words to itself.
            None if error.kind() == ErrorKind::AuthenticationFailed => "user or password refused".to_owned(),
            None => error.to_string(),
        };
        let found = CODES.iter().find(|(name, _)| *name == code).or_else(|| {
            let nested = |name: &str| said.contains(&format!("-{name} "));
            CODES.iter().find(|(name, _)| code == "ERR" && nested(name))
        });
        let kind = match (found, error.kind()) {
            (Some((_, kind)), _) => *kind,
            (None, ErrorKind::AuthenticationFailed) => Kind::Denied,
            (None, ErrorKind::Io | ErrorKind::Client | ErrorKind::Parse) => Kind::Broken,
            (None, _) => Kind::Refused,
        };
        Self::new(kind, said)
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::from(&error)
    }
}
