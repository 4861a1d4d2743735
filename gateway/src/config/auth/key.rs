//! `key = { file }`.

use serde::Deserialize;
use toml::Spanned;

use crate::config::compile::Compiler;
use crate::config::keys;
use crate::model::KeyAuth;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub file: Spanned<String>,
}

pub(super) fn compile(compiler: &mut Compiler<'_>, raw: &Raw) -> Option<KeyAuth> {
    let file = compiler.folder.join(raw.file.get_ref());
    compiler.also.push(file.clone());
    match keys::load(&file) {
        Ok(rows) => Some(KeyAuth { rows }),
        Err(errors) => {
            compiler.findings.extend(errors);
            None
        }
    }
}
