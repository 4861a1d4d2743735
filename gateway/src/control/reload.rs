//! Reads the configuration again: on HUP, on `weir reload`, when a file changes. A wrong file changes
//! nothing but the gauge that says so.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::message::{LastReload, News, ReloadReport};
use super::{Parts, apply, bans, guard};
use crate::config::{self, Config};
use crate::kernel::Guard;
use crate::plane::Additions;
use crate::proxy::Listener;

/// Editors and ConfigMaps change several files at once: what comes within this is one change.
const SETTLE: Duration = Duration::from_millis(200);

/// Writes the kernel's rules and lists; does nothing where there is no kernel plane.
pub type PublishRules = Box<dyn Fn(&Config, &Guard, &Additions) -> Result<(), String> + Send + Sync>;

/// Publishes the data side.
pub type PublishData = Box<dyn Fn(&Config, &Additions) + Send + Sync>;

/// Has the kernel drop for so long at most; None: for as long as it likes.
pub type PublishLease = Box<dyn Fn(Option<Duration>) -> Result<(), String> + Send + Sync>;

/// Asks for the capacities that the file says; false where nobody can change them while this runs.
pub type AskCapacities = Box<dyn Fn() -> Result<bool, String> + Send + Sync>;

/// What a checked configuration goes through to hold.
pub struct Publish {
    pub rules: PublishRules,
    pub data: PublishData,
    pub lease: PublishLease,
    pub capacities: AskCapacities,
}

/// Knows the file and how it went the last time.
pub struct Reloader {
    file: PathBuf,
    default_socket: PathBuf,
    /// What the command line sets over the file.
    overlay: Box<dyn Fn(&mut Config) + Send + Sync>,
    publish: Publish,
    last: Mutex<LastReload>,
}

impl Reloader {
    pub fn new(
        file: &Path,
        default_socket: &Path,
        overlay: Box<dyn Fn(&mut Config) + Send + Sync>,
        publish: Publish,
    ) -> Self {
        let last = LastReload { ok: true, ..LastReload::default() };
        Self {
            file: file.to_owned(),
            default_socket: default_socket.to_owned(),
            overlay,
            publish,
            last: Mutex::new(last),
        }
    }

