//! For how long a fetched set is fresh: what its issuer says (RFC 9111), within what the operator allows.

use std::time::Duration;

/// A set is not fetched more often because its issuer wishes so: many say `no-cache` of what rarely changes.
const LEAST: Duration = Duration::from_secs(60);

/// What Cache-Control says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub max_age: Option<Duration>,
    /// `no-store`, `no-cache`, `max-age=0`.
    pub none: bool,
}

impl Said {
    /// Lines of Cache-Control, and Age.
    pub fn of<'a>(lines: impl Iterator<Item = &'a str>, age: Option<&str>) -> Self {
        let mut said = Self::default();
        for directive in lines.flat_map(|line| line.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => said.none = true,
                "max-age" => {
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                    said.max_age = Some(Duration::from_secs(seconds));
                }
                _ => {}
            }
        }
        let age = age.and_then(|age| age.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
        said.max_age = said.max_age.map(|max_age| max_age.saturating_sub(age));
        said
    }

    /// At most `most`, the operator's.
    pub fn fresh_for(self, most: Duration) -> Duration {
        let least = LEAST.min(most);
        match (self.none, self.max_age) {
            (true, _) => least,
            (false, Some(max_age)) => max_age.clamp(least, most),
            (false, None) => most,
        }
    }
}

/// When the next fetch begins: ahead of the end, by 10 to 30 % of the time, so that nodes that started
/// together do not ask together.
pub fn refresh_after(fresh_for: Duration, seed: u64) -> Duration {
    let percent = 70 + u32::try_from(seed % 21).unwrap_or(0);
    fresh_for * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_heard_within_bounds() {
        for (lines, age, seconds) in [
            (&[][..], None, 240),
            (&["public, max-age=120"], None, 120),
            (&["max-age=120"], Some("30"), 90),
            (&["max-age=5"], None, 60),
            (&["max-age=99999999999999999999999"], None, 60),
            (&["max-age=86400"], None, 240),
            (&["no-store"], None, 60),
            (&["max-age=200", "no-cache"], None, 60),
            (&["Max-Age=\"100\""], None, 100),
            (&["nonsense", "=,=,"], None, 240),
        ] {
            let said = Said::of(lines.iter().copied(), age);
            let fresh = said.fresh_for(Duration::from_secs(240));
            assert_eq!(fresh, Duration::from_secs(seconds), "{lines:?}");
        }
        let least = Said::of(["no-store"].into_iter(), None).fresh_for(Duration::from_secs(20));
        assert_eq!(least, Duration::from_secs(20), "the operator's word is the last");
        for seed in 0..100 {
            let after = refresh_after(Duration::from_secs(100), seed);
            assert!((70..=90).contains(&after.as_secs()), "{after:?}");
        }
    }
}
