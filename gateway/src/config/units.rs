//! Texts with units: times "5s", sizes "64KiB", rates "100/s" and "20MiB/s".

use std::time::Duration;

/// Why a text is no such quantity; says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("`{0}` is no time: write a number and ms, s, m (or min), h or d, as in \"5s\"")]
    Duration(String),
    #[error("`{0}` is no size: write a number and B, KiB, MiB or GiB, as in \"64KiB\"")]
    Size(String),
    #[error("`{0}` is no rate: write a number, / and s, min or h, as in \"100/s\"")]
    Rate(String),
    #[error("`{0}` is no byte rate: write a size, / and s, min or h, as in \"20MiB/s\"")]
    ByteRate(String),
}

const DURATIONS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const PERIODS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("m", 60), ("h", 3_600)];

/// A time.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    quantity(text, &DURATIONS).map(Duration::from_millis).ok_or_else(|| UnitError::Duration(text.to_owned()))
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    quantity(text, &SIZES).ok_or_else(|| UnitError::Size(text.to_owned()))
}

/// Units and their period.
pub(super) fn rate(text: &str) -> Result<(u64, Duration), UnitError> {
    split_rate(text, number).ok_or_else(|| UnitError::Rate(text.to_owned()))
}

/// Bytes and their period.
pub(super) fn byte_rate(text: &str) -> Result<(u64, Duration), UnitError> {
    split_rate(text, |amount| quantity(amount, &SIZES)).ok_or_else(|| UnitError::ByteRate(text.to_owned()))
}

fn split_rate(text: &str, amount: impl Fn(&str) -> Option<u64>) -> Option<(u64, Duration)> {
    let (left, period) = text.split_once('/')?;
    let (_, seconds) = PERIODS.iter().find(|(name, _)| *name == period.trim())?;
    Some((amount(left.trim())?, Duration::from_secs(*seconds)))
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (amount, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number(amount)?.checked_mul(*factor)
}

fn number(text: &str) -> Option<u64> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.replace('_', "").parse().ok())?
}
