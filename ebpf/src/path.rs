//! The packet path: a frame goes in, a verdict comes out. One function on one screen; the maps are a
//! trait, so that the very same path runs in the kernel and on a host.

use crate::abi::{Budget, Class, ClientKey, Mark, PortRow, Rules, Sentence, Word, flags};
use crate::aggregate::{Party, Share, Summed};
use crate::frame::Frame;
use crate::front::Fronted;
use crate::gcra::{self, Cell, Charged, Limit};
use crate::packet::{Address, Packet, parse};
use crate::scope::{PortCell, SourceKind, own_key};
use crate::verdict::Verdict;
use crate::{budget, front, gate, hot, seen};

/// What the path asks of the maps and clocks.
pub trait Maps {
    type Cell: Cell;
    type Entry: Entry<Cell = Self::Cell>;

    fn scope_word(&self, word_idx: u32) -> u64;
    /// What a port rule of the generation says.
    fn port_row(&self, generation: u64, rule: u8) -> PortRow;
    /// Whether an address of this host has this key.
    fn is_own(&self, own_key: u64) -> bool;
    /// A word of GATE.
    fn gate_word(&self, word_idx: u32) -> u64;
    /// What the longest prefix of the generation that holds the source says.
    fn mark(&self, generation: u64, source: &Address) -> Mark;
    /// The rules with another row of limits.
    fn rules_of(&self, place: u64, row: u8) -> Option<&Rules>;
    /// Counts a packet from a source that a list names.
    fn count_listed(&self, mark: Mark, length_bytes: u32);
    /// A word of SEEN; None when the map is missing.
    fn seen(&self, word_idx: u32) -> Option<Self::Cell>;
    /// First jiffy after the ban of `key`; None without a ban.
    fn ban_until(&self, key: ClientKey) -> Option<u64>;
    fn client(&self, key: ClientKey) -> Option<Self::Entry>;
    /// Whether the packet at hand belongs to an established connection of this host; its client, whose
    /// key this is, is proved then.
    fn is_connected(&self, key: ClientKey) -> bool;
    /// Whether the packet at hand finishes a handshake that a SYN cookie of this host began.
    fn returns_cookie(&self) -> bool;
    /// Whether it is the turn of the listener that the SYN at hand is for to see one itself.
    fn is_due(&self, period: u64) -> bool;
    /// Turns the SYN at hand into a SYN-ACK with a cookie; false where it was left as it is.
    fn answer_syn(&self) -> bool;
    /// Lends this CPU's budget; None when the map is missing.
    fn with_budget<T>(&self, use_it: impl FnOnce(&mut Budget) -> T) -> Option<T>;
    /// Charges an unproved source's slot.
    fn front(&self, key: ClientKey, rules: &Rules, cost_ns: u64, tau_ns: u64) -> Fronted;
    /// Charges what the packet counts for above its client.
    fn aggregate(&self, rules: &Rules, share: Share, now_ns: u64) -> Summed;
    /// Gives an unproved source an entry with what it owes on a word.
    fn promote(&self, key: ClientKey, word: Word, debt_ns: u64);
    fn jiffies(&self) -> u64;
    fn now_ns(&self) -> u64;
}

/// A client's entry, shared with other CPUs and with user space.
pub trait Entry: Copy {
    type Cell: Cell;

    fn cell(self, word: Word) -> Self::Cell;
    fn is_proved(self) -> bool;
    fn hot(self) -> u64;
    fn set_hot(self, word: u64);
    fn note_passed(self);
    fn note_dropped(self);
}

/// A verdict and whom it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    pub verdict: Verdict,
    /// None where parsing did not get that far.
    pub packet: Option<Packet>,
    /// The port rule that it fell under; 0 for none.
    pub rule: u8,
    /// The flags of the rules and of that rule.
    pub flags: u64,
}

/// What the port rule makes of a packet.
#[derive(Clone, Copy)]
struct Terms {
    /// What it is by itself.
    kind: Class,
    /// [`PortRow::word`].
    row: u64,
    /// `PortCell::number` of where it goes.
    port: u32,
}

impl Terms {
    /// Units that the packet costs.
    #[inline(always)]
    const fn weight(self) -> u64 {
        self.row >> (self.kind as u32 * 8) & 0xff
    }

    /// Position of the budget that it draws on when its source is unproved.
    #[inline(always)]
    const fn class_idx(self) -> usize {
        match self.row >> 48 & 0xff {
            0 => self.kind as usize,
            class => class as usize - 1,
        }
    }

    /// Flags of the rules that the port rule sets beside those that are.
    #[inline(always)]
    const fn flags(self) -> u64 {
        self.row >> 56
    }
}

/// Judges a frame.
#[inline(always)]
pub fn decide<F: Frame + ?Sized, M: Maps>(frame: &F, length_bytes: u32, maps: &M, rules: &Rules) -> Decided {
    match parse(frame) {
        Ok(packet) => {
            let cell = PortCell::of(&packet);
            let rule = rule_of(&packet, cell, maps, rules);
            let row = maps.port_row(rules.scope, rule).word();
            let terms = Terms { kind: packet.class(), row, port: cell.number() };
            let verdict = judge(&packet, rule, terms, length_bytes, maps, rules);
            Decided { verdict, packet: Some(packet), rule, flags: rules.flags | terms.flags() }
        }
        Err(verdict) => Decided { verdict, packet: None, rule: 0, flags: rules.flags },
    }
}

