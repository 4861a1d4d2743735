//! What the kernel plane needs of the kernel, asked one by one: so that a refusal names what is missing
//! and the release that brought it, instead of a verifier's log. The newest of them makes the minimum;
//! 6.1 is the oldest kernel with long support that has all.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};

use super::load::with_sources;

/// Something that a kernel has or has not.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    pub name: &'static str,
    /// The release that brought it.
    pub since: &'static str,
    /// What Weir does with it.
    pub why: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Program(ProgramType),
    Map(MapType),
    /// In a program of XDP.
    Helper(BpfHelper),
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Yes,
    No,
    /// The kernel answered neither; permission, for the most part.
    Unknown(String),
}

const FEATURES: [Feature; 15] = [
    program("XDP", "4.8", "judges packets before the stack", ProgramType::Xdp),
    program("raw tracepoints", "4.17", "charges requests, by test run (5.10)", ProgramType::RawTracePoint),
    program("sockops", "4.13", "proves clients at their handshake", ProgramType::SockOps),
    map("LRU hash maps", "4.10", "the clients", MapType::LruHash),
    map("prefix tries", "4.11", "allow and deny lists", MapType::LpmTrie),
    map("arrays of maps", "4.12", "other capacities under traffic", MapType::ArrayOfMaps),
    map("per-CPU arrays", "4.6", "budgets and counters", MapType::PerCpuArray),
    map("ring buffers", "5.8", "sampled events", MapType::RingBuf),
    helper("bpf_skc_lookup_tcp", "5.2", "clients that idled", BpfHelper::BPF_FUNC_skc_lookup_tcp),
    helper("bpf_jiffies64", "5.6", "budgets and bans without a clock", BpfHelper::BPF_FUNC_jiffies64),
    helper("bpf_ringbuf_reserve", "5.8", "sampled events", BpfHelper::BPF_FUNC_ringbuf_reserve),
    helper("bpf_xdp_get_buff_len", "5.18", "frames of several buffers", BpfHelper::BPF_FUNC_xdp_get_buff_len),
    helper("bpf_xdp_store_bytes", "5.18", "answers by SYN cookies", BpfHelper::BPF_FUNC_xdp_store_bytes),
    helper("bpf_tcp_raw_gen_syncookie", "6.0", "SYN cookies", BpfHelper::BPF_FUNC_tcp_raw_gen_syncookie_ipv4),
    helper(
        "bpf_tcp_raw_check_syncookie",
        "6.0",
        "SYN cookies",
        BpfHelper::BPF_FUNC_tcp_raw_check_syncookie_ipv4,
    ),
];

const fn program(name: &'static str, since: &'static str, why: &'static str, kind: ProgramType) -> Feature {
    Feature { name, since, why, what: What::Program(kind) }
}

const fn map(name: &'static str, since: &'static str, why: &'static str, kind: MapType) -> Feature {
    Feature { name, since, why, what: What::Map(kind) }
}

const fn helper(name: &'static str, since: &'static str, why: &'static str, helper: BpfHelper) -> Feature {
    Feature { name, since, why, what: What::Helper(helper) }
}

/// Asks the kernel for each feature; wants CAP_BPF and CAP_NET_ADMIN.
pub fn probe() -> Vec<(Feature, Found)> {
    FEATURES.into_iter().map(|feature| (feature, feature.ask())).collect()
}

/// What this kernel lacks, as one sentence; None where it has all that can be asked for.
pub(super) fn lacks() -> Option<String> {
    let missing = |(feature, found): (Feature, Found)| {
        (found == Found::No).then(|| format!("{} (Linux {})", feature.name, feature.since))
    };
    let missing: Vec<_> = probe().into_iter().filter_map(missing).collect();
    (!missing.is_empty()).then(|| format!("it lacks {}", missing.join(", ")))
}

impl Feature {
    fn ask(&self) -> Found {
        let answer = match self.what {
            What::Program(kind) => is_program_supported(kind).map_err(|error| with_sources(&error)),
            What::Map(kind) => is_map_supported(kind).map_err(|error| with_sources(&error)),
            What::Helper(helper) => {
                is_helper_supported(ProgramType::Xdp, helper).map_err(|error| with_sources(&error))
            }
        };
        match answer {
            Ok(true) => Found::Yes,
            Ok(false) => Found::No,
            Err(error) => Found::Unknown(error),
        }
    }
}
