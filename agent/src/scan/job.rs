//! A scan of trees: asked for by the server, or due by the schedule. Walked one entry at a time between the files that changed, which go first.

use std::{
    collections::VecDeque,
    fs::{self, ReadDir},
    path::{Path, PathBuf},
};

use picket_event::{ScanCounts, ScanTrigger, Timestamp};

/// Folders inside one another. Links are not followed, so that this is a limit on honest trees only.
const DEPTH_MAX: usize = 64;

/// One scan of trees.
pub(crate) struct Job {
    pub(crate) uid: String,
    pub(crate) trigger: ScanTrigger,
    pub(crate) command: String,
    pub(crate) name: String,
    pub(crate) since: Timestamp,
    pub(crate) counts: ScanCounts,
    /// What could not be looked at, counted in `counts.skipped`; the first reason is kept.
    pub(crate) first_error: String,
    roots: VecDeque<PathBuf>,
    open: Vec<ReadDir>,
}

impl Job {
    pub(crate) fn new(uid: String, trigger: ScanTrigger, command: String, roots: Vec<PathBuf>, since: Timestamp) -> Self {
        let name = roots.iter().take(4).map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
        Self { uid, trigger, command, name, since, counts: ScanCounts::default(), first_error: String::new(), roots: roots.into(), open: Vec::new() }
    }

    pub(crate) fn skip(&mut self, path: &Path, why: &str) {
        self.counts.skipped += 1;
        if self.first_error.is_empty() {
            self.first_error = format!("{}: {why}", path.display());
        }
    }

    /// The next file; nothing at the end.
    pub(crate) fn next(&mut self) -> Option<PathBuf> {
        loop {
            let Some(folder) = self.open.last_mut() else {
                let root = self.roots.pop_front()?;
                if let Some(file) = self.enter(root) {
                    return Some(file);
                }
                continue;
            };
            match folder.next() {
                None => {
                    self.open.pop();
                }
                Some(Ok(entry)) => {
                    if let Some(file) = self.enter(entry.path()) {
                        return Some(file);
                    }
                }
                Some(Err(error)) => self.skip(Path::new("a folder"), &error.to_string()),
            }
        }
    }

    /// A file is given back, a folder is opened, anything else is passed over.
    fn enter(&mut self, path: PathBuf) -> Option<PathBuf> {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Some(path),
            Ok(metadata) if metadata.is_dir() && self.open.len() >= DEPTH_MAX => self.skip(&path, "nested deeper than the limit"),
            Ok(metadata) if metadata.is_dir() => match fs::read_dir(&path) {
                Ok(folder) => self.open.push(folder),
                Err(error) => self.skip(&path, &error.to_string()),
            },
            Ok(_) => {}
            Err(error) => self.skip(&path, &error.to_string()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_once_and_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for name in ["one", "a/two", "a/b/three"] {
            fs::write(root.join(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("a/again")).unwrap();
        let mut job = Job::new("u".to_owned(), ScanTrigger::Manual, String::new(), vec![root.to_owned(), "/nowhere/at/all".into()], Timestamp(0));
        let mut found: Vec<String> = std::iter::from_fn(|| job.next()).map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        found.sort();
        assert_eq!(found, ["one", "three", "two"]);
        assert_eq!(job.counts.skipped, 1);
        assert!(job.first_error.starts_with("/nowhere/at/all: "), "{}", job.first_error);
    }
}
