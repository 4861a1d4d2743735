//! weir.toml: text to raw (serde, unknown keys refused) to [`Config`], which is made of each part's
//! own Config. The only code that reads a configuration text.

use std::path::PathBuf;

use crate::model::{Catalog, Listener};
use crate::{control, kernel, limit, proxy};

/// A checked configuration: nothing in it needs another look.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// A number; `"auto"` is None: one per core that this process may run on.
    pub workers: Option<usize>,
    pub listeners: Vec<Listener>,
    pub catalog: Catalog,
    pub proxy: proxy::Config,
    pub limit: limit::Config,
    pub kernel: kernel::Config,
    pub control: control::Config,
}
