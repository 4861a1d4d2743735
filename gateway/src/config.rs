//! weir.toml: text to raw (serde, unknown keys refused) to [`Config`], which is made of each part's
//! own Config. The only code that reads a configuration text.

mod error;

mod raw;

mod units;

mod compile;

mod kernel;

mod cut_off;

mod policies;

mod apis;

mod upstreams;

mod shaping;

mod upstream_tls;

mod tls;

mod auth;

mod keys;

mod key_file;

mod store;

mod fleet;

mod lists;

mod overrides;

mod aggregates;

mod ports;

mod ceiling;

mod admin;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::model::Catalog;
use crate::store::redis;
use crate::telemetry::access_log;
use crate::{limit, proxy};

pub use admin::Admin;
pub use ceiling::{Ceiling, Part, ceiling};
pub use cut_off::{find_guard, refuse_cut_off, store_host};
pub use error::{Error, Errors};
pub use key_file::{KeyFile, KeyFileError, KeyLine, key_files};
pub use lists::parse_prefixes;
pub use units::{UnitError, duration as parse_duration};

/// A checked configuration: nothing in it needs another look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Other files that it names; a change of them is a change of it.
    pub also: Vec<PathBuf>,
    /// A number; `"auto"` is None: one per core that this process may run on.
    pub workers: Option<usize>,
    pub sandbox: crate::kernel::Sandbox,
    pub catalog: Catalog,
    pub proxy: proxy::Config,
    pub limit: limit::Config,
    pub kernel: crate::kernel::Config,
    pub admin: Admin,
    /// None: one node, in memory.
    pub store: Option<redis::Config>,
    /// Only where there is a store.
    pub fleet: crate::fleet::Config,
    /// None: requests are not logged.
    pub access_log: Option<access_log::Config>,
}

/// Reads and checks `file`. `default_socket` is where the control socket stands unless the file says otherwise.
pub fn load(file: &Path, default_socket: &Path) -> Result<Config, Errors> {
    parse(&read(file)?, file, default_socket)
}

/// The text of a configuration.
pub fn read(file: &Path) -> Result<String, Errors> {
    std::fs::read_to_string(file).map_err(|error| Errors::unreadable(file, &error))
}

/// As [`load`], from a text; `file` is what errors name and where relative paths count from.
pub fn parse(text: &str, file: &Path, default_socket: &Path) -> Result<Config, Errors> {
    let raw = raw::parse(text, file)?;
    compile::compile(&raw, text, file, default_socket)
}

/// What commands need of a file that may be wrong elsewhere: the control socket and the pin folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    pub socket: PathBuf,
    pub pin_dir: PathBuf,
}

/// Reads just the places; only a file that is no TOML has none.
pub fn whereabouts(file: &Path, default_socket: &Path) -> Result<Whereabouts, Errors> {
    let text = read(file)?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| error::from_toml(&text, file, &error))?;
    let named = |part: &str, field: &str| table.get(part)?.get(field)?.as_str().map(PathBuf::from);
    let folder = file.parent().unwrap_or(Path::new(""));
    Ok(Whereabouts {
        socket: named("admin", "socket").map_or(default_socket.to_owned(), |socket| folder.join(socket)),
        pin_dir: named("kernel", "pin_dir").unwrap_or(crate::kernel::Config::default().pin_dir),
    })
}
