//! `basic = { file, keep }`, and the file's rows `[[user]]`.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use argon2::password_hash::PasswordHash;
use serde::Deserialize;
use toml::Spanned;

use crate::config::Errors;
use crate::config::compile::Compiler;
use crate::config::error::{Findings, from_toml};
use crate::config::keys::{self, Known, Who};
use crate::config::raw::{Any, Fields, Flag};
use crate::model::{AuthBounds, BasicAuth, UserRow};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub file: Spanned<String>,
    pub keep: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    #[serde(default)]
    pub user: Vec<User>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: Spanned<String>,
    pub argon2id: Spanned<String>,
    #[serde(default)]
    pub policies: Vec<Spanned<String>>,
    pub expires: Any,
    #[serde(default)]
    pub metadata: Fields,
    pub disabled: Flag,
}

/// Rounds and lanes beyond which a check would take seconds.
const ROUNDS_MAX: u32 = 16;
const LANES_MAX: u32 = 4;
/// OWASP's choice for argon2id; salt and output of nobody's password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: &Raw) -> Option<BasicAuth> {
    let rows = super::rows_of(compiler, &raw.file, users)?;
    let nobody = rows.first().map_or(NOBODY.into(), |row| nobody_like(&row.phc));
    Some(BasicAuth { rows, nobody, keeps: raw.keep.as_ref().is_some_and(|keep| *keep.get_ref()) })
}

fn users(text: &str, file: &Path, known: &Known<'_>) -> Result<Vec<UserRow>, Errors> {
    let raw: Users = toml::from_str(text).map_err(|error| from_toml(text, file, &error))?;
    let mut findings = Findings::new(text, file);
    keys::check_length(&mut findings, &raw.user, known);
    let mut names = HashSet::new();
    let mut rows = Vec::new();
    for user in &raw.user {
        let User { name, policies, expires, metadata, disabled, argon2id } = user;
        if name.get_ref().contains(':') {
            findings.at(name.span(), "a name has no colon: it would end there (RFC 7617 section 2)");
        }
        if let Err(message) = check(argon2id.get_ref()) {
            findings.at(argon2id.span(), message);
        }
        let who = Who { name, policies, expires, metadata, disabled };
        let holder = keys::holder(&mut findings, &who, &mut names, known);
        rows.push(UserRow { holder, phc: argon2id.get_ref().as_str().into() });
    }
    findings.finish()?;
    Ok(rows)
}

/// A hash that a thread can check within its bounds.
fn check(phc: &str) -> Result<(), String> {
    let form = "`argon2id` is a hash as `weir keys password` prints it: $argon2id$v=19$m=..,t=..,p=..$..";
    let hash = PasswordHash::new(phc).map_err(|_| form.to_owned())?;
    if hash.algorithm != argon2::ARGON2ID_IDENT || hash.hash.is_none() || hash.salt.is_none() {
        return Err(form.to_owned());
    }
    let params = argon2::Params::try_from(&hash).map_err(|_| form.to_owned())?;
    let memory_kib_max = u32::try_from(AuthBounds::PASSWORD_BYTES >> 10).unwrap_or(u32::MAX);
    if params.m_cost() > memory_kib_max || params.t_cost() > ROUNDS_MAX || params.p_cost() > LANES_MAX {
        return Err(format!(
            "m is at most {memory_kib_max} (KiB), t at most {ROUNDS_MAX}, p at most {LANES_MAX}: a check must end soon"
        ));
    }
    Ok(())
}

/// As slow as `phc`, and no password's.
fn nobody_like(phc: &str) -> Arc<str> {
    let cost = phc.split('$').nth(3).unwrap_or("m=19456,t=2,p=1");
    NOBODY.replace("m=19456,t=2,p=1", cost).into()
}
