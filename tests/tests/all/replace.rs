//! Programs replaced and maps grown and shrunk under traffic, judged by the number of every frame: none
//! is lost that should pass, and no client passes more than its burst, its rate and one a CPU.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramInfo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::gettid;
use weir_ebpf::abi::{ClientKey, programs};
use weir_tests::cpu::{renice, stay_on};
use weir_tests::netns::{Netns, run};
use weir_tests::pinned::Charge;
use weir_tests::root::require_root;
use weir_tests::sequence::{Arrived, SEATS, Sequence};
use weir_tests::wait::{let_pass, wait_for};
use weir_tests::weir::{Place, Weir};
use weir_tests::wire::{End, Wire};

const PORT: u16 = 9_000;
const FRAMES_A_SECOND: u64 = 500_000;
/// Of every client: its word is the same in each class, what differs is how much it sends.
const RATE: u64 = 1_000;
const BURST: u64 = 100;
/// Idle clients that owe nothing, so that there is something to carry over.
const IDLE: u32 = 2_500;
const SMALL: u32 = 4_096;
const LARGE: u32 = 65_536;
/// Frames are made, and Weir starts, on one core; they are received on the other.
const SENDER_CPU: usize = 0;
const RECEIVER_CPU: usize = 1;
/// A little behind the sender's.
const WEIR_NICE: i8 = -8;
const SOON: Duration = Duration::from_secs(15);
/// A run in which the receiver's ring was full for a moment says nothing about Weir.
const TRIES: usize = 3;

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Allowed,
    /// Proved, and below its limit.
    Within,
    /// Proved, and four times above its limit.
    Over,
    Banned,
    /// Without a proof, and four times above its limit.
    Stranger,
}

/// Class, clients, and seats of each: half of all frames are of clients who must lose none.
const CROWD: [(Class, u8, u32, usize); 5] = [
    (Class::Allowed, 1, 16, 8),
    (Class::Within, 2, 400, 1),
    (Class::Over, 3, 32, 8),
    (Class::Banned, 4, 16, 8),
    (Class::Stranger, 5, 14, 8),
];

fn address(class_byte: u8, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0b00_0000 | u32::from(class_byte) << 16 | (number + 1))
}

fn clients(wanted: Class) -> impl Iterator<Item = Ipv4Addr> {
    let rows = CROWD.into_iter().filter(move |(class, ..)| *class == wanted);
    rows.flat_map(|(_, byte, clients, _)| (0..clients).map(move |number| address(byte, number)))
}

/// Everybody's seats, far apart from each other.
fn seats() -> Result<[Ipv4Addr; SEATS]> {
    let in_order: Vec<_> = CROWD
        .into_iter()
        .flat_map(|(_, byte, clients, each)| {
            (0..clients).flat_map(move |number| std::iter::repeat_n(address(byte, number), each))
        })
        .collect();
    ensure!(in_order.len() == SEATS, "{} seats are taken", in_order.len());
    let mut seats = [Ipv4Addr::UNSPECIFIED; SEATS];
    for (idx, client) in in_order.into_iter().enumerate() {
        seats[idx * 389 % SEATS] = client;
    }
    Ok(seats)
}

fn config(place: &Place, clients: u32) -> Result<()> {
    place.write_config(&format!(
        "[kernel]\ninterfaces = [\"s0\"]\nmode = \"native\"\nprotect = [\"udp/{PORT}\"]\nallow = [\"11.1.0.0/16\"]\nclients = {clients}\n[limit.client]\npackets = {{ rate = \"{RATE}/s\", burst = {BURST} }}\n"
    ))
}

