//! The serving process: workers on threads of their own, control on this one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, watch};

use super::banner::banner;
use super::signals::Signals;
use super::{Failure, Loaded, RunArgs, bound, overlay, workers};
use crate::config::{Config, ceiling};
use crate::control::{self, Collected, Guarding, Parts, Publish, Reloader, Trial};
use crate::fleet::{self, Driver, Fleet, News};
use crate::kernel::{Facts, Guard, Handover, Heard, Names, Reach, confine, drop_capabilities, wanted};
use crate::limit::{Offender, Shedder};
use crate::model::PrefixSet;
use crate::plane::{
    Added, Additions, Bans, Charge, Events, Lease, Maps, PinDir, Plane, capacity_of_aggregates, fresh_seed,
    now_ns, unix_s,
};
use crate::proxy::{self, KeptByAuth, Shared, SharedParts, Snapshot, Upstreams};
use crate::store::redis::Link;
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::metrics::Metrics;
use weir_ebpf::abi::{AGGREGATES_MIN, flags};

/// Sheds that wait to be written; beyond it a client is shed by its next refusals.
const OFFENDERS: usize = 1_024;
/// Decisions of other nodes that wait to be done.
const FLEET_NEWS: usize = 4_096;
/// Lines that a watcher may lag behind.
const NEWS: usize = 1_024;
/// For what waits to be logged, at the end.
const LOG_END: Duration = Duration::from_secs(2);
/// For the store, at the start.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// What the serving process is given.
pub(super) struct Serving {
    args: RunArgs,
    loaded: Loaded,
    listeners: Vec<Vec<TcpListener>>,
    facts: Facts,
    keeper: Option<Handover>,
    pins: Option<OpenPins>,
}

/// The kernel plane's handles, opened before capabilities were dropped.
struct OpenPins {
    maps: Arc<Maps>,
    charge: Arc<Charge>,
    bans: Arc<Bans>,
    added: Arc<Added>,
    events: Events,
}

impl Serving {
    /// Without a kernel plane.
    pub fn alone(args: &RunArgs, loaded: Loaded, listeners: Vec<Vec<TcpListener>>, facts: Facts) -> Self {
        Self { args: args.clone(), loaded, listeners, facts, keeper: None, pins: None }
    }

    pub fn under_keeper(
        args: &RunArgs,
        loaded: Loaded,
        listeners: Vec<Vec<TcpListener>>,
        facts: Facts,
        keeper: Handover,
    ) -> Self {
        Self { args: args.clone(), loaded, listeners, facts, keeper: Some(keeper), pins: None }
    }

    pub fn open_pins(&mut self, pins: &PinDir) -> anyhow::Result<()> {
        let maps = Arc::new(Maps::open(pins)?);
        let charge = Arc::new(Charge::open(pins)?);
        let bans = Arc::new(Bans::in_kernel(pins, Arc::clone(&maps), Arc::clone(&charge), now_ns())?);
        let added = Arc::new(Added::in_kernel(pins)?);
        self.pins = Some(OpenPins { maps, charge, bans, added, events: Events::open(pins)? });
        Ok(())
    }
}

/// Serves until TERM, INT, or the keeper's end; then drains.
pub(super) fn serve(serving: Serving) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting the control runtime").map_err(Failure::system)?;
    runtime.block_on(serve_until_told(serving))
}

