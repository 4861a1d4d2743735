//! What is wrong with a configuration, each with its place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One mistake. Lines and columns count from 1; both are 0 where a file could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Every mistake of a configuration that could be found, in order of place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    pub fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot be read: {error}");
        Self(vec![Error { file: file.to_owned(), line: 0, column: 0, message }])
    }
}

impl Errors {
    /// The same mistakes, told of `name` where they are `file`'s.
    pub fn of(mut self, file: &Path, name: &Path) -> Self {
        for error in self.0.iter_mut().filter(|error| error.file == file) {
            error.file = name.to_owned();
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file.display(), self.column, self.message),
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, error) in self.0.iter().enumerate() {
            if idx > 0 {
                writeln!(f)?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Collects the mistakes of one text.
pub(super) struct Findings<'a> {
    pub text: &'a str,
    pub file: &'a Path,
    errors: Vec<Error>,
}

impl<'a> Findings<'a> {
    pub fn new(text: &'a str, file: &'a Path) -> Self {
        Self { text, file, errors: Vec::new() }
    }

    /// Notes a mistake at a byte range of the text.
    pub fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        let (line, column) = place(self.text, span.start);
        self.errors.push(Error { file: self.file.to_owned(), line, column, message: message.into() });
    }

    /// Takes over mistakes of another file.
    pub fn extend(&mut self, errors: Errors) {
        self.errors.extend(errors.0);
    }

    pub fn finish(mut self) -> Result<(), Errors> {
        self.errors.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        if self.errors.is_empty() { Ok(()) } else { Err(Errors(self.errors)) }
    }
}

/// Line and column (in characters) of a byte offset.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// Turns what `toml` says into a finding; an unknown name gets the nearest known one.
pub(super) fn from_toml(text: &str, file: &Path, error: &toml::de::Error) -> Errors {
    let mut findings = Findings::new(text, file);
    let said = error.message();
    let message = match suggestion(said) {
        Some(name) => format!("{said}; did you mean `{name}`?"),
        None => said.to_owned(),
    };
    findings.at(error.span().unwrap_or(0..0), message.replace('\n', " "));
    findings.finish().err().unwrap_or(Errors(Vec::new()))
}

/// serde names what it got first and what it knows after.
fn suggestion(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown").then(|| quoted.next())??;
    nearest(unknown, quoted)
}

/// The known word that is most like `unknown`, if any is.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|name| (strsim::jaro_winkler(unknown, name), name));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > 0.75).then_some(best.1)
}
