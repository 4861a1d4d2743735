//! `key = { file, header, query, cookie, bearer, keep }`.

use serde::Deserialize;
use toml::Spanned;

use crate::config::compile::Compiler;
use crate::config::keys;
use crate::config::raw::{Flag, Text};
use crate::model::{KeyAuth, KeyPlace};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub file: Spanned<String>,
    pub header: Text,
    pub query: Text,
    pub cookie: Text,
    pub bearer: Flag,
    pub keep: Flag,
}

const X_API_KEY: &str = "x-api-key";

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: &Raw) -> Option<KeyAuth> {
    let places = places(compiler, raw);
    let keeps = raw.keep.as_ref().is_some_and(|keep| *keep.get_ref());
    let file = compiler.folder.join(raw.file.get_ref());
    compiler.also.push(file.clone());
    match keys::load(&file, &compiler.known()) {
        Ok(rows) => Some(KeyAuth { rows, places, keeps }),
        Err(errors) => {
            compiler.findings.extend(errors);
            None
        }
    }
}

/// Where nothing is said: X-Api-Key and Authorization.
fn places(compiler: &mut Compiler<'_>, raw: &Raw) -> Vec<KeyPlace> {
    let mut places = Vec::new();
    if let Some(header) = &raw.header {
        let name = header.get_ref().to_ascii_lowercase();
        if !is_token(&name) {
            compiler.findings.at(header.span(), "`header` is a field's name");
        }
        places.push(match name.as_str() {
            "authorization" => KeyPlace::Authorization,
            "cookie" => {
                compiler.findings.at(header.span(), "for a cookie write `cookie = \"NAME\"`");
                return places;
            }
            name => KeyPlace::Header(name.into()),
        });
    }
    for (raw, place) in [
        (&raw.query, KeyPlace::Query as fn(std::sync::Arc<str>) -> KeyPlace),
        (&raw.cookie, KeyPlace::Cookie),
    ] {
        let Some(name) = raw else { continue };
        if !is_token(name.get_ref()) {
            compiler.findings.at(name.span(), "a name is letters, digits and !#$&'*+-.^_`|~");
        }
        places.push(place(name.get_ref().as_str().into()));
    }
    if raw.bearer.as_ref().is_some_and(|bearer| *bearer.get_ref()) {
        places.push(KeyPlace::Bearer);
    }
    if places.is_empty() {
        places = vec![KeyPlace::Header(X_API_KEY.into()), KeyPlace::Authorization];
    }
    places
}

/// RFC 9110 section 5.6.2, without the percent sign that a query would read as a code.
fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_letter)
}
