//! `weir apply`: a configuration on trial, kept or taken back. The file is written here, by who typed the
//! command: the gateway may be unable to, and until then nothing on the disk has changed.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::operate::{Failed, failed, socket, whole_seconds};
use super::{Apply, Surroundings, print};
use crate::control::{Applied, AskError, Pending, ReloadReport, Request, ask};
use crate::run::Exit;

/// For a configuration that is not on trial: the time to write it down.
const AT_ONCE_SECONDS: u64 = 60;
/// Larger ones are no configuration.
const CONFIG_BYTES: u64 = 512 * 1_024;

pub(super) fn apply(args: &Apply, surroundings: &Surroundings) -> Result<(), Failed> {
    let socket = socket(&args.ask, surroundings)?;
    let applied = match &args.file {
        Some(file) => {
            let confirm_seconds = args.confirm.as_deref().map(whole_seconds).transpose()?;
            let request = Request::Apply {
                text: read(file).map_err(|error| (Exit::Wrong, format!("{}: {error}", file.display())))?,
                name: file.display().to_string(),
                confirm_seconds: confirm_seconds.unwrap_or(AT_ONCE_SECONDS),
                sessions: surroundings.sessions(),
            };
            let applied: Applied = answer(&socket, &request)?;
            if confirm_seconds.is_some() { applied } else { keep(&socket, surroundings)? }
        }
        None if args.keep => keep(&socket, surroundings)?,
        None => {
            let report: ReloadReport = answer(&socket, &Request::Revert)?;
            print::say(if args.ask.json {
                as_json(&report)
            } else {
                "the old configuration holds again".to_owned()
            });
            return Ok(());
        }
    };
    print::say(if args.ask.json { as_json(&applied) } else { print::applied(&applied) });
    Ok(())
}

/// Writes what is on trial to the file, then has the file read: from there on it holds for good.
fn keep(socket: &Path, surroundings: &Surroundings) -> Result<Applied, Failed> {
    let pending: Pending = answer(socket, &Request::Pending)?;
    replace(&pending.file, &pending.text).map_err(|error| {
        let file = pending.file.display();
        (Exit::System, format!("{file} cannot be written, the old configuration comes back: {error}"))
    })?;
    let report: ReloadReport = answer(socket, &Request::Reload { sessions: surroundings.sessions() })?;
    Ok(Applied {
        changed: report.changed,
        waits_for_restart: report.waits_for_restart,
        reverts_in_seconds: None,
    })
}

fn answer<T: serde::de::DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, Failed> {
    let answer = ask(socket, request).map_err(failed)?;
    serde_json::from_value(answer).map_err(|error| failed(AskError::Nonsense(error)))
}

fn as_json(answer: &impl serde::Serialize) -> String {
    serde_json::to_value(answer).map_or_else(|error| error.to_string(), |value| format!("{value:#}"))
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(CONFIG_BYTES + 1).read_to_string(&mut text)?
    } else {
        File::open(file)?.take(CONFIG_BYTES + 1).read_to_string(&mut text)?
    };
    if read as u64 > CONFIG_BYTES {
        return Err(io::Error::other(format!("a configuration is at most {CONFIG_BYTES} bytes")));
    }
    Ok(text)
}

/// Puts `text` in the place of the file at once: after a crash it is the old one or the new one, whole.
/// Owner and mode stay as they were; of a symbolic link it is the target that changes.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let old = fs::metadata(&file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let fresh = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_new(&fresh, text, &old).and_then(|()| fs::rename(&fresh, &file));
    if let Err(error) = written {
        remove(&fresh);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, text: &str, like: &fs::Metadata) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

fn remove(path: &PathBuf) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "nothing was written beside the configuration file");
    }
}
