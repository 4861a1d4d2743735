//! The URI that an upstream is asked for, made of the client's.

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

use crate::model::Api;
use crate::proxy::dispatch::normalise;

/// The path as it came, without the listen path where that is stripped, behind `prefix`.
/// A path that is not in normal form cannot be cut at the listen path, and goes on normalised.
pub(in crate::proxy) fn upstream_uri(api: &Api, prefix: &str, uri: &Uri) -> Uri {
    let as_it_came = || uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    if !api.strip_listen_path && prefix.is_empty() {
        return Uri::from(as_it_came());
    }
    let listen_path = api.listen_path.trim_end_matches('/');
    let normal = normalise(uri.path());
    let rest = match (api.strip_listen_path, uri.path().strip_prefix(listen_path)) {
        (false, _) => uri.path(),
        (true, Some(rest)) => rest,
        (true, None) => normal.strip_prefix(listen_path).unwrap_or(&normal),
    };
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = PathAndQuery::try_from(format!("{prefix}{slash}{rest}{query}"));
    Uri::from(path.unwrap_or_else(|_| as_it_came()))
}