async fn serve_until_told(serving: Serving) -> Result<ExitCode, Failure> {
    let Serving { args, loaded: Loaded { config, guard, names }, listeners, facts, keeper, pins } = serving;
    // First: a signal that came before its handler would end the process without a drain.
    let signals = Signals::caught().map_err(Failure::system)?;
    let addresses = bound(&listeners);
    let (offender_sender, offenders) = mpsc::channel(OFFENDERS);
    let (maps, charge, bans, added, events) = match pins {
        Some(OpenPins { maps, charge, bans, added, events }) => {
            (Some(maps), Some(charge), bans, added, Some(events))
        }
        None => {
            let bans = Arc::new(Bans::in_process(config.kernel.bans));
            (None, None, bans, Arc::new(Added::in_process()), None)
        }
    };
    warn_of_expired(&config);
    let (metrics, opened) = (Metrics::default(), config.access_log.as_ref().map(open_log).transpose()?);
    let (access_log, writer) =
        opened.map(|(queue, out)| AccessLog::new(queue, out, metrics.access_log_dropped.clone())).unzip();
    let outlets = Outlets { metrics, access_log, offenders: offender_sender };
    let store = config.store.clone().map(Link::new).transpose();
    let store = store.map_err(|error| Failure::wrong(anyhow!("[store]: {error}")))?;
    let shared = shared(&config, &names, outlets, &facts, charge.clone(), bans, &added.present());
    let (fleet_sender, fleet_news) = mpsc::channel(FLEET_NEWS);
    let joined = store.as_ref().and_then(|link| join_fleet(&config, link, &shared, fleet_sender));
    let (driver, fleet) = joined.unzip();
    let ceiling = ceiling(&config, workers(&config), possible_cpus());
    let admin = tokio::net::TcpListener::bind(config.admin.address).await;
    let admin = admin
        .with_context(|| format!("the admin listener {}: set [admin] address", config.admin.address))
        .map_err(Failure::system)?;
    let admin_address = admin.local_addr().map_err(Failure::system)?;
    let socket = control::listen(&config.admin.socket).map_err(Failure::system)?;
    // All that needs a capability, a listener or a strange file is open: before any thread starts.
    drop_capabilities().map_err(|error| Failure::system(anyhow!("dropping capabilities: {error}")))?;
    let confinement = confine(config.sandbox, &reach(&config));
    let hello = banner(&config, &facts, &ceiling, &addresses, admin_address);
    let asking = keeper.as_ref().map(Handover::try_clone).transpose().map_err(Failure::system)?;
    let parts = Arc::new(Parts {
        reloader: reloader(&args, &shared, maps.clone(), charge, addresses, asking),
        trial: Trial::default(),
        guarding: Guarding::new(guard, args.sessions, names),
        shared: Arc::clone(&shared),
        added,
        store,
        fleet,
        maps,
        facts: ArcSwap::from_pointee(facts),
        confinement,
        ceiling_bytes: AtomicU64::new(ceiling.ceiling_bytes),
        started_ns: now_ns(),
        census: ArcSwap::from_pointee(None),
        ready: AtomicBool::new(false),
        news: broadcast::Sender::new(NEWS),
        config: ArcSwap::from_pointee(config),
    });
    control::begin(&parts).map_err(|error| Failure::system(anyhow!(error)))?;
    parts.shared.metrics.collect(Box::new(Collected::of(&parts)));
    let (drain, draining) = watch::channel(false);
    shared.auth.start(now_ns).map_err(Failure::system)?;
    let threads = start_workers(listeners, &shared, &draining).map_err(Failure::system)?;
    let anew = parts.config.load().access_log.clone();
    let writer = writer.zip(anew).map(|(writer, log)| writer.reopened_by(Box::new(move || log.open())));
    let log_ended = writer.map(start_log).transpose().map_err(Failure::system)?;
    start_tasks(&parts, offenders, events, admin, socket, &draining);
    if let Some(driver) = driver {
        tokio::spawn(driver.run());
        tokio::spawn(control::follow_fleet(Arc::clone(&parts), fleet_news));
    }
    await_store(&parts).await;
    parts.ready.store(true, Ordering::Release);
    if let Some(keeper) = &keeper {
        keeper.send_ready().map_err(Failure::system)?;
    }
    // Nobody may be reading: weir serves all the same.
    writeln!(std::io::stdout(), "weir is ready\n{hello}").unwrap_or(());
    let told = wait_for_the_end(&parts, signals, keeper).await.map_err(Failure::system)?;
    tracing::info!(reason = told, "draining");
    control::revert_at_the_end(&parts);
    drain.send_replace(true);
    join(threads).await?;
    if let (Some(log), Some(ended)) = (&parts.shared.access_log, log_ended) {
        log.close();
        // A reader that stands still loses what waits.
        ended.recv_timeout(LOG_END).unwrap_or(());
    }
    remove_socket(&parts.config.load().admin.socket);
    Ok(ExitCode::SUCCESS)
}

