//! Commands that ask a running weir, and those that work on its pins.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Ask, BansAction, Explain, JwksAction, ListAction, Pins, Surroundings, Watch, XdpAction, default_pin_dir,
    print,
};
use crate::config;
use crate::control::{
    AskError, BanView, Explained, KeySetView, LOAD_BYTES_MAX, ListName, ListView, ListsView, News,
    ReloadReport, Request, Status, ask as ask_weir, ask_with, follow,
};
use crate::kernel::{Found, detach, is_dropping, probe, survey};
use crate::plane::PinDir;
use crate::run::Exit;

/// What a command ends with when it does not succeed.
pub(super) type Failed = (Exit, String);

pub(super) fn status(ask: &Ask, surroundings: &Surroundings) -> Result<(), Failed> {
    answered::<Status>(ask, surroundings, &Request::Status, print::status)
}

pub(super) fn reload(ask: &Ask, surroundings: &Surroundings) -> Result<(), Failed> {
    let request = Request::Reload { sessions: surroundings.sessions() };
    answered::<ReloadReport>(ask, surroundings, &request, print::reloaded)
}

pub(super) fn explain(args: &Explain, surroundings: &Surroundings) -> Result<(), Failed> {
    let request = Request::Explain { address: args.address.clone() };
    answered::<Explained>(&args.ask, surroundings, &request, print::explained)
}

pub(super) fn bans(action: BansAction, surroundings: &Surroundings) -> Result<(), Failed> {
    match action {
        BansAction::List { ask } => {
            answered::<Vec<BanView>>(&ask, surroundings, &Request::BansList, |rows| print::bans(rows))
        }
        BansAction::Add { address, length, ask } => {
            let seconds = length.as_deref().map(whole_seconds).transpose()?;
            let request = Request::BansAdd { address, seconds };
            answered::<BanView>(&ask, surroundings, &request, |row| print::bans(std::slice::from_ref(row)))
        }
        BansAction::Rm { address, grace, ask } => {
            // A grace of nothing is the default, and no time that a configuration may have.
            let grace_seconds = if grace == "0s" { 0 } else { whole_seconds(&grace)? };
            let request = Request::BansRemove { address: address.clone(), grace_seconds };
            answered::<bool>(&ask, surroundings, &request, |held| {
                let what = if *held { "ban lifted" } else { "was not banned" };
                format!("{address}: {what}, debt forgiven, level reset")
            })
        }
    }
}

pub(super) fn lists(list: ListName, action: ListAction, surroundings: &Surroundings) -> Result<(), Failed> {
    match action {
        ListAction::List { ask } => {
            answered::<ListsView>(&ask, surroundings, &Request::ListShow { list }, print::lists)
        }
        ListAction::Add { prefix, ask } => {
            let request = Request::ListAdd { list, prefix };
            answered::<ListView>(&ask, surroundings, &request, print::changed_list)
        }
        ListAction::Rm { prefix, ask } => {
            let request = Request::ListRemove { list, prefix };
            answered::<ListView>(&ask, surroundings, &request, print::changed_list)
        }
        ListAction::Load { file, ask } => {
            let (source, text) = read_list(file)?;
            let request = Request::ListLoad { list, source, bytes: text.len() as u64 };
            let socket = socket(&ask, surroundings)?;
            let answer = ask_with(&socket, &request, &text).map_err(failed)?;
            told::<ListView>(&ask, answer, print::changed_list)
        }
    }
}

pub(super) fn jwks(action: JwksAction, surroundings: &Surroundings) -> Result<(), Failed> {
    let (request, ask) = match action {
        JwksAction::Status { ask } => (Request::JwksStatus, ask),
        JwksAction::Refresh { url, ask } => (Request::JwksRefresh { url }, ask),
    };
    answered::<Vec<KeySetView>>(&ask, surroundings, &request, |rows| print::key_sets(rows))
}

/// What errors name, and the bytes.
fn read_list(file: PathBuf) -> Result<(String, Vec<u8>), Failed> {
    let mut text = Vec::new();
    let is_stdin = file.as_os_str() == "-";
    let name = if is_stdin { "stdin".to_owned() } else { file.display().to_string() };
    let most = LOAD_BYTES_MAX + 1;
    let read = if is_stdin {
        std::io::stdin().take(most).read_to_end(&mut text)
    } else {
        File::open(&file).and_then(|opened| opened.take(most).read_to_end(&mut text))
    };
    read.map_err(|error| (Exit::Wrong, format!("{name}: cannot be read: {error}")))?;
    if text.len() as u64 > LOAD_BYTES_MAX {
        return Err((Exit::Wrong, format!("{name}: longer than {LOAD_BYTES_MAX} bytes")));
    }
    Ok((name, text))
}

