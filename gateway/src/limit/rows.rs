//! The `limits` rows of an API: by credential, by client at this API, or of the API as a whole. Their
//! words stand in one bounded table of the process.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::model::{Api, ClientKey, Decision, LimitKey, LimitName, Rate, Refusal, Standing};
use crate::plane::{Table, charge_table};

/// One API's rows, compiled.
#[derive(Clone, Debug)]
pub struct Rows {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: LimitName,
    key: LimitKey,
    rate: Rate,
}

/// Whom the rows count.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub client: ClientKey,
    /// Name of the credential, unique in its API.
    pub credential: Option<&'a str>,
}

impl Rows {
    /// None where the API has no rows.
    pub fn new(api: &Api) -> Option<Self> {
        let rows = api.limits.iter().enumerate().map(|(idx, row)| {
            let by = match row.key {
                LimitKey::Client => "client",
                LimitKey::Credential => "credential",
                LimitKey::Api => "api",
            };
            let same_before = api.limits.iter().take(idx).filter(|before| before.key == row.key).count();
            let ordinal = if same_before == 0 { String::new() } else { format!("-{}", same_before + 1) };
            let name = LimitName::from(format!("{}.{by}{ordinal}", api.name));
            Row { name, key: row.key, rate: row.rate }
        });
        let rows: Vec<_> = rows.collect();
        (!rows.is_empty()).then_some(Self { rows })
    }

    pub fn names(&self) -> impl Iterator<Item = &LimitName> {
        self.rows.iter().map(|row| &row.name)
    }

    /// Takes one request from every row. Where one refuses, the rest are only looked at, and the row
    /// that refuses for longest answers; rows before it keep their charge.
    pub fn charge(
        &self,
        table: &Table,
        hasher: &RandomState,
        who: Who<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let mut strictest: Option<Refusal> = None;
        for row in &self.rows {
            let Some(key) = row.key_of(hasher, who) else { continue };
            let limit = row.rate.limit();
            let decision = match strictest {
                None => charge_table(table, key, &limit, 1, now_ns),
                Some(_) => row.peek(table, key, now_ns),
            };
            if let Decision::Deny { standing, retry_after_ns } = decision {
                let is_stricter =
                    strictest.as_ref().is_none_or(|other| other.retry_after_ns < retry_after_ns);
                if is_stricter {
                    strictest = Some(row.refusal(standing, retry_after_ns));
                }
            }
        }
        strictest.map_or(Ok(()), Err)
    }
}

impl Row {
    /// Unforeseeable, so that nobody aims at another's word.
    fn key_of(&self, hasher: &RandomState, who: Who<'_>) -> Option<u64> {
        match self.key {
            LimitKey::Client => Some(hasher.hash_one((&self.name, who.client))),
            LimitKey::Credential => {
                who.credential.map(|credential| hasher.hash_one((&self.name, credential)))
            }
            LimitKey::Api => Some(hasher.hash_one(&self.name)),
        }
    }

    fn peek(&self, table: &Table, key: u64, now_ns: u64) -> Decision {
        let limit = self.rate.limit();
        let debt_ns = table.read(key).map_or(0, |tat_ns| tat_ns.saturating_sub(now_ns));
        match limit.wait_ns(debt_ns, 1) {
            Some(0) => Decision::Allow(Standing { debt_ns }),
            wait => Decision::Deny {
                standing: Standing { debt_ns },
                retry_after_ns: wait.unwrap_or(limit.tau_ns),
            },
        }
    }

    fn refusal(&self, standing: Standing, retry_after_ns: u64) -> Refusal {
        Refusal {
            name: Arc::clone(&self.name),
            limit: self.rate.limit(),
            burst: self.rate.burst(),
            standing,
            retry_after_ns,
            shed: false,
        }
    }
}
