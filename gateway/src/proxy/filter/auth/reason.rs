//! Why nobody was let through: a bounded set of labels for metrics and logs. An answer tells less: it must
//! not help who guesses.

use hyper::header::HeaderValue;

use super::jwt::Flaw;

/// Each is a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Reason {
    /// No credential of a kind that the API takes.
    Absent,
    /// More than one where one may stand.
    Ambiguous,
    /// Not what the scheme's credentials look like.
    Malformed,
    /// Nobody has it.
    Unknown,
    /// The signature is not that of who it names.
    Signature,
    /// Signed by an algorithm that is not taken.
    Algorithm,
    /// What must be said or covered by a signature is not.
    Component,
    /// It is of a time to come.
    Early,
    /// It passed before.
    Replayed,
    /// Somebody's, and turned off.
    Disabled,
    /// Somebody's, and its time is over.
    Expired,
    /// It is good; none of its policies grants this.
    Policy,
    /// Slow work for too many credentials is under way.
    Busy,
    /// What could tell was not there in time.
    Unavailable,
    /// A token that is not good.
    Jwt(Flaw),
}

/// How a refusal is answered; respond.rs chooses the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Answer {
    /// The request is wrong in itself (RFC 6750 section 3.1, invalid_request).
    BadRequest,
    /// There was no credential.
    Absent,
    /// The credential is not good.
    Unauthorized,
    /// It is good, and not for this.
    Forbidden,
    /// Nobody can tell now.
    Unavailable,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Ambiguous => "ambiguous",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Signature => "signature",
            Self::Algorithm => "algorithm",
            Self::Component => "component",
            Self::Early => "early",
            Self::Replayed => "replayed",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Policy => "policy",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Jwt(flaw) => flaw.name(),
        }
    }

    pub fn answer(self) -> Answer {
        match self {
            Self::Absent => Answer::Absent,
            Self::Ambiguous => Answer::BadRequest,
            Self::Policy | Self::Jwt(Flaw::NoPolicy) => Answer::Forbidden,
            Self::Malformed
            | Self::Unknown
            | Self::Signature
            | Self::Algorithm
            | Self::Component
            | Self::Early
            | Self::Replayed
            | Self::Disabled
            | Self::Expired
            | Self::Jwt(_) => Answer::Unauthorized,
            Self::Busy | Self::Unavailable => Answer::Unavailable,
        }
    }

    /// Whether it may have been a guess: those cost the client more than a request.
    pub fn is_guess(self) -> bool {
        match self {
            // Its issuer signed it: nobody guessed.
            Self::Jwt(flaw) => !flaw.is_signed(),
            _ => matches!(self.answer(), Answer::BadRequest | Answer::Unauthorized),
        }
    }
}

/// A refusal with what the answer needs.
#[derive(Debug)]
pub(in crate::proxy) struct AuthRefusal {
    /// Who refused; "none" where no scheme found its credential.
    pub scheme: &'static str,
    pub reason: Reason,
    /// Lines of WWW-Authenticate.
    pub challenges: Vec<HeaderValue>,
}
