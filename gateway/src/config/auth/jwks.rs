//! `jwks` of an API's `auth.jwt`: where key sets are, and how long one is used.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use toml::{Spanned, Value};

use super::jwt::{Raw, texts};
use crate::config::compile::Compiler;
use crate::config::{raw, upstream_tls};
use crate::model::{KeySetSource, UpstreamTls};
use crate::proxy::{KEY_SETS_MAX, check_upstream_tls};

/// URLs of one API.
const URLS_MAX: usize = 16;
const CACHE: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);
const STALE_MAX: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn sources(
    compiler: &mut Compiler<'_>,
    raw: &Raw,
    urls: &Spanned<Value>,
) -> Option<Vec<KeySetSource>> {
    let found = texts(urls).filter(|found| (1..=URLS_MAX).contains(&found.len()));
    let Some(found) = found else {
        let message = format!("`jwks` is the URL of a key set, or a list of at most {URLS_MAX}");
        compiler.findings.at(urls.span(), message);
        return None;
    };
    let cache = time(compiler, &raw.cache, KeySetSource::CACHE);
    if let Some(raw) = raw.cache.as_ref().filter(|_| !CACHE.contains(&cache)) {
        compiler.findings.at(raw.span(), "`cache` is 10s to 1d");
    }
    let stale = time(compiler, &raw.stale, KeySetSource::STALE);
    if let Some(raw) = raw.stale.as_ref().filter(|_| stale > STALE_MAX) {
        compiler.findings.at(raw.span(), "`stale` is at most 30d");
    }
    let pin = raw.pin.as_ref().and_then(|raw| folder(compiler, raw));
    let is_tls = found.iter().any(|(url, _)| url.starts_with("https://"));
    let tls = tls(compiler, raw, is_tls, urls.span());
    if is_tls && tls.is_none() {
        return None;
    }
    let mut sources = Vec::new();
    for (url, place) in found {
        let tls = tls.as_ref().filter(|_| url.starts_with("https://")).cloned();
        let source = KeySetSource { url: url.into(), cache, stale, pin: pin.clone(), tls };
        if is_url(compiler, &source, place.clone()) {
            note(compiler, &source, place);
            sources.push(source);
        }
    }
    Some(sources)
}

/// Of an API without `jwks`.
pub(super) fn refuse_all(compiler: &mut Compiler<'_>, raw: &Raw) {
    for one in [&raw.cache, &raw.stale, &raw.pin, &raw.ca].into_iter().flatten() {
        compiler.findings.at(one.span(), "this is about key sets: it needs `jwks`");
    }
}

fn time(compiler: &mut Compiler<'_>, raw: &raw::Text, default: Duration) -> Duration {
    raw.as_ref().and_then(|raw| compiler.time(raw)).unwrap_or(default)
}

/// It must be there: the serving process may write into it, and not make it.
fn folder(compiler: &mut Compiler<'_>, raw: &Spanned<String>) -> Option<PathBuf> {
    let folder = compiler.folder.join(raw.get_ref());
    if !folder.is_dir() {
        let message = format!("{} is no folder: make one that weir may write to", folder.display());
        compiler.findings.at(raw.span(), message);
    }
    Some(folder)
}

fn tls(
    compiler: &mut Compiler<'_>,
    raw: &Raw,
    is_tls: bool,
    urls_at: Range<usize>,
) -> Option<Arc<UpstreamTls>> {
    let Some(ca) = &raw.ca else {
        return upstream_tls::upstream_tls(compiler, None, is_tls, urls_at);
    };
    if !is_tls {
        compiler.findings.at(ca.span(), "`ca` is for https, and no URL of `jwks` is");
        return None;
    }
    let named = raw::UpstreamTls { ca: Some(ca.clone()), ..raw::UpstreamTls::default() };
    upstream_tls::upstream_tls(compiler, Some(&Spanned::new(ca.span(), named)), true, urls_at)
}

fn is_url(compiler: &mut Compiler<'_>, source: &KeySetSource, place: Range<usize>) -> bool {
    let url: Option<Uri> =
        Some(&source.url).filter(|url| !url.contains('#')).and_then(|url| url.parse().ok());
    let parts = url.as_ref().and_then(|url| Some((url.scheme_str()?, url.authority()?)));
    let authority = match parts {
        Some(("http" | "https", authority)) if !authority.as_str().contains('@') => authority,
        _ => {
            let message =
                "a key set is at \"https://HOST/PATH\" or \"http://HOST/PATH\", without user and fragment";
            compiler.findings.at(place, message);
            return false;
        }
    };
    let checked = source.tls.as_deref().map(|tls| check_upstream_tls(tls, authority.as_str()));
    if let Some(Err(error)) = checked {
        compiler.findings.at(place, format!("no TLS to this key set: {error}"));
        return false;
    }
    true
}

/// A URL has one set, whoever uses it.
fn note(compiler: &mut Compiler<'_>, source: &KeySetSource, place: Range<usize>) {
    let known = compiler.key_sets.iter().find(|known| known.url == source.url);
    if known.is_some_and(|known| known != source) {
        let message = "another API has this key set with another `cache`, `stale`, `pin` or `ca`";
        compiler.findings.at(place, message);
    } else if known.is_none() {
        compiler.key_sets.push(source.clone());
        if compiler.key_sets.len() == KEY_SETS_MAX + 1 {
            compiler.findings.at(place, format!("more than {KEY_SETS_MAX} key sets"));
        }
    }
}
