//! Why a token is refused. Clients hear less; logs and metrics hear this.

/// In about the order in which they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flaw {
    #[error("longer than token_bytes")]
    TooLong,
    #[error("not three parts of base64url with dots between them")]
    Compact,
    #[error("a header that is no strict JSON object, or a member of it that is not what it must be")]
    Header,
    #[error("a header that makes extensions critical")]
    Critical,
    #[error("a header that brings its own key")]
    EmbeddedKey,
    #[error("an algorithm that is not allowed")]
    Algorithm,
    #[error("a type that is not allowed")]
    Type,
    #[error("no key of this name fits")]
    UnknownKey,
    #[error("a signature that is not the key's")]
    Signature,
    #[error("claims that are no strict JSON object, or a claim that is not what it must be")]
    Claims,
    #[error("a required claim is missing")]
    Missing,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYet,
    #[error("issued in the future")]
    IssuedLater,
    #[error("another issuer")]
    Issuer,
    #[error("another audience")]
    Audience,
    #[error("nobody whose it is, or a name that is none")]
    Identity,
    #[error("no policy that it names or that its scopes stand for")]
    NoPolicy,
    #[error("revoked")]
    Revoked,
}

impl Flaw {
    /// Found behind a signature that was good.
    pub fn is_signed(self) -> bool {
        match self {
            Self::Claims
            | Self::Missing
            | Self::Expired
            | Self::NotYet
            | Self::IssuedLater
            | Self::Issuer
            | Self::Audience
            | Self::Identity
            | Self::NoPolicy
            | Self::Revoked => true,
            Self::TooLong
            | Self::Compact
            | Self::Header
            | Self::Critical
            | Self::EmbeddedKey
            | Self::Algorithm
            | Self::Type
            | Self::UnknownKey
            | Self::Signature => false,
        }
    }

    /// As logs and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "jwt_too_long",
            Self::Compact => "jwt_compact",
            Self::Header => "jwt_header",
            Self::Critical => "jwt_critical",
            Self::EmbeddedKey => "jwt_embedded_key",
            Self::Algorithm => "jwt_algorithm",
            Self::Type => "jwt_type",
            Self::UnknownKey => "jwt_unknown_key",
            Self::Signature => "jwt_signature",
            Self::Claims => "jwt_claims",
            Self::Missing => "jwt_missing",
            Self::Expired => "jwt_expired",
            Self::NotYet => "jwt_not_yet",
            Self::IssuedLater => "jwt_issued_later",
            Self::Issuer => "jwt_issuer",
            Self::Audience => "jwt_audience",
            Self::Identity => "jwt_identity",
            Self::NoPolicy => "jwt_no_policy",
            Self::Revoked => "jwt_revoked",
        }
    }
}