/// A Weir with its crowd known to it, in the namespace of the calling thread.
fn start() -> Result<Weir> {
    beside_the_sender()?;
    let place = Place::new()?;
    config(&place, SMALL)?;
    let weir = Weir::start_at(place)?;
    let charge = Charge::open(&weir.place.pins())?;
    for client in clients(Class::Within).chain(clients(Class::Over)) {
        charge.prove(ClientKey::v4(client.octets()))?;
    }
    for number in 0..IDLE {
        charge.prove(ClientKey::v4(address(9, number).octets()))?;
    }
    for client in clients(Class::Banned) {
        let banned = weir.command(&["bans", "add", &client.to_string()])?;
        ensure!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    }
    Ok(weir)
}

/// Where the receiver is not disturbed, and with a part of the core that is worth it.
fn beside_the_sender() -> Result<()> {
    stay_on(SENDER_CPU)?;
    renice(gettid(), WEIR_NICE)
}

/// What a run under traffic came to.
struct Outcome {
    sent: u64,
    arrived: Arrived,
}

/// Sends for `time`, does `work` meanwhile. None: the ring was full for a moment.
fn under_traffic(time: Duration, work: impl Fn(&mut Weir) -> Result<()> + Sync) -> Result<Option<Outcome>> {
    let (from, to) = (Netns::new("gen")?, Netns::new("srv")?);
    let sending = End { netns: &from, interface: "g0", host: 1 };
    let receiving = End { netns: &to, interface: "s0", host: 2 };
    let wire = Wire::join(1, sending, receiving)?;
    let receiver = receiving.receive_on(RECEIVER_CPU)?;
    run(&["chrt", "--fifo", "--pid", "50", &receiver.to_string()])?;
    let mut weir = to.run(start)?;
    let mut sequence = Sequence::new(&wire, [sending, receiving], PORT, &seats()?, SENDER_CPU)?;
    let (before, received) = (sending.counts()?, receiving.counts()?.received);
    let sent = std::thread::scope(|scope| -> Result<u64> {
        let sending = scope.spawn(|| sequence.send(FRAMES_A_SECOND, time));
        let worked = to.run(|| {
            beside_the_sender()?;
            work(&mut weir)
        });
        let in_time = !sending.is_finished();
        let sent = sending.join().expect("the sender does not panic");
        worked?;
        ensure!(in_time, "the traffic ended before the work");
        sent
    })?;
    let ring = sending.counts()? - before;
    ensure!(ring.xmit + ring.xmit_errors == sent, "{sent} sent, but {ring:?}");
    wait_for("the last frame", SOON, || {
        (receiving.counts().ok()?.received >= received + ring.xmit).then_some(())
    })?;
    println!(
        "{} frames a second for {time:?}, {} found the ring full",
        sent / time.as_secs(),
        ring.xmit_errors
    );
    let arrived = sequence.arrived()?;
    Ok((ring.xmit_errors == 0).then_some(Outcome { sent, arrived }))
}

impl Outcome {
    /// Frames of the class that came through, and those that did not, by client.
    fn of(&self, class: Class) -> Result<Vec<(Ipv4Addr, u64, u64)>> {
        let seats = seats()?;
        let count = |client: Ipv4Addr| {
            let (mut came, mut lost) = (0, 0);
            for (seat, _) in (0_u64..).zip(&seats).filter(|(_, other)| **other == client) {
                for number in (seat..self.sent).step_by(SEATS) {
                    if self.arrived.has(number) { came += 1 } else { lost += 1 }
                }
            }
            (client, came, lost)
        };
        Ok(clients(class).map(count).collect())
    }