    pub fn last(&self) -> LastReload {
        self.locked().clone()
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn lease(&self, length: Option<Duration>) -> Result<(), String> {
        (self.publish.lease)(length)
    }

    /// Has the kernel apply `config` under another guard.
    pub(super) fn publish_rules(
        &self,
        config: &Config,
        guard: &Guard,
        additions: &Additions,
    ) -> Result<(), String> {
        (self.publish.rules)(config, guard, additions)
    }

    /// Changes what operators added to the lists, in both planes; on any mistake all stays as it was.
    pub(super) fn change_lists(
        &self,
        parts: &Parts,
        edit: impl FnOnce(&mut Additions) -> Result<(), String>,
    ) -> Result<Arc<Additions>, String> {
        let _alone = self.locked();
        let before = parts.added.present();
        let mut wanted = Additions::clone(&before);
        edit(&mut wanted)?;
        let (config, guard) = (parts.config.load_full(), parts.guarding.present());
        (self.publish.rules)(&config, &guard, &wanted)?;
        if let Err(error) = parts.added.keep(wanted) {
            (self.publish.rules)(&config, &guard, &before)?;
            return Err(error.to_string());
        }
        let wanted = parts.added.present();
        (self.publish.data)(&config, &wanted);
        Ok(wanted)
    }

    /// Reads, checks and publishes; on any mistake the old configuration stays.
    pub fn reload(&self, parts: &Parts) -> Result<ReloadReport, String> {
        // One at a time; the lock also keeps the report in the order of the reloads.
        let mut last = self.locked();
        // A wrong configuration is no reason to write on into a file that was moved away.
        if let Some(log) = &parts.shared.access_log {
            log.reopen();
        }
        let reloaded = self.try_reload(parts);
        match &reloaded {
            Ok(report) => {
                let succeeded = last.succeeded + 1;
                *last = LastReload {
                    ok: true,
                    error: None,
                    waits_for_restart: report.waits_for_restart.clone(),
                    succeeded,
                    failed: last.failed,
                };
                tracing::info!(waits_for_restart = ?report.waits_for_restart, "configuration reloaded");
            }
            Err(error) => {
                last.ok = false;
                last.error = Some(error.clone());
                last.failed += 1;
                tracing::error!("the configuration is wrong, the old one holds:\n{error}");
            }
        }
        bans::tell(parts, News::Reloaded { ok: reloaded.is_ok() });
        reloaded
    }

    fn try_reload(&self, parts: &Parts) -> Result<ReloadReport, String> {
        let text = config::read(&self.file).map_err(|errors| errors.to_string())?;
        let (fresh, guard) = self.check(parts, &text, &self.file)?;
        let mut report = self.publish(parts, fresh, guard)?;
        apply::settle(parts);
        let is_capacity = |name: &String| [CLIENTS, BANS, AGGREGATES].contains(&name.as_str());
        if report.waits_for_restart.iter().any(is_capacity) && self.ask_capacities() {
            (report.under_way, report.waits_for_restart) =
                report.waits_for_restart.into_iter().partition(is_capacity);
        }
        Ok(report)
    }

    /// Checks a text as this instance's configuration; its mistakes are told of `name`.
    pub(super) fn check(&self, parts: &Parts, text: &str, name: &Path) -> Result<(Config, Guard), String> {
        let said = |errors: config::Errors| errors.of(&self.file, name).to_string();
        let mut fresh = config::parse(text, &self.file, &self.default_socket).map_err(said)?;
        (self.overlay)(&mut fresh);
        let guard = parts.guarding.find(&fresh).map_err(said)?;
        config::refuse_cut_off(text, &fresh, &guard).map_err(said)?;
        Ok((fresh, guard))
    }

    /// Puts a configuration in force that held before.
    pub(super) fn restore(&self, parts: &Parts, before: &Arc<Config>) -> Result<(), String> {
        let guard = parts.guarding.find(before).unwrap_or_else(|_| Guard::clone(&parts.guarding.present()));
        let additions = parts.added.present();
        (self.publish.rules)(before, &guard, &additions)?;
        (self.publish.data)(before, &additions);
        guard::adopt(parts, guard);
        parts.config.store(Arc::clone(before));
        Ok(())
    }

    /// Puts a checked configuration in force.
    pub(super) fn publish(&self, parts: &Parts, fresh: Config, guard: Guard) -> Result<ReloadReport, String> {
        let present = parts.config.load_full();
        let waits_for_restart = waiting(&present, &fresh);
        let additions = parts.added.present();
        let (n_prefixes, most) = (fresh.kernel.n_prefixes() + additions.len(), fresh.kernel.prefixes);
        if n_prefixes > most as usize {
            return Err(format!(
                "with what operators added the lists hold {n_prefixes} prefixes, and [kernel] prefixes is {most}: raise it"
            ));
        }
        let changed = *present != fresh;
        let mut fresh = fresh;
        fresh.proxy.listeners = Listener::taking_over(&present.proxy.listeners, &fresh.proxy.listeners);
        (self.publish.rules)(&fresh, &guard, &additions)?;
        parts.shared.learn(parts.guarding.names().addresses_by_name());
        (self.publish.data)(&fresh, &additions);
        guard::adopt(parts, guard);
        // What waits for a restart keeps its running value, so that the next reload still tells of it; so does
        // a capacity until the map has it.
        let running = Config {
            workers: present.workers,
            sandbox: present.sandbox,
            access_log: present.access_log.clone(),
            admin: present.admin.clone(),
            store: present.store.clone(),
            fleet: present.fleet.clone(),
            kernel: crate::kernel::Config {
                interfaces: present.kernel.interfaces.clone(),
                mode: present.kernel.mode,
                clients: present.kernel.clients,
                bans: present.kernel.bans,
                aggregates: present.kernel.aggregates,
                syn_cookies: present.kernel.syn_cookies,
                pin_dir: present.kernel.pin_dir.clone(),
                watchdog: present.kernel.watchdog,
                ..fresh.kernel.clone()
            },
            ..fresh
        };
        parts.config.store(Arc::new(running));
        Ok(ReloadReport { changed, waits_for_restart, under_way: Vec::new() })
    }

    /// Whether they are changed while this runs.
    fn ask_capacities(&self) -> bool {
        (self.publish.capacities)().unwrap_or_else(|error| {
            tracing::warn!("capacities wait for a restart: {error}");
            false
        })
    }

    /// Held by whoever changes what is in force.
    pub(super) fn locked(&self) -> MutexGuard<'_, LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Capacities wait only where no keeper can change them.
const CLIENTS: &str = "[kernel] clients";
const BANS: &str = "[kernel] bans";
const AGGREGATES: &str = "[kernel] aggregates";

/// Settings that differ and hold from the next start on.
fn waiting(present: &Config, fresh: &Config) -> Vec<String> {
    let (old, new) = (&present.kernel, &fresh.kernel);
    [
        ("workers", present.workers != fresh.workers),
        ("sandbox", present.sandbox != fresh.sandbox),
        ("access_log", present.access_log != fresh.access_log),
        ("[[listener]] address", addresses(present) != addresses(fresh)),
        ("[admin]", present.admin != fresh.admin),
        ("[store]", present.store != fresh.store),
        ("[fleet]", present.fleet != fresh.fleet),
        ("[kernel] interfaces", old.interfaces != new.interfaces),
        ("[kernel] mode", old.mode != new.mode),
        (CLIENTS, old.clients != new.clients),
        (BANS, old.bans != new.bans),
        (AGGREGATES, old.aggregates != new.aggregates),
        ("[kernel] syn_cookies", old.syn_cookies != new.syn_cookies),
        ("[kernel] pin_dir", old.pin_dir != new.pin_dir),
        ("[kernel] watchdog", old.watchdog != new.watchdog),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(name, _)| name.to_owned())
    .collect()
}

fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.proxy.listeners.iter().map(|listener| listener.address).collect()
}

/// Reloads when the file, or one that it names, changes. Folders are watched, not files: a rename over
/// the file and a ConfigMap's swapped link are seen too.
pub async fn watch_files(parts: Arc<Parts>) {
    let (sender, mut changes) = mpsc::channel(1);
    let noticed = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_change(&event.kind)) {
            // Full: a change is pending already.
            sender.try_send(()).unwrap_or(());
        }
    };
    let mut watcher = match notify::recommended_watcher(noticed) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "files are not watched; HUP and `weir reload` work");
            return;
        }
    };
    let mut watched: Vec<PathBuf> = Vec::new();
    let mut seen = contents(&followed(&parts));
    loop {
        for folder in folders(&followed(&parts)) {
            if !watched.contains(&folder) {
                if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    tracing::warn!(folder = %folder.display(), %error, "not watched");
                }
                watched.push(folder);
            }
        }
        if changes.recv().await.is_none() {
            return;
        }
        sleep(SETTLE).await;
        while changes.try_recv().is_ok() {}
        let present = contents(&followed(&parts));
        if present != seen {
            seen = present;
            // Whatever it answers is logged and kept for `weir status`.
            match parts.reloader.reload(&parts) {
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// The configuration whose files matter: while another is on trial, the one that the file says.
fn followed(parts: &Parts) -> Arc<Config> {
    parts.trial.before().unwrap_or_else(|| parts.config.load_full())
}

/// Reading is an event too, and ours.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

fn files(config: &Config) -> impl Iterator<Item = &PathBuf> {
    std::iter::once(&config.file).chain(&config.also)
}

fn folders(config: &Config) -> Vec<PathBuf> {
    let parent = |file: &PathBuf| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    files(config).map(parent).collect()
}

/// Hashes of what the files hold: lists are long.
fn contents(config: &Config) -> Vec<Option<u64>> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    files(config).map(|file| std::fs::read(file).ok().map(|bytes| hasher.hash_one(bytes))).collect()
}
