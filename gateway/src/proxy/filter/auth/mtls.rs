//! Mutual TLS: a certificate that the listener verified in the handshake, known by its fingerprint, by an
//! alternative name or by its subject. Who is known is looked up at each request, so that a row that is
//! taken away ends what an open connection may do.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::header::HeaderValue;

use super::challenge::Challenge;
use super::{Identity, Presented, Reason, Scheme, Site, Verdict};
use crate::model::{AuthScheme, CertificateMatch, Holder};
use crate::proxy::tls::ClientCertificate;

const NAME: &str = "mtls";

struct Mtls {
    by_sha256: HashMap<[u8; 32], Known>,
    by_name: HashMap<Box<str>, Known>,
    by_subject: HashMap<Box<str>, Known>,
    /// Whether every certificate that was verified passes, by its subject's name.
    any: bool,
    challenge: Challenge,
}

struct Known {
    disabled: bool,
    identity: Arc<Identity>,
}

pub(super) fn row(settings: &AuthScheme, site: &Site<'_>) -> Option<Box<dyn Scheme>> {
    let settings = settings.as_mtls()?;
    let challenge = Challenge::silent("Certificate", site.realm, "");
    let mut mtls = Mtls {
        by_sha256: HashMap::new(),
        by_name: HashMap::new(),
        by_subject: HashMap::new(),
        any: settings.any,
        challenge,
    };
    for row in settings.rows.iter() {
        let known = Known::of(&row.holder);
        match &row.by {
            CertificateMatch::Sha256(digest) => mtls.by_sha256.insert(*digest, known),
            CertificateMatch::Name(name) => mtls.by_name.insert((&**name).into(), known),
            CertificateMatch::Subject(subject) => mtls.by_subject.insert((&**subject).into(), known),
        };
    }
    Some(Box::new(mtls))
}

impl Known {
    fn of(holder: &Holder) -> Self {
        Self { disabled: holder.disabled, identity: Arc::new(Identity::of(NAME, holder)) }
    }
}

impl Scheme for Mtls {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate(&self, presented: &mut Presented<'_>) -> Verdict {
        let Some(certificate) = &presented.over.certificate else { return Verdict::Absent };
        match self.judge(certificate, presented.unix_s) {
            Ok(identity) => Verdict::Pass(identity),
            Err(reason) => Verdict::Refused(reason),
        }
    }

    fn challenge(&self, why: Option<Reason>) -> Option<HeaderValue> {
        Some(self.challenge.of(why))
    }
}

impl Mtls {
    fn judge(&self, certificate: &ClientCertificate, unix_s: u64) -> Result<Arc<Identity>, Reason> {
        // The connection may be older than the certificate's end.
        if certificate.not_after_s < i64::try_from(unix_s).unwrap_or(i64::MAX) {
            return Err(Reason::Expired);
        }
        let known = self.find(certificate);
        match known {
            Some(known) if known.disabled => Err(Reason::Disabled),
            Some(known) if known.identity.is_expired(unix_s) => Err(Reason::Expired),
            Some(known) => Ok(Arc::clone(&known.identity)),
            None if self.any => Ok(unlisted(certificate)),
            None => Err(Reason::Unknown),
        }
    }

    /// The narrowest match goes first.
    fn find(&self, certificate: &ClientCertificate) -> Option<&Known> {
        let by_name = || certificate.names.iter().find_map(|name| self.by_name.get(name));
        self.by_sha256
            .get(&certificate.sha256)
            .or_else(by_name)
            .or_else(|| self.by_subject.get(&certificate.subject))
    }
}

/// The only identity that is made for a request: nobody keeps it.
fn unlisted(certificate: &ClientCertificate) -> Arc<Identity> {
    Arc::new(Identity { name: (&*certificate.subject).into(), scheme: NAME, ..Identity::default() })
}
