//! The copy of a set on disk, for a start while its issuer is down. The file is the document as it came;
//! its time of modification is when. Replaced whole, so that nobody ever finds half of one.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use super::fetch::DOCUMENT_BYTES_MAX;

/// A document, and the second of Unix time of its fetch.
pub struct Pinned {
    pub document: Vec<u8>,
    pub fetched_s: u64,
}

/// The file of a URL: its host for who looks, and a digest, since two URLs may have one host.
fn file(folder: &Path, url: &str) -> PathBuf {
    let host = url.split("://").nth(1).unwrap_or_default().split(['/', ':', '?']).next().unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
    let digest = Sha256::digest(url);
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{host}-{digest}.json"))
}

/// None where there is none that can be read.
pub fn read(folder: &Path, url: &str) -> Option<Pinned> {
    let file = File::open(file(folder, url)).ok()?;
    let modified = file.metadata().ok()?.modified().ok()?;
    let fetched_s = modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut document = Vec::new();
    let most = DOCUMENT_BYTES_MAX as u64 + 1;
    file.take(most).read_to_end(&mut document).ok()?;
    (document.len() <= DOCUMENT_BYTES_MAX).then_some(Pinned { document, fetched_s })
}

/// Right after its fetch: the file's time is the fetch's.
pub fn write(folder: &Path, url: &str, document: &[u8]) -> io::Result<()> {
    let path = file(folder, url);
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(document)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(fresh, path)
}
