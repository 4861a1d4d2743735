//! The texts of Retry-After (RFC 9110 section 10.2.3), RateLimit and RateLimit-Policy
//! (draft-ietf-httpapi-ratelimit-headers-10, structured fields of RFC 9651).

use hyper::header::HeaderName;

use crate::model::Refusal;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

const SECOND_NS: u64 = 1_000_000_000;

/// Whole seconds rounded up, at least 1.
pub(super) fn retry_after_seconds(retry_after_ns: u64) -> u64 {
    retry_after_ns.div_ceil(SECOND_NS).max(1)
}

/// `"client";q=200;w=2`: 200 at once, refilled in 2 s; `"client";r=0;t=1`: none left, one more in 1 s.
pub(super) fn fields(refusal: &Refusal) -> [(HeaderName, String); 2] {
    let Refusal { name, limit, burst, standing, retry_after_ns, .. } = refusal;
    let window = limit.tau_ns.div_ceil(SECOND_NS).max(1);
    let (remaining, reset) = (standing.remaining(limit), retry_after_seconds(*retry_after_ns));
    [
        (POLICY, format!("\"{name}\";q={burst};w={window}")),
        (STANDING, format!("\"{name}\";r={remaining};t={reset}")),
    ]
}
