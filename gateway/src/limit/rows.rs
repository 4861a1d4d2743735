//! Limits beside the client's: the `limits` rows of an API and the rates of policies. By credential,
//! subject or claim, by client at this API, or of the API as a whole. Their words stand in one bounded
//! table of the process.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::{Charged, RowKeys, RowWords};
use crate::model::{Api, ClientKey, Decision, LimitKey, LimitName, Policy, Rate, Refusal, Standing};
use crate::plane::{Table, charge_table};

/// One API's rows, compiled.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    rows: Vec<Row>,
}

/// One limit.
#[derive(Clone, Debug)]
pub struct Row {
    name: LimitName,
    key: LimitKey,
    rate: Rate,
}

/// Whom the rows count.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub client: ClientKey,
    /// None where nobody was asked for a credential.
    pub identity: Option<Counted<'a>>,
}

/// An identity as limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Unique in its API.
    pub credential: &'a str,
    pub subject: &'a str,
    pub claims: &'a [(Arc<str>, Arc<str>)],
}

impl Rows {
    /// None where the API has no rows.
    pub fn new(api: &Api) -> Option<Self> {
        let rows = api.limits.iter().enumerate().map(|(idx, row)| {
            let by = match &row.key {
                LimitKey::Client => "client",
                LimitKey::Credential => "credential",
                LimitKey::Subject => "subject",
                LimitKey::Claim(name) => name,
                LimitKey::Api => "api",
            };
            let same_before = api.limits.iter().take(idx).filter(|before| before.key == row.key).count();
            let ordinal = if same_before == 0 { String::new() } else { format!("-{}", same_before + 1) };
            let name = LimitName::from(format!("{}.{by}{ordinal}", api.name));
            Row { name, key: row.key.clone(), rate: row.rate }
        });
        let rows: Vec<_> = rows.collect();
        (!rows.is_empty()).then_some(Self { rows })
    }

    pub fn names(&self) -> impl Iterator<Item = &LimitName> {
        self.rows.iter().map(|row| &row.name)
    }

    /// Takes one request from every row, and from each of `more`. Where one refuses, the rest are only
    /// looked at, and the row that refuses for longest answers; rows before it keep their charge.
    pub fn charge<'a>(
        &'a self,
        more: impl Iterator<Item = &'a Row>,
        words: &RowWords,
        who: Who<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let mut strictest: Option<Refusal> = None;
        for row in self.rows.iter().chain(more) {
            let Some(key) = row.key_of(&words.keys, who) else { continue };
            let limit = row.rate.limit();
            let decision = match strictest {
                None => {
                    let charge = || charge_table(&words.table, key, &limit, 1, now_ns);
                    let whom = Charged { key, limit: &limit, from_peer: false, now_ns };
                    let ledger = words.ledger.as_ref();
                    ledger.map_or_else(charge, |ledger| ledger.rows.charge(whom, charge))
                }
                Some(_) => row.peek(&words.table, key, now_ns),
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
    /// A policy's rate: of each credential that has it, at all APIs together.
    pub fn of_policy(policy: &Policy) -> Option<Self> {
        let name = LimitName::from(format!("policy.{}", policy.name));
        Some(Self { name, key: LimitKey::Credential, rate: policy.rate? })
    }

    pub fn name(&self) -> &LimitName {
        &self.name
    }

    fn key_of(&self, hasher: &RowKeys, who: Who<'_>) -> Option<u64> {
        let identity = who.identity;
        let credential = || identity.map(|one| hasher.hash_one((&self.name, "credential", one.credential)));
        match &self.key {
            LimitKey::Client => Some(hasher.hash_one((&self.name, who.client))),
            LimitKey::Credential => credential(),
            LimitKey::Subject => identity.map(|one| hasher.hash_one((&self.name, "subject", one.subject))),
            LimitKey::Claim(name) => {
                let claim = identity?.claims.iter().find(|(claim, _)| claim == name);
                match claim {
                    Some((_, value)) => Some(hasher.hash_one((&self.name, "claim", value))),
                    None => credential(),
                }
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
