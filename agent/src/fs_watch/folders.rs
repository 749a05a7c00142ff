//! Which folders are watched, and what was in them: a new folder is watched before it is listed, and after an overflow everything is compared.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use notify::{
    EventKind, RecursiveMode, Watcher,
    event::{CreateKind, ModifyKind, RemoveKind, RenameMode},
};
use picket_ebpf::{WatchSpec, WatchState};

/// Files remembered for the comparison after an overflow; a tree with more is watched all the same and compared in part.
const KNOWN_MAX: usize = 500_000;
/// Folders watched; the kernel's own limit is met earlier on most hosts.
const FOLDERS_MAX: usize = 200_000;
const DEPTH_MAX: usize = 64;

/// What a file was when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified_ns: i128,
}

/// Something that no notice told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Created(PathBuf),
    Changed(PathBuf),
    Removed(PathBuf),
}

struct Watched {
    id: u32,
    /// Why a part of it is not watched.
    reason: String,
    active: bool,
}

pub(super) struct Folders {
    watcher: notify::RecommendedWatcher,
    /// By path.
    roots: BTreeMap<PathBuf, Watched>,
    folders: HashSet<PathBuf>,
    known: HashMap<PathBuf, Stamp>,
}

impl Folders {
    pub(super) fn new(watcher: notify::RecommendedWatcher) -> Self {
        Self { watcher, roots: BTreeMap::new(), folders: HashSet::new(), known: HashMap::new() }
    }

    /// Watches these and nothing else.
    pub(super) fn set(&mut self, watches: &[WatchSpec]) -> Vec<WatchState> {
        let gone: Vec<PathBuf> = self.roots.keys().filter(|root| !watches.iter().any(|watch| watch.path == **root)).cloned().collect();
        for root in gone {
            self.roots.remove(&root);
            let kept = self.roots.keys().any(|other| other.starts_with(&root) || root.starts_with(other));
            if !kept {
                self.forget(&root);
            }
        }
        for watch in watches {
            let known = self.roots.get(&watch.path).is_some_and(|watched| watched.active && watched.reason.is_empty());
            self.roots.entry(watch.path.clone()).or_insert_with(|| Watched { id: watch.id, reason: String::new(), active: false }).id = watch.id;
            if !known {
                self.open_root(&watch.path);
            }
        }
        self.states()
    }

