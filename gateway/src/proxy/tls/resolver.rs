//! Chooses a certificate by the name that the client asks for (SNI): the exact name, then a wildcard of
//! one label (RFC 9525 section 6.3), then the default.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Built once, never changed.
#[derive(Debug)]
pub(super) struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl ByName {
    /// `names` and `keys` are of the same certificates, in order.
    pub fn new(names: &[&[String]], keys: Vec<Arc<CertifiedKey>>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (idx, names) in names.iter().enumerate() {
            for name in names.iter() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                let places: &mut Vec<usize> = map.entry(name.to_owned()).or_default();
                places.push(idx);
            }
        }
        Self { keys, exact, wildcard }
    }

    fn candidates(&self, name: Option<&str>) -> &[usize] {
        const DEFAULT: &[usize] = &[0];
        let Some(name) = name else { return DEFAULT };
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let by_parent =
            || name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
        let found = self.exact.get(name).or_else(|| self.wildcard.get(by_parent()?));
        found.map_or(DEFAULT, Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    /// Among certificates of one name (RSA beside ECDSA) the first whose key the client can verify.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let keys = || candidates.iter().filter_map(|idx| self.keys.get(*idx));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys().find(fits).or_else(|| keys().next()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_then_a_wildcard_of_one_label_then_the_first() {
        let names = [
            vec!["default.example".to_owned()],
            vec!["*.shop.example".to_owned(), "shop.example".to_owned()],
            vec!["api.shop.example".to_owned()],
            vec!["api.shop.example".to_owned()],
        ];
        let names: Vec<&[String]> = names.iter().map(Vec::as_slice).collect();
        let resolver = ByName::new(&names, Vec::new());
        for (asked, expected) in [
            (None, &[0][..]),
            (Some("default.example"), &[0]),
            (Some("stranger.example"), &[0]),
            (Some("shop.example"), &[1]),
            (Some("www.shop.example"), &[1]),
            (Some("WWW.Shop.example."), &[1]),
            (Some("a.www.shop.example"), &[0]),
            (Some(".shop.example"), &[0]),
            (Some("api.shop.example"), &[2, 3]),
        ] {
            assert_eq!(resolver.candidates(asked), expected, "{asked:?}");
        }
    }
}