#[inline(always)]
fn judge<M: Maps>(
    packet: &Packet,
    rule: u8,
    terms: Terms,
    length_bytes: u32,
    maps: &M,
    rules: &Rules,
) -> Verdict {
    if rule == 0 {
        return Verdict::OutOfScope;
    }
    match SourceKind::of(&packet.source) {
        SourceKind::LinkLocal => return Verdict::LinkLocal,
        SourceKind::Bad => return Verdict::BadSource,
        SourceKind::Client => {}
    }
    let mut rules = rules;
    if gate::may_match(rules.lists, &packet.source, |word_idx| maps.gate_word(word_idx)) {
        let mark = maps.mark(rules.lists, &packet.source);
        if let Some(verdict) = listed(mark, length_bytes, maps) {
            return verdict;
        }
        if mark.row() != 0 {
            rules = maps.rules_of(rules.place, mark.row()).unwrap_or(rules);
        }
    }
    let key = packet.client();
    let jiffies = maps.jiffies();
    let (place, epoch) = (seen::Place::of(key.0, rules.seed), seen::epoch(jiffies, rules.epoch_shift));
    let Some(cell) = maps.seen(place.word_idx) else { return Verdict::NoRules };
    let value = place.read(cell.load());
    if value == seen::BANNED && maps.ban_until(key).is_some_and(|until_jiffies| jiffies < until_jiffies) {
        return Verdict::Banned;
    }
    let entry = if seen::is_known(value, epoch) { maps.client(key) } else { None };
    match entry {
        Some(entry) if entry.is_proved() => {
            seen::see(cell, place, epoch);
            proved(key, entry, terms, length_bytes, jiffies, maps, rules)
        }
        entry => unproved(key, entry, terms, jiffies, maps, rules),
    }
}

/// The number of the rule that the packet falls under; 0 where it is none of ours.
#[inline(always)]
fn rule_of<M: Maps>(packet: &Packet, cell: PortCell, maps: &M, rules: &Rules) -> u8 {
    let rule = cell.read(maps.scope_word(cell.word_idx(rules.scope)));
    let is_ours = rule != 0
        && (rules.flags & flags::FORWARDED != 0
            || is_loopback(&packet.destination)
            || maps.is_own(own_key(&packet.destination)));
    if is_ours { rule } else { 0 }
}

/// What the lists decide about a source that the gate lets through to them.
#[inline(always)]
fn listed<M: Maps>(mark: Mark, length_bytes: u32, maps: &M) -> Option<Verdict> {
    let sentence = mark.sentence()?;
    maps.count_listed(mark, length_bytes);
    match sentence {
        Sentence::Allow => Some(Verdict::Allowed),
        Sentence::Deny => Some(Verdict::Denied),
        Sentence::Observe => None,
    }
}

/// 127.0.0.0/8 is this host's as a whole (RFC 1122 section 3.2.1.3); ::1 is among its addresses.
#[inline(always)]
fn is_loopback(address: &Address) -> bool {
    matches!(address, Address::V4([127, ..]))
}

/// A client that finished a handshake: each word it has a limit for is charged, in order, then those of its
/// prefix. One that was just refused again and again costs no clock.
#[inline(always)]
fn proved<M: Maps>(
    key: ClientKey,
    entry: M::Entry,
    terms: Terms,
    length_bytes: u32,
    jiffies: u64,
    maps: &M,
    rules: &Rules,
) -> Verdict {
    if let Some(why) = hot::closed(entry.hot(), jiffies) {
        entry.note_dropped();
        return why;
    }
    let now_ns = maps.now_ns();
    let [packets, bytes, syns, _] = &rules.limits;
    let is_syn = terms.kind as u32 == Class::Syn as u32;
    // They stand on the stack, which has no room for what follows from them.
    let steps = [
        (packets, Word::Packets, terms.weight()),
        (bytes, Word::Bytes, u64::from(length_bytes)),
        (syns, Word::Syns, u64::from(is_syn)),
    ];
    for (limit, word, n) in steps {
        if n == 0 || !limit.is_set() {
            continue;
        }
        match gcra::charge(entry.cell(word), limit, n, now_ns) {
            Charged::Conforming { .. } => {}
            Charged::Over { .. } => {
                let over = match word {
                    Word::Packets => Verdict::Packets,
                    Word::Bytes => Verdict::Bytes,
                    Word::Syns | Word::Requests => Verdict::Syns,
                };
                if let Some(word) = hot::refused(entry.hot(), jiffies, limit, over) {
                    entry.set_hot(word);
                }
                entry.note_dropped();
                return over;
            }
            Charged::Contended => {
                entry.note_dropped();
                return Verdict::Contended;
            }
        }
    }
    if let Some(why) = summed(key, terms, Party::Proved, now_ns, maps, rules) {
        entry.note_dropped();
        return why;
    }
    entry.note_passed();
    Verdict::Conforming
}