    fn open_root(&mut self, root: &Path) {
        let result = match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                let mut quiet = Vec::new();
                self.enter(root, 0, &mut quiet)
            }
            Ok(_) => self.watch(root),
            Err(error) => Err(format!("cannot be watched: {error}")),
        };
        if let Some(watched) = self.roots.get_mut(root) {
            watched.active = result.is_ok() || self.folders.contains(root);
            watched.reason = result.err().unwrap_or_default();
        }
    }

    pub(super) fn states(&self) -> Vec<WatchState> {
        let state =
            |(path, watched): (&PathBuf, &Watched)| WatchState { id: watched.id, path: path.clone(), active: watched.active, reason: watched.reason.clone() };
        self.roots.iter().map(state).collect()
    }

    /// The watch that a path belongs to: the nearest.
    pub(super) fn watch_of(&self, path: &Path) -> Option<u32> {
        path.ancestors().find_map(|folder| self.roots.get(folder)).map(|watched| watched.id)
    }

    fn watch(&mut self, path: &Path) -> Result<(), String> {
        if self.folders.len() >= FOLDERS_MAX {
            return Err(format!("only a part is watched: more than {FOLDERS_MAX} folders"));
        }
        match self.watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.folders.insert(path.to_path_buf());
                Ok(())
            }
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                Err("only a part is watched: fs.inotify.max_user_watches is reached; raise it and restart the agent".to_owned())
            }
            Err(error) => Err(format!("a folder cannot be watched: {error}")),
        }
    }

    /// Watches a folder and what is below it, and tells the files that are in it already. Symlinks are not followed.
    fn enter(&mut self, folder: &Path, depth: usize, found: &mut Vec<Change>) -> Result<(), String> {
        let mut result = self.watch(folder);
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            // Gone again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && depth > 0 => return Ok(()),
            Err(error) => return Err(format!("a folder cannot be listed: {error}")),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    if depth < DEPTH_MAX {
                        result = result.and(self.enter(&path, depth + 1, found));
                    }
                }
                Ok(_) => {
                    if self.note(&path) {
                        found.push(Change::Created(path));
                    }
                }
                Err(_) => {}
            }
        }
        result
    }

    /// True where the file was not known.
    fn note(&mut self, path: &Path) -> bool {
        let Some(stamp) = stamp(path) else { return false };
        let room = self.known.len() < KNOWN_MAX || self.known.contains_key(path);
        room && self.known.insert(path.to_path_buf(), stamp).is_none()
    }

    fn forget(&mut self, tree: &Path) {
        let (watcher, folders) = (&mut self.watcher, &mut self.folders);
        folders.retain(|folder| {
            let goes = folder.starts_with(tree);
            if goes {
                // The kernel has taken the watch down itself where the folder is gone.
                let _ = watcher.unwatch(folder);
            }
            !goes
        });
        self.known.retain(|path, _| !path.starts_with(tree));
    }

    /// Takes up what a notice tells of folders. Files in a folder that is new are told; true where the state of a watch changed.
    pub(super) fn follow(&mut self, event: &notify::Event) -> (Vec<Change>, bool) {
        let mut found = Vec::new();
        let Some(path) = event.paths.first() else { return (found, false) };
        let mut changed = false;
        match event.kind {
            EventKind::Create(CreateKind::Folder) => changed = self.new_folder(path, &mut found),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                if is_folder(path) {
                    changed = self.new_folder(path, &mut found);
                } else {
                    self.note(path);
                }
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(RemoveKind::Folder) if self.folders.contains(path) => {
                self.forget(path);
                if let Some(watched) = self.roots.get_mut(path) {
                    (watched.active, watched.reason, changed) = (false, "it was removed or renamed".to_owned(), true);
                }
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                self.known.remove(path);
            }
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Access(notify::event::AccessKind::Close(notify::event::AccessMode::Write)) => {
                self.note(path);
            }
            _ => {}
        }
        (found, changed)
    }

    fn new_folder(&mut self, path: &Path, found: &mut Vec<Change>) -> bool {
        let Err(reason) = self.enter(path, 1, found) else { return false };
        tracing::warn!(path = %path.display(), reason, "a new folder is not watched");
        let root = path.ancestors().find(|folder| self.roots.contains_key(*folder)).map(Path::to_path_buf);
        match root.and_then(|root| self.roots.get_mut(&root)) {
            Some(watched) if watched.reason != reason => {
                watched.reason = reason;
                true
            }
            _ => false,
        }
    }

    /// What changed since it was last seen, by looking at everything.
    pub(super) fn compare(&mut self) -> Vec<Change> {
        let before = self.known.clone();
        let mut changes = Vec::new();
        for root in self.roots.keys().cloned().collect::<Vec<_>>() {
            if std::fs::metadata(&root).is_ok_and(|metadata| metadata.is_dir()) {
                let _ = self.enter(&root, 0, &mut changes);
            }
        }
        for (path, old) in before {
            match stamp(&path) {
                None => {
                    self.known.remove(&path);
                    changes.push(Change::Removed(path));
                }
                Some(new) if new != old => changes.push(Change::Changed(path)),
                Some(_) => {}
            }
        }
        changes.sort_by(|left, right| left.path().cmp(right.path()));
        changes
    }
}

impl Change {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Created(path) | Self::Changed(path) | Self::Removed(path) => path,
        }
    }
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = path.symlink_metadata().ok().filter(|metadata| !metadata.is_dir())?;
    let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Some(Stamp { inode: metadata.ino(), size: metadata.size(), modified_ns })
}
