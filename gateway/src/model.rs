//! What Weir serves and limits, as values: no serde, no async, no IO, no HTTP types. Foreign texts
//! (weir.toml, later Tyk's) are compiled into these by config/ and tyk/; the data side builds its
//! snapshot from them.

mod api;
mod auth;
mod client;
mod decision;
mod forwarding;
mod jwt;
mod policy;
mod prefixes;
mod rate;
mod shaping;
mod upstream_tls;

pub use api::{Answer, Api, BodyBound, Catalog, Certificates, LimitKey, LimitRow, Redirect, StaticAnswer};
pub use auth::{
    Auth, AuthBounds, AuthScheme, BasicAuth, CertificateMatch, CertificateRow, HmacAuth, Holder, KeyAuth,
    KeyPlace, KeyRow, MtlsAuth, Require, Secret, SignerRow, UserRow,
};
pub use client::{Client, Origin, prefix_of};
pub use decision::{Decision, LimitName, Refusal, Standing};
pub use forwarding::{Admit, BalanceBy, Check, Eject, Forwarding, Question, Retry, Speaks, Upstream};
pub use jwt::{Algorithm, Jwt, JwtAuth, JwtClaims, JwtKeys, KeySetSource, Revoked};
pub use policy::{Grant, Grants, HeaderText, PathPattern, Policy};
pub use prefixes::{PrefixMap, PrefixSet};
pub use rate::Rate;
pub use shaping::{Compress, Cors, HeaderChanges, Origins, Shaping};
pub use upstream_tls::{Identity, UpstreamTls};
pub use weir_ebpf::abi::ClientKey;
pub use weir_ebpf::gcra::Limit;
