//! One master: its connection, made again whenever it is lost; requests over it, each with a deadline;
//! a heartbeat that notices what no request would.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::backoff::{Backoff, spread};
use super::board::{Board, RowId};
use super::call::Tag;
use super::open::{Dialer, Driver, Opened, To};
use super::sentinel::Find;
use super::slots::text;
use super::{Address, Call, Fault, Kind};
use crate::store::clock;

/// How often a master is asked who it is.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A connection that lived so long was a good one.
const GOOD: Duration = Duration::from_secs(1);
/// Requests that wait for one master.
pub(super) const PENDING_MAX: usize = 64;
/// Bytes of requests that wait for one master, in KiB.
pub(super) const PENDING_KIB: u32 = 4 << 10;
/// How often a changed password is looked for while none is right.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct Server {
    pub id: RowId,
    find: Find,
    dialer: Arc<Dialer>,
    board: Arc<Board>,
    open: Mutex<Option<Open>>,
    places: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    /// How often each script was loaded.
    loads: AsyncMutex<BTreeMap<String, u64>>,
    doom: mpsc::Sender<(u64, Fault)>,
    doomed: AsyncMutex<mpsc::Receiver<(u64, Fault)>>,
    /// Told when it is lost, for whom that concerns.
    lost: Arc<Notify>,
}

#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    address: Address,
    /// Which of the server's connections it is.
    number: u64,
}

