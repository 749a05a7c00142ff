//! The working tree: where it is and which files count.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that hold no source of ours.
const SKIPPED: &[&str] = &["target", "node_modules", "dist", ".git", ".picket"];

/// The repository's root.
pub(crate) struct Repo {
    /// Absolute.
    pub(crate) root: PathBuf,
}

impl Repo {
    /// The folder above this crate's manifest, as `cargo run` tells it: two checkouts that share a target folder may share this program.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
        let root = Path::new(&manifest).parent().context("xtask has no parent folder")?;
        Ok(Self { root: root.to_owned() })
    }

    /// Text of a file, named relative to the root.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// Text of a file that may be absent.
    pub(crate) fn read_if_there(&self, path: &str) -> Result<Option<String>> {
        if self.root.join(path).is_file() { self.read(path).map(Some) } else { Ok(None) }
    }

    /// Every file with one of these extensions, relative to the root, sorted.
    pub(crate) fn files(&self, extensions: &[&str]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    if !SKIPPED.contains(&name.as_ref()) {
                        folders.push(entry.path());
                    }
                } else if kind.is_file() && extensions.iter().any(|extension| name.rsplit_once('.').is_some_and(|(_, end)| end == *extension)) {
                    found.push(entry.path().strip_prefix(&self.root)?.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