/// What a reload reads again, and what the end removes.
fn reach(config: &Config) -> Reach {
    let passwords = config.store.iter().flat_map(|store| store.password_files());
    let files = std::iter::once(&config.file).chain(&config.also).chain(passwords).cloned().collect();
    let pinned = config.catalog.key_sets().filter_map(|set| set.pin.clone()).collect();
    Reach { files, socket: config.admin.socket.clone(), log: log_file(config), pinned }
}

/// What is written to, where that is a file.
fn log_file(config: &Config) -> Option<PathBuf> {
    match &config.access_log.as_ref()?.to {
        access_log::To::File(path) => Some(path.clone()),
        access_log::To::Stdout | access_log::To::Stderr => None,
    }
}

/// Where workers put what others read.
struct Outlets {
    metrics: Metrics,
    access_log: Option<AccessLog>,
    offenders: mpsc::Sender<Offender>,
}

fn shared(
    config: &Config,
    names: &Names,
    outlets: Outlets,
    facts: &Facts,
    charge: Option<Arc<Charge>>,
    bans: Arc<Bans>,
    additions: &Additions,
) -> Arc<Shared> {
    let Outlets { metrics, access_log, offenders } = outlets;
    let upstreams = Arc::new(Upstreams::default());
    upstreams.learn(names.addresses_by_name());
    let auth = Arc::<KeptByAuth>::default();
    Arc::new(Shared::new(SharedParts {
        snapshot: snapshot(config, additions, &upstreams, &auth, &metrics),
        plane: Arc::new(Plane::new(charge, config.kernel.clients)),
        bans,
        ledger: config.store.as_ref().map(|_| Arc::default()),
        shedder: Arc::new(Shedder::new(config.limit.shed.clone(), offenders)),
        upstreams,
        auth,
        access_log,
        metrics,
        prove_by_accept: facts.proof == "accept",
    }))
}

/// A node of the fleet that the store makes; its name has a part that no other process has.
fn join_fleet(
    config: &Config,
    link: &Link,
    shared: &Arc<Shared>,
    news: mpsc::Sender<News>,
) -> Option<(Driver, Arc<Fleet>)> {
    let ledger = shared.rows.ledger.clone()?;
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = config.fleet.node.clone().unwrap_or_else(|| host().trim().to_owned());
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    Some(Driver::new(fleet::Parts {
        config: config.fleet.clone(),
        node: format!("{name}.{:08x}", fresh_seed() >> 32),
        link: link.clone(),
        ledger,
        shared: Arc::clone(shared),
        news,
    }))
}

/// What a reload does with a checked configuration: kernel rules and lists, then the data side.
fn reloader(
    args: &RunArgs,
    shared: &Arc<Shared>,
    maps: Option<Arc<Maps>>,
    charge: Option<Arc<Charge>>,
    bound: Vec<SocketAddr>,
    keeper: Option<Handover>,
) -> Reloader {
    let shared = Arc::clone(shared);
    let rules = move |config: &Config, guard: &Guard, additions: &Additions| {
        let Some(maps) = &maps else { return Ok(()) };
        let proxies = &config.proxy.trusted_proxies;
        let mut wanted = wanted(&config.kernel, &config.limit, proxies, &bound, guard, additions);
        // Only the keeper can set what they need: they stay as it left them.
        let present = maps.rules().map_err(|error| format!("kernel rules: {error}"))?;
        wanted.rules.flags &= !flags::SYN_COOKIES;
        wanted.rules.flags |= present.flags & flags::SYN_COOKIES;
        maps.apply(&wanted, fresh_seed()).map_err(|error| format!("kernel rules: {error}"))
    };
    let data = move |config: &Config, additions: &Additions| {
        shared.shedder.publish(config.limit.shed.clone());
        shared.publish(snapshot(config, additions, &shared.upstreams, &shared.auth, &shared.metrics));
        warn_of_expired(config);
    };
    let lease = move |length: Option<Duration>| {
        let Some(charge) = &charge else { return Ok(()) };
        let set = match length {
            Some(length) => charge.grant(Lease::Apply, length),
            None => charge.end(Lease::Apply),
        };
        set.map_err(|error| error.to_string())
    };
    let capacities = move || match &keeper {
        Some(keeper) => keeper.ask_resize().map(|()| true).map_err(|error| error.to_string()),
        None => Ok(false),
    };
    let publish = Publish {
        rules: Box::new(rules),
        data: Box::new(data),
        lease: Box::new(lease),
        capacities: Box::new(capacities),
    };
    let interfaces = args.interfaces.clone();
    let over = move |config: &mut Config| overlay(&interfaces, config);
    Reloader::new(&args.config, &args.default_socket, Box::new(over), publish)
}

