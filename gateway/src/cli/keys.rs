//! `weir keys`: rows of a file of API keys. The file is changed at once and whole; a running weir that
//! follows it has the change within a second. A secret is made here, shown once and kept nowhere.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, SaltString};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use clap::{Args, Subcommand};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use super::print::say;
use crate::config::{self, KeyFile, KeyFileError, KeyLine};
use crate::run::Exit;

#[derive(Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key and print it, once
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// A policy that it has; may be repeated
        #[arg(long, value_name = "NAME")]
        policy: Vec<String>,
        /// A moment, as in 2027-01-31T12:00:00Z, or a time from now, as in 90d
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        /// A line of metadata; may be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        metadata: Vec<String>,
        #[command(flatten)]
        at: At,
    },
    /// Names, policies and ends
    List {
        #[command(flatten)]
        at: At,
    },
    /// One of them
    Show {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Take a key out of the file
    Rm {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        at: At,
    },
    /// Give a name another key and print it, once; the one before it holds for a while
    Rotate {
        #[arg(value_name = "NAME")]
        name: String,
        /// How long both hold
        #[arg(long, value_name = "TIME", default_value = "24h")]
        grace: String,
        #[command(flatten)]
        at: At,
    },
    /// Hash the password that comes on standard input, for `argon2id` in a file of users
    Password,
}

/// Which file.
#[derive(Args)]
struct At {
    /// The file of keys
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Configuration that names it
    #[arg(long, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// 256 random bits.
const SECRET_BYTES: usize = 32;
/// So that scanners of repositories know one when they see it.
const PREFIX: &str = "weir_";

pub(super) fn keys(args: Keys) -> Result<(), (Exit, String)> {
    match args.action {
        Action::Create { name, policy, expires, metadata, at } => {
            let metadata = metadata.iter().map(|pair| split(pair)).collect::<Result<_, _>>()?;
            let expires = expires.as_deref().map(moment).transpose()?;
            let (key, sha256) = secret()?;
            let line = KeyLine {
                name,
                sha256,
                policies: policy,
                expires,
                metadata,
                disabled: false,
                previous_until: None,
            };
            let file = at.change(|keys, file| keys.insert(&line, file))?;
            at.made(&line.name, &key, &line.sha256, &file);
        }
        Action::Rotate { name, grace, at } => {
            let until = moment(&grace)?;
            let (key, sha256) = secret()?;
            let file = at.change(|keys, file| keys.rotate(&name, &sha256, &until, file))?;
            at.made(&name, &key, &sha256, &file);
        }
        Action::Rm { name, at } => {
            let file = at.change(|keys, file| keys.remove(&name, file))?;
            at.say(
                &serde_json::json!({ "removed": name, "file": file }),
                format!("{name} is no key any more"),
            );
        }
        Action::List { at } => {
            let (keys, file) = at.read()?;
            let lines = keys.lines(&file).map_err(wrong)?;
            let text: Vec<_> = lines.iter().map(text).collect();
            at.say(&serde_json::json!({ "keys": lines, "file": file }), text.join("\n"));
        }
        Action::Show { name, at } => {
            let (keys, file) = at.read()?;
            let line = keys.line(&name, &file).map_err(wrong)?;
            at.say(&serde_json::json!(line), text(&line));
        }
        Action::Password => drop(say(password()?)),
    }
    Ok(())
}

impl At {
    fn path(&self) -> Result<PathBuf, (Exit, String)> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let files = config::key_files(&self.config).map_err(|errors| (Exit::Wrong, errors.to_string()))?;
        match files.as_slice() {
            [file] => Ok(file.clone()),
            [] => Err((Exit::Wrong, format!("{} names no file of keys: say --file", self.config.display()))),
            several => {
                let names: Vec<_> = several.iter().map(|file| file.display().to_string()).collect();
                Err((Exit::Wrong, format!("say --file: there are {}", names.join(", "))))
            }
        }
    }

