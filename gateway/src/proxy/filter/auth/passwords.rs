//! Passwords against their hashes: a bounded queue, a fixed number of threads of low priority, and a
//! bounded memory of what was right. What is remembered is a digest under a key of this process; a
//! password that changed is another digest, and a wrong one is never remembered.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

/// Checks that wait for a thread; beyond it nobody is checked.
pub const QUEUE: usize = 256;
/// Threads that check.
pub const THREADS: usize = 2;
/// Passwords that are remembered.
pub const REMEMBERED: usize = 8_192;
/// For so long.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// One for the process.
pub struct Passwords {
    key: [u8; 32],
    jobs: SyncSender<Job>,
    waiting: Mutex<Option<Receiver<Job>>>,
    remembered: Mutex<Remembered>,
}

/// Two generations: what is met again in the old one is young again; a full young one becomes the old.
#[derive(Default)]
struct Remembered {
    young: HashMap<[u8; 32], u64>,
    old: HashMap<[u8; 32], u64>,
}

/// A password that came, and the hash that it must have.
pub(super) struct Asked<'a> {
    pub phc: &'a Arc<str>,
    pub password: &'a [u8],
}

struct Job {
    phc: Arc<str>,
    password: Box<[u8]>,
    digest: [u8; 32],
    answer: oneshot::Sender<bool>,
}

impl Default for Passwords {
    fn default() -> Self {
        let (jobs, waiting) = sync_channel(QUEUE);
        let mut key = [0; 32];
        // Without randomness nothing is remembered by anybody else's key either: the process has none yet.
        aws_lc_rs::rand::fill(&mut key).expect("the kernel's random numbers are there from boot on");
        Self { key, jobs, waiting: Mutex::new(Some(waiting)), remembered: Mutex::default() }
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    /// Starts the threads that check; they end with the process. `now_ns` is the clock of requests.
    pub fn start(self: &Arc<Self>, now_ns: fn() -> u64) -> std::io::Result<()> {
        let Some(waiting) = locked(&self.waiting).take() else { return Ok(()) };
        let waiting = Arc::new(Mutex::new(waiting));
        for idx in 0..THREADS {
            let (passwords, waiting) = (Arc::clone(self), Arc::clone(&waiting));
            let thread = std::thread::Builder::new().name(format!("password-{idx}"));
            thread.spawn(move || {
                crate::plane::lower_priority();
                passwords.work(&waiting, now_ns);
            })?;
        }
        Ok(())
    }

    /// Passwords that are remembered now.
    pub fn remembered(&self) -> usize {
        let remembered = locked(&self.remembered);
        remembered.young.len() + remembered.old.len()
    }

    /// Whether this password was right for this hash a short while ago.
    pub(super) fn remembers(&self, asked: &Asked<'_>, now_ns: u64) -> bool {
        locked(&self.remembered).find(&self.digest(asked.phc, asked.password), now_ns)
    }

    /// Has a thread check it; None where the queue is full.
    pub(super) fn check(&self, asked: &Asked<'_>) -> Option<oneshot::Receiver<bool>> {
        let (answer, checked) = oneshot::channel();
        let digest = self.digest(asked.phc, asked.password);
        let job = Job { phc: Arc::clone(asked.phc), password: asked.password.into(), digest, answer };
        self.jobs.try_send(job).is_ok().then_some(checked)
    }

    fn digest(&self, phc: &str, password: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update((phc.len() as u64).to_be_bytes());
        digest.update(phc);
        digest.update(password);
        digest.finalize().into()
    }

    fn work(&self, waiting: &Mutex<Receiver<Job>>, now_ns: fn() -> u64) {
        loop {
            let next = locked(waiting).recv();
            let Ok(Job { phc, password, digest, answer }) = next else { return };
            // Who asked may be gone, or another request with the same password may have been first.
            if answer.is_closed() {
                continue;
            }
            let is_right = locked(&self.remembered).find(&digest, now_ns()) || is_right(&phc, &password);
            if is_right {
                locked(&self.remembered).insert(digest, now_ns());
            }
            // Gone meanwhile: nobody is told.
            answer.send(is_right).unwrap_or(());
        }
    }
}

impl Remembered {
    fn find(&mut self, digest: &[u8; 32], now_ns: u64) -> bool {
        if let Some(until_ns) = self.young.get(digest) {
            return *until_ns > now_ns;
        }
        let Some(until_ns) = self.old.remove(digest).filter(|until_ns| *until_ns > now_ns) else {
            return false;
        };
        self.put(*digest, until_ns);
        true
    }

    fn insert(&mut self, digest: [u8; 32], now_ns: u64) {
        let for_ns = u64::try_from(REMEMBERED_FOR.as_nanos()).unwrap_or(u64::MAX);
        self.put(digest, now_ns.saturating_add(for_ns));
    }

    fn put(&mut self, digest: [u8; 32], until_ns: u64) {
        if self.young.len() >= REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, until_ns);
    }
}

fn is_right(phc: &str, password: &[u8]) -> bool {
    let Ok(hash) = PasswordHash::new(phc) else { return false };
    Argon2::default().verify_password(password, &hash).is_ok()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