/// Clients refuse such a certificate; that is no reason to serve nobody.
fn warn_of_expired(config: &Config) {
    let now_s = unix_s();
    for certificate in config.proxy.certificates().into_iter().filter(|one| one.is_expired(now_s)) {
        tracing::warn!(
            certificate = certificate.name,
            expired = certificate.not_after,
            "certificate expired"
        );
    }
}

fn snapshot(
    config: &Config,
    additions: &Additions,
    upstreams: &Upstreams,
    auth: &Arc<KeptByAuth>,
    metrics: &Metrics,
) -> Snapshot {
    let allow = PrefixSet::of(config.kernel.allowed().chain(additions.allow.iter().copied()));
    Snapshot::build(&config.catalog, &config.proxy, allow, &config.limit, upstreams, auth, metrics)
}

/// Before the sandbox, which has no way to write elsewhere.
fn open_log(config: &access_log::Config) -> Result<(u32, Box<dyn std::io::Write + Send>), Failure> {
    let out = config.open().with_context(|| format!("the access log {:?}", config.to));
    Ok((config.queue, out.map_err(Failure::system)?))
}

/// The access log's thread; tells when it is through.
fn start_log(writer: access_log::Writer) -> std::io::Result<std::sync::mpsc::Receiver<()>> {
    let (ended, told) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        writer.run(now_ns);
        ended.send(()).unwrap_or(());
    })?;
    Ok(told)
}

type Threads = Vec<std::thread::JoinHandle<std::io::Result<()>>>;

fn start_workers(
    listeners: Vec<Vec<TcpListener>>,
    shared: &Arc<Shared>,
    draining: &watch::Receiver<bool>,
) -> std::io::Result<Threads> {
    let start = |(idx, sockets): (usize, Vec<TcpListener>)| {
        let (shared, draining) = (Arc::clone(shared), draining.clone());
        let thread = std::thread::Builder::new().name(format!("worker-{idx}"));
        thread.spawn(move || proxy::worker(sockets, shared, draining))
    };
    listeners.into_iter().filter(|sockets| !sockets.is_empty()).enumerate().map(start).collect()
}

fn start_tasks(
    parts: &Arc<Parts>,
    offenders: mpsc::Receiver<Offender>,
    events: Option<Events>,
    admin: tokio::net::TcpListener,
    socket: tokio::net::UnixListener,
    draining: &watch::Receiver<bool>,
) {
    tokio::spawn(control::ban_offenders(Arc::clone(parts), offenders));
    tokio::spawn(control::serve_admin(admin, Arc::clone(parts), draining.clone()));
    tokio::spawn(control::serve(socket, Arc::clone(parts), draining.clone()));
    tokio::spawn(control::watch_files(Arc::clone(parts)));
    tokio::spawn(control::follow_guard(Arc::clone(parts)));
    tokio::spawn(control::follow_names(Arc::clone(parts)));
    tokio::spawn(proxy::check_upstreams(Arc::clone(&parts.shared)));
    tokio::spawn(proxy::fetch_key_sets(Arc::clone(&parts.shared.auth)));
    tokio::spawn(control::take_census(Arc::clone(parts)));
    tokio::spawn(control::revert_in_time(Arc::clone(parts)));
    if let Some(store) = &parts.store {
        tokio::spawn(store.clone().run());
    }
    if let Some(events) = events {
        tokio::spawn(control::pump_events(Arc::clone(parts), events));
    }
}

