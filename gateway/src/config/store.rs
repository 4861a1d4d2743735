//! `[store]`: which Redis the nodes share, and how it is spoken to.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::compile::Compiler;
use super::raw::{self, Text};
use super::upstream_tls::upstream_tls;
use crate::store::redis::{Address, Config, Timeouts, Topology, Url, check_tls};

const TAGS_MAX: u64 = 256;
const PREFIX_BYTES_MAX: usize = 64;
const ADDRESSES_MAX: usize = 64;
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// None where something is wrong, which is noted.
pub(super) fn store(compiler: &mut Compiler<'_>, raw: &Spanned<raw::Store>) -> Option<Config> {
    let raw = raw.get_ref();
    let topology = topology(compiler, raw)?;
    let (addresses, is_tls, database) = addresses(compiler, raw, &topology)?;
    let tls = match (&raw.tls, is_tls) {
        (Some(tls), false) => {
            compiler.findings.at(tls.span(), "`tls` is for rediss:// addresses, and there are none");
            None
        }
        (_, false) => None,
        (tls, true) => {
            let wanted = tls.as_ref().map(as_upstream);
            let at = raw.redis.span();
            let tls = upstream_tls(compiler, wanted.as_ref(), true, at.clone())?;
            if let Err(why) = check_tls(&tls) {
                compiler.findings.at(at, format!("TLS cannot be had with these files: {why}"));
            }
            Some(tls)
        }
    };
    for sentinel in [&raw.sentinel_user, &raw.sentinel_password_file].into_iter().flatten() {
        if !matches!(topology, Topology::Sentinel(_)) {
            compiler.findings.at(sentinel.span(), "there are no Sentinels: `sentinel` names their master");
        }
    }
    let text = |text: &Text| text.as_ref().map(|text| text.get_ref().clone());
    Some(Config {
        topology,
        addresses,
        tls,
        database,
        user: text(&raw.user),
        password_file: password_file(compiler, &raw.password_file, raw.user.as_ref()),
        sentinel_user: text(&raw.sentinel_user),
        sentinel_password_file: password_file(
            compiler,
            &raw.sentinel_password_file,
            raw.sentinel_user.as_ref(),
        ),
        prefix: prefix(compiler, &raw.prefix),
        tags: tags(compiler, raw),
        timeouts: timeouts(compiler, raw.timeouts.as_ref()),
    })
}

fn topology(compiler: &mut Compiler<'_>, raw: &raw::Store) -> Option<Topology> {
    let is_cluster = raw.cluster.as_ref().filter(|cluster| *cluster.get_ref());
    match (is_cluster, &raw.sentinel) {
        (Some(_), Some(name)) => {
            compiler
                .findings
                .at(name.span(), "`sentinel` or `cluster`, not both: a Cluster fails over by itself");
            None
        }
        (Some(_), None) => Some(Topology::Cluster),
        (None, Some(name)) if name.get_ref().is_empty() => {
            compiler.findings.at(name.span(), "`sentinel` is the master's name, as in \"mymaster\"");
            None
        }
        (None, Some(name)) => Some(Topology::Sentinel(name.get_ref().clone())),
        (None, None) => Some(Topology::Standalone),
    }
}

/// The hosts, whether it is by TLS, and the database.
fn addresses(
    compiler: &mut Compiler<'_>,
    raw: &raw::Store,
    topology: &Topology,
) -> Option<(Vec<Address>, bool, u16)> {
    let port = match topology {
        Topology::Sentinel(_) => Config::SENTINEL_PORT,
        Topology::Standalone | Topology::Cluster => Config::PORT,
    };
    let mut urls: Vec<Url> = Vec::new();
    for text in raw.redis.get_ref() {
        let url = match Url::parse(text.get_ref(), port) {
            Ok(url) => url,
            Err(error) => {
                // Not the text: what is wrong with it may be that it holds a password.
                compiler.findings.at(text.span(), error.to_string());
                continue;
            }
        };
        let mut wrong = |message: &str| compiler.findings.at(text.span(), message);
        if urls.iter().any(|other| other.address == url.address) {
            wrong("it stands twice");
        }
        if urls.first().is_some_and(|first| (first.is_tls, first.database) != (url.is_tls, url.database)) {
            wrong("scheme and database are the same for all");
        }
        if *topology == Topology::Cluster && url.database != 0 {
            wrong("a Cluster has no databases but 0");
        }
        urls.push(url);
    }
    let span = raw.redis.span();
    let message = match (raw.redis.get_ref().len(), topology) {
        (0, _) => "name at least one address",
        (2.., Topology::Standalone) => {
            "more than one address: say `cluster = true`, or `sentinel = \"mymaster\"`"
        }
        (many, _) if many > ADDRESSES_MAX => "64 addresses are enough: a few seeds find the rest",
        _ => "",
    };
    if !message.is_empty() {
        compiler.findings.at(span, message);
        return None;
    }
    let first = urls.first()?;
    let (is_tls, database) = (first.is_tls, first.database);
    Some((urls.into_iter().map(|url| url.address).collect(), is_tls, database))
}

fn as_upstream(raw: &Spanned<raw::StoreTls>) -> Spanned<raw::UpstreamTls> {
    let raw::StoreTls { ca, cert, key, server_name } = raw.get_ref();
    let tls = raw::UpstreamTls {
        ca: ca.clone(),
        cert: cert.clone(),
        key: key.clone(),
        server_name: server_name.clone(),
        pins: None,
    };
    Spanned::new(raw.span(), tls)
}

/// It must be there now; what is in it is read for each connection.
fn password_file(compiler: &mut Compiler<'_>, raw: &Text, user: Option<&Spanned<String>>) -> Option<PathBuf> {
    let Some(raw) = raw else {
        if let Some(user) = user {
            compiler.findings.at(user.span(), "a user needs a password, in a file");
        }
        return None;
    };
    let file = compiler.folder.join(raw.get_ref());
    if let Err(error) = std::fs::metadata(&file) {
        compiler.findings.at(raw.span(), format!("{} cannot be read: {error}", file.display()));
    }
    Some(file)
}

fn prefix(compiler: &mut Compiler<'_>, raw: &Text) -> String {
    let Some(raw) = raw else { return Config::DEFAULT_PREFIX.to_owned() };
    let prefix = raw.get_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(is_plain) {
        let message = "`prefix` is letters, digits and - _ . : (braces would choose the slot), up to 64";
        compiler.findings.at(raw.span(), message);
    }
    prefix.clone()
}

fn tags(compiler: &mut Compiler<'_>, raw: &raw::Store) -> u16 {
    let tags = compiler.within(&raw.tags, "tags", 1..=TAGS_MAX);
    tags.and_then(|tags| u16::try_from(tags).ok()).unwrap_or(Config::DEFAULT_TAGS)
}

fn timeouts(compiler: &mut Compiler<'_>, raw: Option<&raw::StoreTimeouts>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(raw) = raw else { return timeouts };
    for (text, field) in [
        (&raw.connect, &mut timeouts.connect),
        (&raw.late, &mut timeouts.late),
        (&raw.give_up, &mut timeouts.give_up),
    ] {
        let Some(text) = text else { continue };
        match compiler.time(text) {
            Some(time) if time > TIMEOUT_MAX => compiler.findings.at(text.span(), "at most 60s"),
            Some(time) => *field = time,
            None => {}
        }
    }
    if let Some(text) = &raw.late
        && timeouts.late >= timeouts.give_up
    {
        compiler.findings.at(text.span(), "`late` comes before `give_up`");
    }
    timeouts
}
