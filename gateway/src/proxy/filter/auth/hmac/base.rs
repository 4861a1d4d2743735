//! The signature base (RFC 9421 section 2.5): a line for each component, the parameters last.

use std::borrow::Cow;

use super::super::{Presented, Reason};
use super::input::Input;

/// Of one request's base; a head is bounded, and covered fields are parts of it.
const BASE_BYTES_MAX: usize = 64 << 10;

pub(super) fn of(input: &Input<'_>, presented: &Presented<'_>) -> Result<String, Reason> {
    let mut base = String::with_capacity(512);
    for name in &input.components {
        let value = component(name, presented)?;
        if base.len() + value.len() > BASE_BYTES_MAX {
            return Err(Reason::Malformed);
        }
        for part in ["\"", name, "\": ", &value, "\n"] {
            base.push_str(part);
        }
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(input.params);
    Ok(base)
}

/// A component that the request has not got cannot have been signed.
fn component<'a>(name: &str, presented: &'a Presented<'_>) -> Result<Cow<'a, str>, Reason> {
    let uri = &*presented.uri;
    let target = || uri.path_and_query().map_or("/", |target| target.as_str());
    Ok(match name {
        "@method" => Cow::Borrowed(presented.method.as_str()),
        "@scheme" => Cow::Borrowed(presented.over.scheme.name()),
        "@authority" => Cow::Owned(authority(presented)),
        "@target-uri" => {
            Cow::Owned(format!("{}://{}{}", presented.over.scheme.name(), authority(presented), target()))
        }
        "@request-target" => Cow::Borrowed(target()),
        "@path" => Cow::Borrowed(uri.path()),
        "@query" => Cow::Owned(format!("?{}", uri.query().unwrap_or_default())),
        name if name.starts_with('@') => return Err(Reason::Component),
        name => Cow::Owned(field(name, presented).ok_or(Reason::Component)?),
    })
}

/// In lower case, without the scheme's own port (RFC 9421 section 2.2.3).
fn authority(presented: &Presented<'_>) -> String {
    let authority = presented.authority().to_ascii_lowercase();
    let own = match presented.over.scheme {
        crate::proxy::connection::Scheme::Http => ":80",
        crate::proxy::connection::Scheme::Https => ":443",
    };
    authority.strip_suffix(own).map(str::to_owned).unwrap_or(authority)
}

/// All lines of a field, trimmed, joined by a comma (RFC 9421 section 2.1).
fn field(name: &str, presented: &Presented<'_>) -> Option<String> {
    let mut lines = presented.headers.get_all(name).iter();
    let mut value = lines.next()?.to_str().ok()?.trim().to_owned();
    for line in lines {
        value.push_str(", ");
        value.push_str(line.to_str().ok()?.trim());
    }
    Some(value)
}