/// A node without its store is ready all the same, after a while.
async fn await_store(parts: &Parts) {
    if let Some(store) = &parts.store
        && let Err(fault) = store.wait_up(STORE_WAIT).await
    {
        tracing::warn!(%fault, "ready without the store");
        return;
    }
    if let Some(fleet) = &parts.fleet
        && tokio::time::timeout(STORE_WAIT, fleet.joined()).await.is_err()
    {
        tracing::warn!("ready before the fleet's bans are known");
    }
}

/// HUP reloads; everything else that is waited for ends the run. Says what it was.
async fn wait_for_the_end(
    parts: &Parts,
    signals: Signals,
    keeper: Option<Handover>,
) -> std::io::Result<&'static str> {
    let Signals { mut terminate, mut interrupt, mut hangup } = signals;
    let under_keeper = keeper.is_some();
    let mut keeper_gone = std::pin::pin!(async {
        match keeper {
            Some(keeper) => keeper.hear(|heard| follow(parts, heard)).await,
            None => std::future::pending().await,
        }
    });
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("TERM"),
            // ^C reaches the whole process group: under a keeper it is the keeper that says what follows.
            _ = interrupt.recv(), if !under_keeper => return Ok("INT"),
            gone = keeper_gone.as_mut() => return gone.map(|()| "the keeper is gone"),
            _ = hangup.recv() => match parts.reloader.reload(parts) {
                Ok(_) | Err(_) => {}
            },
        }
    }
}

/// What the keeper tells.
fn follow(parts: &Parts, heard: Heard) {
    match heard {
        Heard::Interfaces(interfaces) => {
            let facts = parts.facts.load().with(interfaces);
            parts.facts.store(Arc::new(facts));
        }
        Heard::Resized(refused) => {
            if let Some(why) = refused {
                tracing::error!("a map keeps its capacity: {why}");
            }
            if let Err(error) = take_resized(parts) {
                tracing::error!("CLIENTS and BANS cannot be opened again, start weir again: {error:#}");
            }
        }
    }
}

/// Turns to the maps that stand in the slots now; what they hold is what the configuration says from now on.
fn take_resized(parts: &Parts) -> anyhow::Result<()> {
    let Some(maps) = &parts.maps else { return Ok(()) };
    let mut config = Config::clone(&parts.config.load());
    let pins = PinDir::new(&config.kernel.pin_dir);
    maps.reopen_clients(&pins)?;
    parts.shared.bans.reopen(&pins, now_ns())?;
    config.kernel.clients = maps.capacity_of_clients()?;
    config.kernel.bans = parts.shared.bans.capacity();
    let aggregates = capacity_of_aggregates(&pins)?;
    let is_unused = config.limit.aggregates.is_empty() && aggregates == AGGREGATES_MIN;
    config.kernel.aggregates = if is_unused { 0 } else { aggregates };
    let bytes = ceiling(&config, workers(&config), possible_cpus()).ceiling_bytes;
    parts.ceiling_bytes.store(bytes, Ordering::Relaxed);
    parts.config.store(Arc::new(config));
    Ok(())
}

async fn join(threads: Threads) -> Result<(), Failure> {
    let joined = tokio::task::spawn_blocking(move || {
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(ended) => ended.map_err(anyhow::Error::from),
            Err(_) => Err(anyhow!("a worker panicked")),
        })
    });
    joined.await.map_err(Failure::system)?.map_err(Failure::system)
}

fn remove_socket(path: &PathBuf) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "the control socket was gone already");
    }
}

/// CPUs that may ever come up: per-CPU maps have a place for each.
pub fn possible_cpus() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<usize>().ok());
    last.map_or(1, |last| last + 1)
}