pub(super) fn watch(args: &Watch, surroundings: &Surroundings) -> Result<(), Failed> {
    let socket = socket(&args.ask, surroundings)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let json = args.ask.json;
    let mut nonsense = None;
    let followed = follow(&socket, |line| {
        let is_read = if json {
            print::say(line)
        } else {
            match serde_json::from_value::<News>(line) {
                Ok(news) => print::say(print::news(&news)),
                Err(error) => {
                    nonsense = Some(error);
                    false
                }
            }
        };
        left -= 1;
        left > 0 && is_read
    });
    followed.map_err(failed)?;
    nonsense.map_or(Ok(()), |error| Err(failed(AskError::Nonsense(error))))
}

pub(super) fn xdp(action: XdpAction, surroundings: &Surroundings) -> Result<(), Failed> {
    match action {
        XdpAction::Status { pins } => {
            let folder = pin_dir(&pins, surroundings)?;
            // A file that is wrong takes nothing from what the pins say.
            let config =
                pins.config.as_ref().and_then(|file| config::load(file, &surroundings.default_socket).ok());
            let listeners =
                config.iter().flat_map(|config| &config.proxy.listeners).map(|listener| listener.address);
            let listeners: Vec<_> = listeners.collect();
            let wanted = config.as_ref().map(|config| (&config.kernel.interfaces, listeners.as_slice()));
            let rows =
                survey(&PinDir::new(&folder), wanted).map_err(|error| (Exit::System, error.to_string()))?;
            print::say(print::xdp(&rows, is_dropping(&PinDir::new(&folder)), pins.json));
            Ok(())
        }
        XdpAction::Probe { json } => {
            let rows = probe();
            print::say(print::probed(&rows, json));
            match rows.iter().filter(|(_, found)| *found != Found::Yes).count() {
                0 => Ok(()),
                n => Err((Exit::System, format!("{n} of {} are missing or cannot be asked for", rows.len()))),
            }
        }
        XdpAction::Detach { interfaces, pins } => {
            let folder = pin_dir(&pins, surroundings)?;
            let detached = detach(&folder, &interfaces).map_err(|error| (Exit::System, error.to_string()))?;
            print::say(print::detached(&detached, pins.json));
            Ok(())
        }
    }
}

fn pin_dir(pins: &Pins, surroundings: &Surroundings) -> Result<PathBuf, Failed> {
    match (&pins.pin_dir, &pins.config) {
        (Some(folder), _) => Ok(folder.clone()),
        (None, Some(file)) => {
            let found = config::whereabouts(file, &surroundings.default_socket);
            found.map(|places| places.pin_dir).map_err(|errors| (Exit::Wrong, errors.to_string()))
        }
        (None, None) => Ok(default_pin_dir()),
    }
}

/// Asks and prints: the answer's own JSON, or a text for people.
fn answered<T: DeserializeOwned + Serialize>(
    ask: &Ask,
    surroundings: &Surroundings,
    request: &Request,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failed> {
    let socket = socket(ask, surroundings)?;
    let answer = ask_weir(&socket, request).map_err(failed)?;
    told(ask, answer, text)
}

pub(super) fn told<T: DeserializeOwned + Serialize>(
    ask: &Ask,
    answer: serde_json::Value,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failed> {
    if ask.json {
        print::say(format_args!("{answer:#}"));
        return Ok(());
    }
    let answer = serde_json::from_value(answer).map_err(|error| failed(AskError::Nonsense(error)))?;
    print::say(text(&answer));
    Ok(())
}

pub(super) fn socket(ask: &Ask, surroundings: &Surroundings) -> Result<PathBuf, Failed> {
    match (&ask.socket, &ask.config) {
        (Some(path), _) => Ok(path.clone()),
        (None, Some(file)) => {
            let found = config::whereabouts(file, &surroundings.default_socket);
            found.map(|places| places.socket).map_err(|errors| (Exit::Wrong, errors.to_string()))
        }
        (None, None) => Ok(surroundings.default_socket.clone()),
    }
}

pub(super) fn failed(error: AskError) -> Failed {
    let exit = match error {
        AskError::Refused(_) => Exit::Wrong,
        AskError::Unreachable { .. } | AskError::Broken(_) | AskError::Nonsense(_) => Exit::System,
    };
    (exit, error.to_string())
}

pub(super) fn whole_seconds(text: &str) -> Result<u64, Failed> {
    let time: Duration = config::parse_duration(text).map_err(|error| (Exit::Wrong, error.to_string()))?;
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    if seconds == 0 { Err((Exit::Wrong, "a time of 0 does nothing".to_owned())) } else { Ok(seconds) }
}
