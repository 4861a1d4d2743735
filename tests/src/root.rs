//! What a test needs of the machine, said once.

/// Whether this process may make namespaces and load programs. If not, the reason is printed and
/// the caller skips; under CI nothing may skip.
///
/// # Panics
/// Without root where `CI=true`.
#[must_use]
pub fn require_root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this test needs root, and CI=true forbids a skip");
    eprintln!("skipped: needs root, for namespaces and XDP");
    false
}
