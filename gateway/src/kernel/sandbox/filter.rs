//! Lists of system calls become seccomp filters. The kernel remembers which calls a filter always
//! allows, so a call that is let through whatever its arguments does not run it.

use std::collections::BTreeMap;

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

/// A number of this architecture.
pub(super) type Call = i64;

/// What a list says about a call.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Always(Call),
    /// Where the argument at this position is one of these.
    OneOf(Call, u8, Vec<u64>),
    /// Where one of these masks finds none of its bits in the argument at its position.
    Without(Call, Vec<(u8, u64)>),
    /// Where the argument has all of these bits.
    With(Call, u8, u64),
}

/// Whatever is not on the list fails with ENOSYS: as on an older kernel, for which libraries are ready.
pub(super) fn allowing_only(rules: Vec<Rule>) -> Result<BpfProgram, String> {
    let mut by_call: BTreeMap<Call, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let (call, alternatives) = rule.compile()?;
        by_call.entry(call).or_default().extend(alternatives);
    }
    let enosys = SeccompAction::Errno(Errno::ENOSYS as u32);
    compile(by_call, enosys, SeccompAction::Allow)
}

/// Ends the process at any of `calls`.
pub(super) fn killing(calls: &[Call]) -> Result<BpfProgram, String> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    compile(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

/// For every thread of the process, for ever.
pub(super) fn install(filter: &BpfProgram) -> Result<(), String> {
    apply_filter_all_threads(filter).map_err(|error| format!("seccomp: {error}"))
}

fn compile(
    rules: BTreeMap<Call, Vec<SeccompRule>>,
    other: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH);
    let architecture = architecture.map_err(|error| format!("seccomp: {error}"))?;
    let filter = SeccompFilter::new(rules, other, listed, architecture);
    filter.and_then(TryInto::try_into).map_err(|error| format!("seccomp: {error}"))
}

impl Rule {
    /// No alternative: always.
    fn compile(self) -> Result<(Call, Vec<SeccompRule>), String> {
        let masked = |position, mask, value| condition(position, SeccompCmpOp::MaskedEq(mask), value);
        match self {
            Self::Always(call) => Ok((call, Vec::new())),
            Self::OneOf(call, position, values) => {
                let rules = values.into_iter().map(|value| condition(position, SeccompCmpOp::Eq, value));
                Ok((call, rules.collect::<Result<_, _>>()?))
            }
            Self::Without(call, masks) => {
                let rules = masks.into_iter().map(|(position, mask)| masked(position, mask, 0));
                Ok((call, rules.collect::<Result<_, _>>()?))
            }
            Self::With(call, position, mask) => Ok((call, vec![masked(position, mask, mask)?])),
        }
    }
}

/// The low half of the argument: every one that is looked at here is an int in the kernel.
fn condition(position: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, String> {
    SeccompCondition::new(position, SeccompCmpArgLen::Dword, op, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|error| format!("seccomp: {error}"))
}
