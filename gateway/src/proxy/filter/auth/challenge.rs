//! Lines of WWW-Authenticate, made at publish: RFC 9110 section 11.6.1, RFC 6750 section 3 for Bearer.

use hyper::header::HeaderValue;

use super::Reason;
use super::reason::Answer;

/// A scheme's line, and for Bearer the lines that say what was wrong.
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    plain: HeaderValue,
    invalid_request: HeaderValue,
    invalid_token: HeaderValue,
    insufficient_scope: HeaderValue,
}

impl Challenge {
    /// RFC 6750. `scope` is what insufficient_scope names as needed; "": nothing.
    pub fn bearer(realm: &str, scope: &str) -> Self {
        let base = format!("Bearer realm=\"{}\"", quoted(realm));
        let scope = if scope.is_empty() { String::new() } else { format!(", scope=\"{}\"", quoted(scope)) };
        Self {
            plain: value(&base, "Bearer"),
            invalid_request: value(&format!("{base}, error=\"invalid_request\""), "Bearer"),
            invalid_token: value(&format!("{base}, error=\"invalid_token\""), "Bearer"),
            insufficient_scope: value(&format!("{base}, error=\"insufficient_scope\"{scope}"), "Bearer"),
        }
    }

    /// A scheme that tells nothing of what was wrong. `name` is a token, `more` parameters with their comma.
    pub fn silent(name: &'static str, realm: &str, more: &str) -> Self {
        let plain = value(&format!("{name} realm=\"{}\"{more}", quoted(realm)), name);
        Self {
            invalid_request: plain.clone(),
            invalid_token: plain.clone(),
            insufficient_scope: plain.clone(),
            plain,
        }
    }

    pub fn of(&self, why: Option<Reason>) -> HeaderValue {
        let line = match why.map(Reason::answer) {
            None | Some(Answer::Absent | Answer::Unavailable) => &self.plain,
            Some(Answer::BadRequest) => &self.invalid_request,
            Some(Answer::Unauthorized) => &self.invalid_token,
            Some(Answer::Forbidden) => &self.insufficient_scope,
        };
        line.clone()
    }
}

/// A quoted-string's inside. Configuration lets printable ASCII through only.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn value(text: &str, otherwise: &'static str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(otherwise))
}
