//! keys.toml as `weir keys` changes it: a row is added, taken out or given another key, and all that a
//! person wrote beside it stays. What comes out is read again before anybody keeps it.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use toml::Value;

use super::Errors;
use super::error::from_toml;
use super::raw::{Key, Keys};

/// The text of a file.
pub struct KeyFile {
    text: String,
}

/// A row, without its hash's use to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyLine {
    pub name: String,
    pub sha256: String,
    pub policies: Vec<String>,
    pub expires: Option<String>,
    pub metadata: std::collections::BTreeMap<String, String>,
    pub disabled: bool,
    /// When the key before this one ends.
    pub previous_until: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{0}")]
    Wrong(#[from] Errors),
    #[error("no key is named `{0}`")]
    NoSuchKey(String),
    #[error("a key is named `{0}` already: `weir keys rotate` gives it another secret")]
    Taken(String),
    #[error("a name is 1 to 64 printable letters of ASCII")]
    BadName,
    #[error("`{0}` is written in a way that is not changed here: edit the file")]
    Unusual(String),
}

impl KeyFile {
    /// Checks what can be without a configuration: whether policies exist is the reload's to say.
    pub fn parse(text: String, file: &Path) -> Result<Self, KeyFileError> {
        rows(&text, file)?;
        Ok(Self { text })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn lines(&self, file: &Path) -> Result<Vec<KeyLine>, KeyFileError> {
        Ok(rows(&self.text, file)?.key.iter().map(line).collect())
    }

    pub fn line(&self, name: &str, file: &Path) -> Result<KeyLine, KeyFileError> {
        let found = self.lines(file)?.into_iter().find(|line| line.name == name);
        found.ok_or_else(|| KeyFileError::NoSuchKey(name.to_owned()))
    }

    pub fn insert(&mut self, new: &KeyLine, file: &Path) -> Result<(), KeyFileError> {
        if !super::keys::is_name(&new.name) {
            return Err(KeyFileError::BadName);
        }
        if self.line(&new.name, file).is_ok() {
            return Err(KeyFileError::Taken(new.name.clone()));
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.text = format!("{}{gap}{}", self.text, block(new));
        self.line(&new.name, file).map(drop)
    }

    pub fn remove(&mut self, name: &str, file: &Path) -> Result<(), KeyFileError> {
        self.line(name, file)?;
        let range = self.block_of(name)?;
        let mut lines: Vec<_> = self.text.split_inclusive('\n').collect();
        lines.drain(range);
        self.text = lines.concat();
        match self.line(name, file) {
            Err(KeyFileError::NoSuchKey(_)) => Ok(()),
            Ok(_) => Err(KeyFileError::Unusual(name.to_owned())),
            Err(other) => Err(other),
        }
    }

    /// The key gets another hash; the one before it holds until then, as RFC 3339 writes it.
    pub fn rotate(&mut self, name: &str, sha256: &str, until: &str, file: &Path) -> Result<(), KeyFileError> {
        let before = self.line(name, file)?.sha256;
        let range = self.block_of(name)?;
        let mut changed = String::with_capacity(self.text.len() + 128);
        for (idx, line) in self.text.split_inclusive('\n').enumerate() {
            let setting = line.split('=').next().unwrap_or_default().trim();
            match setting {
                "sha256" if range.contains(&idx) => {
                    let previous = format!("previous = {{ sha256 = \"{before}\", until = {until} }}");
                    changed.push_str(&format!("sha256 = \"{sha256}\"\n{previous}\n"));
                }
                "previous" if range.contains(&idx) => {}
                _ => changed.push_str(line),
            }
        }
        self.text = changed;
        let after = self.line(name, file)?;
        let is_done = after.sha256 == sha256 && after.previous_until.is_some();
        if is_done { Ok(()) } else { Err(KeyFileError::Unusual(name.to_owned())) }
    }

    /// Lines of the row: from its `[[key]]` to the next table that is not of it.
    fn block_of(&self, name: &str) -> Result<std::ops::Range<usize>, KeyFileError> {
        let lines: Vec<_> = self.text.lines().collect();
        let begins = |line: &&str| line.trim_start().starts_with("[[key]]");
        let starts: Vec<_> = (0..lines.len()).filter(|idx| lines.get(*idx).is_some_and(begins)).collect();
        let ends = |line: &&&str| {
            let line = line.trim_start();
            line.starts_with('[') && !line.starts_with("[key.")
        };
        for start in starts {
            let behind = lines.get(start + 1..).unwrap_or_default();
            let end = start + 1 + behind.iter().take_while(|line| !ends(line)).count();
            let text = lines.get(start..end).unwrap_or_default().join("\n");
            let parsed: Result<Keys, _> = toml::from_str(&text);
            if parsed.is_ok_and(|keys| keys.key.iter().any(|key| key.name.get_ref() == name)) {
                return Ok(start..end);
            }
        }
        Err(KeyFileError::Unusual(name.to_owned()))
    }
}

fn rows(text: &str, file: &Path) -> Result<Keys, Errors> {
    toml::from_str(text).map_err(|error| from_toml(text, file, &error))
}

fn line(key: &Key) -> KeyLine {
    let moment = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Datetime(moment) => moment.to_string(),
        _ => String::new(),
    };
    KeyLine {
        name: key.name.get_ref().clone(),
        sha256: key.sha256.get_ref().clone(),
        policies: key.policies.iter().map(|name| name.get_ref().clone()).collect(),
        expires: key.expires.as_ref().map(|value| moment(value.get_ref())),
        metadata: key
            .metadata
            .iter()
            .map(|(name, value)| (name.get_ref().clone(), value.get_ref().clone()))
            .collect(),
        disabled: key.disabled.as_ref().is_some_and(|disabled| *disabled.get_ref()),
        previous_until: key.previous.as_ref().map(|previous| moment(previous.until.get_ref())),
    }
}

/// A row as text; what is empty is left out.
fn block(line: &KeyLine) -> String {
    let mut text = format!("[[key]]\nname = {}\nsha256 = {}\n", quoted(&line.name), quoted(&line.sha256));
    let mut set = |name: &str, value: String| writeln!(text, "{name} = {value}").unwrap_or(());
    if !line.policies.is_empty() {
        let names: Vec<_> = line.policies.iter().map(|name| quoted(name)).collect();
        set("policies", format!("[{}]", names.join(", ")));
    }
    if let Some(expires) = &line.expires {
        set("expires", expires.clone());
    }
    if !line.metadata.is_empty() {
        let fields =
            line.metadata.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
        set("metadata", format!("{{ {} }}", fields.collect::<Vec<_>>().join(", ")));
    }
    if line.disabled {
        set("disabled", "true".to_owned());
    }
    text
}

/// A basic string (toml.io, String).
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(letter)).unwrap_or(());
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Files of API keys that a weir.toml names, each once; only a file that is no TOML has none to tell.
pub fn key_files(config: &Path) -> Result<Vec<std::path::PathBuf>, Errors> {
    let text = super::read(config)?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| from_toml(&text, config, &error))?;
    let folder = config.parent().unwrap_or(Path::new(""));
    let apis = table.get("api").and_then(Value::as_array);
    let file = |api: &Value| Some(folder.join(api.get("auth")?.get("key")?.get("file")?.as_str()?));
    let mut files: Vec<_> = apis.into_iter().flatten().filter_map(file).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "k";
    const TEXT: &str = "# ours\n[[key]]\nname = \"a\" # first\nsha256 = \"00\"\nmetadata = { t = \"x\" }\n\n# second\n[[key]]\nname = \"b\"\nsha256 = \"11\"\n[key.metadata]\nteam = \"blue\"\n";

    fn parsed(text: &str) -> KeyFile {
        KeyFile::parse(text.to_owned(), Path::new(FILE)).unwrap()
    }

    #[test]
    fn a_row_is_changed_and_all_else_stays() {
        let file = Path::new(FILE);
        let mut keys = parsed(TEXT);
        let mut new = keys.line("b", file).unwrap();
        assert!(matches!(keys.insert(&new, file), Err(KeyFileError::Taken(_))));
        new.name = "c\"d".to_owned();
        new.expires = Some("2027-01-31T12:00:00Z".to_owned());
        new.policies = vec!["p".to_owned()];
        keys.insert(&new, file).unwrap();
        assert!(keys.text().starts_with(TEXT), "{}", keys.text());
        assert_eq!(keys.line("c\"d", file).unwrap(), new);
        keys.rotate("a", "22", "2027-01-01T00:00:00Z", file).unwrap();
        keys.rotate("a", "33", "2028-01-01T00:00:00Z", file).unwrap();
        assert_eq!(keys.text().matches("previous").count(), 1);
        assert!(keys.text().contains("name = \"a\" # first\nsha256 = \"33\"\nprevious = { sha256 = \"22\", until = 2028-01-01T00:00:00Z }\nmetadata"), "{}", keys.text());
        keys.rotate("b", "44", "2027-01-01T00:00:00Z", file).unwrap();
        assert_eq!(keys.line("b", file).unwrap().metadata.len(), 1);
        keys.remove("b", file).unwrap();
        keys.remove("a", file).unwrap();
        assert!(matches!(keys.remove("a", file), Err(KeyFileError::NoSuchKey(_))));
        let left: Vec<_> = keys.lines(file).unwrap().into_iter().map(|line| line.name).collect();
        assert_eq!(left, ["c\"d"]);
        assert!(keys.text().starts_with("# ours\n"), "{}", keys.text());
    }

    #[test]
    fn an_empty_file_takes_a_first_row() {
        let file = Path::new(FILE);
        let mut keys = parsed("");
        let mut new = parsed(TEXT).line("a", file).unwrap();
        new.name = "no blank".to_owned();
        assert!(matches!(keys.insert(&new, file), Err(KeyFileError::BadName)));
        new.name = "a".to_owned();
        keys.insert(&new, file).unwrap();
        assert!(keys.text().starts_with("[[key]]\n"), "{}", keys.text());
    }
}