/// Everybody else: the class's budget first, where a flood ends without a clock read, then the source's
/// own slot. Beyond the budget a client that was forgotten while its connection idled is known by its socket.
#[inline(always)]
fn unproved<M: Maps>(
    key: ClientKey,
    entry: Option<M::Entry>,
    terms: Terms,
    jiffies: u64,
    maps: &M,
    rules: &Rules,
) -> Verdict {
    let room = maps.with_budget(|budget| {
        budget::roll(budget, rules, jiffies);
        budget::has_room(budget, rules, terms.class_idx())
    });
    if room != Some(true) {
        let refused = match terms.kind {
            Class::Syn => Verdict::BudgetSyn,
            Class::Tcp => Verdict::BudgetTcp,
            Class::Udp | Class::Apart => Verdict::BudgetUdp,
            Class::Echo => Verdict::BudgetEcho,
            Class::Fragment => Verdict::BudgetFragment,
        };
        return beyond(refused, key, terms, jiffies, maps, rules);
    }
    let [packets, _, syns, _] = rules.limits;
    let (word, limit) = front::limit_for(matches!(terms.kind, Class::Syn), packets, syns);
    let n = if word as u64 == Word::Packets as u64 { terms.weight() } else { 1 };
    if limit.is_set() && !conforms(key, entry, word, n, &limit, maps, rules) {
        return Verdict::Front;
    }
    if let Some(refused) = summed(key, terms, Party::Unproved, 0, maps, rules) {
        return beyond(refused, key, terms, jiffies, maps, rules);
    }
    maps.with_budget(|budget| budget::spend(budget, terms.class_idx()));
    Verdict::Unproved
}

/// Why the packet's prefix refuses it, if it does. The unproved's slots know the time themselves.
#[inline(always)]
fn summed<M: Maps>(
    key: ClientKey,
    terms: Terms,
    party: Party,
    now_ns: u64,
    maps: &M,
    rules: &Rules,
) -> Option<Verdict> {
    if rules.flags & flags::AGGREGATES == 0 {
        return None;
    }
    match maps.aggregate(rules, Share { key, port: terms.port, n: terms.weight(), party }, now_ns) {
        Summed::Within => None,
        Summed::Over => Some(Verdict::Aggregate),
        Summed::Contended => Some(Verdict::Contended),
    }
}

/// What others spent is not this packet's fault: it may prove its source, or belong to one that is known by
/// its socket.
#[inline(always)]
fn beyond<M: Maps>(
    refused: Verdict,
    key: ClientKey,
    terms: Terms,
    jiffies: u64,
    maps: &M,
    rules: &Rules,
) -> Verdict {
    match terms.kind {
        Class::Syn => syn_beyond(refused, jiffies, rules.flags | terms.flags(), maps, rules),
        Class::Tcp if maps.returns_cookie() => Verdict::CookieReturned,
        Class::Tcp if maps.is_connected(key) => Verdict::Connected,
        _ => refused,
    }
}

/// Whether an unproved source is within its limit: by its entry, if its debt once earned it one, else by
/// its slot. An entry earned so keeps the limit exact and lends no trust. Few packets get here, so its
/// gate is the budget, not SEEN.
#[inline(always)]
fn conforms<M: Maps>(
    key: ClientKey,
    entry: Option<M::Entry>,
    word: Word,
    n: u64,
    limit: &Limit,
    maps: &M,
    rules: &Rules,
) -> bool {
    let entry = if entry.is_some() { entry } else { maps.client(key) };
    if let Some(entry) = entry {
        return matches!(gcra::charge(entry.cell(word), limit, n, maps.now_ns()), Charged::Conforming { .. });
    }
    let cost_ns = limit.cost_ns(n);
    match maps.front(key, rules, cost_ns, limit.tau_ns) {
        Fronted::Over => false,
        Fronted::Conforming { debt_ns } => {
            if debt_ns >= front::PROMOTED_AT * cost_ns
                && maps.with_budget(|budget| budget::may_promote(budget, rules)) == Some(true)
            {
                maps.promote(key, word, debt_ns);
            }
            true
        }
    }
}

/// A SYN beyond the budget is answered here, so that a newcomer does not depend on the flood: he proves
/// himself by the ACK. Observing changes no frame, and cookies are for listeners of this host.
#[inline(always)]
fn syn_beyond<M: Maps>(refused: Verdict, jiffies: u64, rule_flags: u64, maps: &M, rules: &Rules) -> Verdict {
    const COOKIES: u64 = flags::SYN_COOKIES;
    const WHEN: u64 = COOKIES | flags::OBSERVE | flags::FORWARDED;
    let answers = rule_flags & WHEN == COOKIES
        && maps.with_budget(|budget| budget::may_answer(budget, rules)) == Some(true);
    if !answers {
        return refused;
    }
    if maps.is_due(budget::listener_period(jiffies, rules)) {
        return Verdict::ListenerSyn;
    }
    if maps.answer_syn() { Verdict::CookieSent } else { refused }
}