    fn read(&self) -> Result<(KeyFile, PathBuf), (Exit, String)> {
        let path = self.path()?;
        let text = std::fs::read_to_string(&path).map_err(|error| system(&path, &error))?;
        Ok((KeyFile::parse(text, &path).map_err(wrong)?, path))
    }

    /// Reads, edits and replaces the file; who else changes it waits.
    fn change(
        &self,
        edit: impl FnOnce(&mut KeyFile, &Path) -> Result<(), KeyFileError>,
    ) -> Result<PathBuf, (Exit, String)> {
        // A link stays a link: what it leads to is replaced.
        let named = self.path()?;
        let path = named.canonicalize().unwrap_or(named);
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let told = |error: &std::io::Error| system(&path, error);
        let held = File::open(folder).map_err(|error| told(&error))?;
        let _alone = Flock::lock(held, FlockArg::LockExclusive)
            .map_err(|(_, errno)| told(&std::io::Error::from(errno)))?;
        let (text, mode) = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mode = std::fs::metadata(&path).map_err(|error| told(&error))?.permissions().mode();
                (text, mode & 0o777)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (String::new(), 0o600),
            Err(error) => return Err(told(&error)),
        };
        let mut keys = KeyFile::parse(text, &path).map_err(wrong)?;
        edit(&mut keys, &path).map_err(wrong)?;
        replace(&path, folder, keys.text(), mode).map_err(|error| told(&error))?;
        Ok(path)
    }

    fn made(&self, name: &str, key: &str, sha256: &str, file: &Path) {
        let json = serde_json::json!({ "name": name, "key": key, "sha256": sha256, "file": file });
        self.say(&json, format!("{key}\n({name}; it is not kept and not shown again)"));
    }

    fn say(&self, json: &serde_json::Value, text: String) {
        // Nobody may be reading.
        let _is_read = say(if self.json { json.to_string() } else { text });
    }
}

/// Written beside it, then put in its place.
fn replace(path: &Path, folder: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.new"));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&beside)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// A key and its hash.
fn secret() -> Result<(String, String), (Exit, String)> {
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| (Exit::System, "no random numbers".to_owned()))?;
    let key = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes));
    let sha256 = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((key, sha256))
}

fn password() -> Result<String, (Exit, String)> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| (Exit::System, error.to_string()))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    if password.is_empty() {
        return Err((Exit::Wrong, "a password is read from standard input, and nothing came".to_owned()));
    }
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| (Exit::System, "no random numbers".to_owned()))?;
    let hashed = SaltString::encode_b64(&bytes).and_then(|salt| {
        Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
    });
    hashed.map_err(|error| (Exit::System, error.to_string()))
}

/// RFC 3339 in UTC, of a moment or of a time from now.
fn moment(text: &str) -> Result<String, (Exit, String)> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.to_string());
    }
    let length = config::parse_duration(text).map_err(|error| {
        (Exit::Wrong, format!("`{text}` is no moment, as in 2027-01-31T12:00:00Z, and {error}"))
    })?;
    let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::now().as_second();
    let end = jiff::Timestamp::from_second(now.saturating_add(seconds));
    end.map(|end| end.to_string()).map_err(|error| (Exit::Wrong, error.to_string()))
}

fn split(pair: &str) -> Result<(String, String), (Exit, String)> {
    let (name, value) =
        pair.split_once('=').ok_or_else(|| (Exit::Wrong, format!("`{pair}` is not NAME=VALUE")))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn text(line: &KeyLine) -> String {
    let mut text = line.name.clone();
    if !line.policies.is_empty() {
        text.push_str(&format!("  policies {}", line.policies.join(", ")));
    }
    if let Some(expires) = &line.expires {
        text.push_str(&format!("  until {expires}"));
    }
    if let Some(until) = &line.previous_until {
        text.push_str(&format!("  previous key until {until}"));
    }
    if line.disabled {
        text.push_str("  disabled");
    }
    text
}

fn wrong(error: KeyFileError) -> (Exit, String) {
    (Exit::Wrong, error.to_string())
}

fn system(path: &Path, error: &std::io::Error) -> (Exit, String) {
    (Exit::System, format!("{}: {error}", path.display()))
}
