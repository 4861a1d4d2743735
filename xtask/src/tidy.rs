//! `tidy`: rules of this repository that rustfmt and clippy do not know, each with what to do instead.

mod rules;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::shell::output;

/// A rule broken at a line (from 1; 0 for the file as a whole).
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    message: String,
}

/// Checks every file that git knows or would add.
pub fn tidy(root: &Path) -> Result<()> {
    let mut broken = 0;
    for path in files(root)? {
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        for finding in check(&path, &text) {
            eprintln!("{}:{}: {}", path.display(), finding.line, finding.message);
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("tidy: {broken} rules broken");
    }
    println!("tidy: ok");
    Ok(())
}

fn check(path: &Path, text: &str) -> Vec<Finding> {
    rules::RULES.iter().flat_map(|rule| rule(&path.to_string_lossy(), text)).collect()
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = std::process::Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    match output(&mut git) {
        Some(list) => Ok(list.lines().map(PathBuf::from).filter(|path| root.join(path).is_file()).collect()),
        None => bail!("tidy asks git which files there are, and git did not answer"),
    }
}