    /// All that must hold, whatever was done meanwhile.
    fn check(&self) -> Result<()> {
        for class in [Class::Allowed, Class::Within] {
            let rows = self.of(class)?;
            let (came, lost) = rows.iter().fold((0, 0), |sum, (_, came, lost)| (sum.0 + came, sum.1 + lost));
            println!("{class:?}: {came} came through, {lost} did not");
            assert_eq!(lost, 0, "{class:?}: none may be lost");
        }
        let banned: u64 = self.of(Class::Banned)?.iter().map(|(_, came, _)| came).sum();
        assert_eq!(banned, 0, "of the banned");
        let cpus = std::thread::available_parallelism()?.get() as u64;
        let earned = RATE * u64::try_from(self.arrived.time.as_micros())? / 1_000_000;
        for class in [Class::Over, Class::Stranger] {
            let rows = self.of(class)?;
            let most = rows.iter().map(|(_, came, _)| *came).max().unwrap_or_default();
            let least = rows.iter().map(|(_, came, _)| *came).min().unwrap_or_default();
            let bound = BURST + earned + cpus;
            println!("{class:?}: {least} to {most} came through for each, at most {bound} may");
            assert!(most <= bound, "{class:?}: {most} > {bound}");
            // Strangers share a budget too, and on a busy machine nobody sends what was ordered.
            let tried = rows.iter().map(|(_, came, lost)| came + lost).min().unwrap_or_default().min(earned);
            assert!(least > tried / 2, "{class:?}: {least} of {tried}: hardly any came through");
        }
        Ok(())
    }
}

/// The program that runs now.
fn program_id(pins: &Path) -> Result<u32> {
    Ok(ProgramInfo::from_pin(pins.join(format!("prog_{}", programs::PACKETS)))?.id())
}

/// Starts it again with so many `clients`, over what is pinned; the program is another one then.
fn start_again(weir: &mut Weir, clients: u32) -> Result<()> {
    let before = program_id(&weir.place.pins())?;
    config(&weir.place, clients)?;
    weir.start_again()?;
    ensure!(program_id(&weir.place.pins())? != before, "the program was replaced");
    ensure!(weir.status("/kernel/clients_capacity")? == clients, "it has another capacity");
    let_pass(Duration::from_millis(300));
    Ok(())
}

/// The same without another program: nothing is started anew.
fn reload(weir: &mut Weir, clients: u32) -> Result<()> {
    config(&weir.place, clients)?;
    let told = weir.command(&["reload"])?;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    wait_for("the other capacity", SOON, || {
        weir.status("/kernel/clients_capacity").ok().filter(|capacity| *capacity == clients)
    })?;
    let_pass(Duration::from_millis(300));
    Ok(())
}

/// Until one run is not void.
fn check(time: Duration, work: impl Fn(&mut Weir) -> Result<()> + Sync) -> Result<()> {
    for _ in 0..TRIES {
        if let Some(outcome) = under_traffic(time, &work)? {
            return outcome.check();
        }
    }
    anyhow::bail!("void {TRIES} times: the receiver's ring ran full")
}

#[test]
fn programs_replaced_and_maps_grown_and_shrunk_lose_no_packet_and_free_nobody() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    check(Duration::from_secs(15), |weir| {
        let_pass(Duration::from_millis(500));
        weir.stop()?;
        start_again(weir, SMALL)?;
        let gateway = weir.gateway_pid().context("a keeper has a child")?;
        kill(weir.pid(), Signal::SIGKILL)?;
        weir.wait(SOON)?;
        wait_for("the gateway's end", SOON, || kill(gateway, None).is_err().then_some(()))?;
        start_again(weir, LARGE)?;
        weir.stop()?;
        start_again(weir, SMALL)?;
        for clients in [LARGE, SMALL] {
            reload(weir, clients)?;
        }
        Ok(())
    })
}

#[test]
fn another_layout_versions_program_is_replaced_without_a_gap() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    check(Duration::from_secs(8), |weir| {
        let_pass(Duration::from_millis(500));
        weir.stop()?;
        let theirs = weir.place.age_pins(1)?;
        let before = program_id(&theirs)?;
        config(&weir.place, LARGE)?;
        weir.start_again()?;
        ensure!(program_id(&weir.place.pins())? != before, "the program was replaced");
        ensure!(!theirs.exists(), "nothing of the other version is left");
        ensure!(weir.status("/bans")? == clients(Class::Banned).count(), "bans are known");
        let_pass(Duration::from_millis(300));
        Ok(())
    })
}