/// A command, and whether the slot is on its way here.
pub(super) enum Request<'a> {
    Plain(&'a Cmd),
    Asking(&'a Cmd),
}

struct Places {
    _place: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl Server {
    pub fn new(find: Find, dialer: Arc<Dialer>, board: Arc<Board>, lost: Arc<Notify>) -> Arc<Self> {
        let (doom, doomed) = mpsc::channel(1);
        Arc::new(Self {
            id: board.add(find.known()),
            find,
            dialer,
            board,
            open: Mutex::new(None),
            places: Arc::new(Semaphore::new(PENDING_MAX)),
            kib: Arc::new(Semaphore::new(PENDING_KIB as usize)),
            loads: AsyncMutex::default(),
            doom,
            doomed: AsyncMutex::new(doomed),
            lost,
        })
    }

    /// Connects, and connects again, for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        for number in 1.. {
            let fault = self.live(number, &mut backoff).await;
            self.replace(None);
            self.board.lost(self.id, &fault);
            self.lost.notify_one();
            match fault.kind {
                Kind::Denied => self.wait_denied(backoff.denied()).await,
                _ => sleep(backoff.broken()).await,
            }
        }
    }

    /// A connection's life; why it ended.
    async fn live(&self, number: u64, backoff: &mut Backoff) -> Fault {
        let opened = timeout(self.dialer.config.timeouts.connect, self.open_master()).await;
        let (address, Opened { connection, mut driver }) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(fault)) => return fault,
            Err(_) => {
                let waited = self.dialer.config.timeouts.connect;
                return Fault::new(Kind::Silent, format!("no connection within {waited:?}"));
            }
        };
        self.replace(Some(Open { connection, address: address.clone(), number }));
        self.board.connected(self.id, &address);
        let since = clock::now();
        let mut doomed = self.doomed.lock().await;
        let fault = tokio::select! {
            () = &mut driver => Fault::new(Kind::Broken, "it closed the connection"),
            fault = doom_of(&mut doomed, number) => fault,
            fault = self.beat() => fault,
            fault = self.find.watch(&self.dialer, &address) => fault,
        };
        if since.elapsed() >= GOOD {
            backoff.succeeded();
        }
        fault
    }

    /// The master of this moment, connected, and a master by its own word.
    async fn open_master(&self) -> Result<(Address, Opened), Fault> {
        let address = self.find.master(&self.dialer).await?;
        let named = |fault: Fault| match self.find.known() {
            Some(_) => fault,
            None => Fault::new(fault.kind, format!("{address}: {fault}")),
        };
        let Opened { mut connection, mut driver } =
            self.dialer.open(&address, To::Master).await.map_err(named)?;
        let sent = clock::now();
        let role = alongside(&mut driver, ask_role(&mut connection)).await.map_err(named)?;
        if sent.elapsed() >= self.dialer.config.timeouts.late {
            self.board.late(self.id);
        }
        is_master(role.as_deref()).map_err(named)?;
        Ok((address, Opened { connection, driver }))
    }

    /// Until the password's file is another, or the time is up.
    async fn wait_denied(&self, span: Duration) {
        let mark = || [To::Master, To::Sentinel].map(|to| self.dialer.password_mark(to));
        let (until, was) = (clock::now() + span, mark());
        while clock::now() < until && mark() == was {
            sleep(LOOK.min(until - clock::now())).await;
        }
    }

    fn replace(&self, open: Option<Open>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn current(&self) -> Result<Open, Fault> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| {
            let why = self.board.fault_of(self.id);
            let why = why.map_or_else(|| "not connected yet".to_owned(), |fault| fault.text);
            Fault::new(Kind::Away, why)
        })
    }

    /// Where it is connected to.
    pub fn address(&self) -> Result<Address, Fault> {
        self.current().map(|open| open.address)
    }

    /// Where it always is.
    pub fn written(&self) -> Option<Address> {
        self.find.known()
    }

    /// Requests that wait now.
    pub fn pending(&self) -> usize {
        PENDING_MAX.saturating_sub(self.places.available_permits())
    }

    /// Runs a script; one that this master does not know is loaded, once for all who wait.
    pub async fn eval(&self, call: &Call<'_>, is_asking: bool) -> Result<Value, Fault> {
        let command = call.command();
        let request = || if is_asking { Request::Asking(&command) } else { Request::Plain(&command) };
        let digest = &call.script.digest;
        let known = self.loads.lock().await.get(digest).copied().unwrap_or(0);
        let answer = match self.send(request()).await {
            Err(fault) if fault.kind == Kind::NoScript => {
                let mut loads = self.loads.lock().await;
                if loads.get(digest).copied().unwrap_or(0) == known {
                    let mut load = redis::cmd("SCRIPT");
                    load.arg("LOAD").arg(&call.script.code);
                    self.send(Request::Plain(&load)).await?;
                    self.board.loaded_script(self.id);
                    loads.insert(digest.clone(), known + 1);
                }
                drop(loads);
                self.send(request()).await
            }
            answer => answer,
        };
        match &answer {
            Ok(_) => self.board.works(self.id, Kind::Forbidden),
            Err(fault) if fault.impairs() => self.board.impaired(self.id, fault),
            Err(_) => {}
        }
        answer
    }

    /// Sends and waits: late after a while, given up after more.
    pub async fn send(&self, request: Request<'_>) -> Result<Value, Fault> {
        let Open { mut connection, number, .. } = self.current()?;
        let (Request::Plain(command) | Request::Asking(command)) = request;
        let _places = self.reserve(command)?;
        let timeouts = self.dialer.config.timeouts;
        let sent = clock::now();
        let mut answer = pin!(async {
            match request {
                Request::Plain(command) => connection.send_packed_command(command).await?.extract_error(),
                Request::Asking(command) => {
                    let mut both = redis::pipe();
                    both.cmd("ASKING").add_command(command.clone());
                    let mut answers = connection.send_packed_commands(&both, 0, 2).await?;
                    answers.pop().unwrap_or(Value::Nil).extract_error()
                }
            }
        });
        let answered = match timeout(timeouts.late, &mut answer).await {
            Ok(answered) => Some(answered),
            Err(_) => {
                self.board.late(self.id);
                timeout(timeouts.give_up.saturating_sub(timeouts.late), answer).await.ok()
            }
        };
        let answered = answered
            .ok_or_else(|| Fault::new(Kind::Silent, format!("no answer within {:?}", timeouts.give_up)));
        let answered = answered.and_then(|answered| answered.map_err(Fault::from));
        match &answered {
            Err(fault) if fault.ends_connection() => {
                // A full channel holds a doom already.
                self.doom.try_send((number, fault.clone())).unwrap_or(());
            }
            _ => self.board.answered(self.id, sent.elapsed()),
        }
        answered
    }

    fn reserve(&self, command: &Cmd) -> Result<Places, Fault> {
        let busy = |_| Fault::new(Kind::Busy, "too much waits for the store");
        let bytes: usize = command.args_iter().map(|word| word_bytes(&word)).sum();
        let kib = u32::try_from(bytes / 1_024).unwrap_or(u32::MAX).saturating_add(1);
        if kib > PENDING_KIB {
            return Err(Fault::new(Kind::Busy, format!("a request is at most {PENDING_KIB} KiB")));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(kib).map_err(busy)?;
        Ok(Places { _place: place, _kib: kib })
    }

    /// Asks the master for its clock and role; ends with what ends the connection.
    async fn beat(&self) -> Fault {
        loop {
            if let Err(fault) = self.look().await
                && fault.ends_connection()
            {
                return fault;
            }
            sleep(spread(HEARTBEAT)).await;
        }
    }

    async fn look(&self) -> Result<(), Fault> {
        let before = clock::unix_time();
        let time = self.send(Request::Plain(&redis::cmd("TIME"))).await?;
        if let Some(redis_time) = time_of(&time) {
            let middle = (before + clock::unix_time()) / 2;
            let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            self.board.clock_offset(self.id, ms(redis_time).saturating_sub(ms(middle)));
        }
        match self.send(Request::Plain(&redis::cmd("ROLE"))).await {
            Ok(answer) => is_master(role_of(&answer).as_deref())?,
            // A user who may not ask goes without.
            Err(fault) if fault.kind == Kind::Forbidden => {}
            Err(fault) => return Err(fault),
        }
        if self.board.fault_of(self.id).is_some_and(|fault| fault.kind == Kind::Full) {
            self.try_to_write().await?;
        }
        Ok(())
    }

    async fn try_to_write(&self) -> Result<(), Fault> {
        let prefix = &self.dialer.config.prefix;
        let mut write = redis::cmd("SET");
        // Whose slot it is matters to a Cluster only, and a Cluster's answer says as much.
        write.arg(self.probe_key(prefix)).arg("1").arg("PX").arg(1_000);
        match self.send(Request::Plain(&write)).await {
            Ok(_) => self.board.works(self.id, Kind::Full),
            Err(fault) if fault.kind == Kind::Moved => self.board.works(self.id, Kind::Full),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn probe_key(&self, prefix: &str) -> String {
        let tags = self.dialer.config.tags;
        let own = Tag::all(tags).find(|tag| self.find.serves(tag.slot()));
        own.or_else(|| Tag::all(tags).next()).map_or_else(String::new, |tag| tag.key(prefix, "probe"))
    }
}

/// The doom of one connection; of those before it nobody wants to hear.
async fn doom_of(doomed: &mut mpsc::Receiver<(u64, Fault)>, number: u64) -> Fault {
    loop {
        match doomed.recv().await {
            Some((of, fault)) if of == number => return fault,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Waits for an answer while the connection's bytes move.
pub(super) async fn alongside<T>(
    driver: &mut Driver,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        answer = answer => answer,
        () = driver => Err(Fault::new(Kind::Broken, "it closed the connection")),
    }
}

/// Over a connection that is nobody else's yet; the crate takes an error that Redis answers for a value.
pub(super) async fn ask(connection: &mut MultiplexedConnection, question: &Cmd) -> Result<Value, Fault> {
    let answer = connection.send_packed_command(question).await;
    answer.and_then(Value::extract_error).map_err(Fault::from)
}

/// None where the user may not ask.
async fn ask_role(connection: &mut MultiplexedConnection) -> Result<Option<String>, Fault> {
    match ask(connection, &redis::cmd("ROLE")).await {
        Ok(answer) => Ok(role_of(&answer)),
        Err(fault) if fault.kind == Kind::Forbidden => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn role_of(answer: &Value) -> Option<String> {
    text(answer.as_sequence()?.first()?)
}

fn is_master(role: Option<&str>) -> Result<(), Fault> {
    match role {
        None | Some("master") => Ok(()),
        Some(role) => Err(Fault::new(Kind::NotMaster, format!("it is no master but a {role}"))),
    }
}

fn time_of(answer: &Value) -> Option<Duration> {
    let [seconds, micros] = answer.as_sequence()? else { return None };
    let number = |value: &Value| text(value)?.parse::<u64>().ok();
    Some(Duration::from_secs(number(seconds)?) + Duration::from_micros(number(micros)?))
}

fn word_bytes(word: &redis::Arg<&[u8]>) -> usize {
    match word {
        redis::Arg::Simple(bytes) => bytes.len() + 16,
        _ => 16,
    }
}
