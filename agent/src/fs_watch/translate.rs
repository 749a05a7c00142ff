//! Notices as file activities.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::{
    EventKind,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode},
};
use picket_event::{Access, File, FileActivityKind, FileSystemActivity};

use super::folders::Change;

/// The two halves of a rename come one after the other; a half that stays alone crossed the edge of what is watched.
const HALF_WAIT: Duration = Duration::from_millis(100);
/// Halves that wait. Beyond it the oldest is told as it stands.
const HALVES_MAX: usize = 4_096;

enum Half {
    From(FileSystemActivity),
    To(FileSystemActivity),
}

/// Remembers what one notice alone does not tell.
#[derive(Default)]
pub(super) struct Translator {
    halves: BTreeMap<usize, (Instant, Half)>,
    /// The file that the last notice made: its making opens it too.
    created: Option<PathBuf>,
}

impl Translator {
    /// What a notice tells of files; nothing of folders.
    pub(super) fn activities(&mut self, event: &notify::Event) -> Vec<FileSystemActivity> {
        let Some(path) = event.paths.first() else { return Vec::new() };
        let created = self.created.take();
        let one = |kind, access| vec![FileSystemActivity::new(kind, access, file(path))];
        match event.kind {
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => Vec::new(),
            EventKind::Create(_) => {
                self.created = Some(path.clone());
                one(FileActivityKind::Create, Access::WRITE)
            }
            // How it was opened is not told.
            EventKind::Access(AccessKind::Open(_)) if created.as_ref() != Some(path) && !is_folder(path) => one(FileActivityKind::Open, Access::default()),
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => one(FileActivityKind::Update, Access::WRITE),
            EventKind::Remove(_) => one(FileActivityKind::Delete, Access::default()),
            EventKind::Modify(ModifyKind::Metadata(_)) if !is_folder(path) && exists(path) => one(FileActivityKind::SetAttributes, Access::default()),
            EventKind::Modify(ModifyKind::Name(mode)) => self.rename(mode, event, path),
            _ => Vec::new(),
        }
    }

    fn rename(&mut self, mode: RenameMode, event: &notify::Event, path: &Path) -> Vec<FileSystemActivity> {
        let Some(tracker) = event.attrs.tracker() else { return Vec::new() };
        match (mode, event.paths.get(1)) {
            (RenameMode::Both, Some(to)) => {
                self.halves.remove(&tracker);
                let mut activity = FileSystemActivity::new(FileActivityKind::Rename, Access::default(), File { path: text(path), ..file(to) });
                activity.file_result = Some(file(to));
                vec![activity]
            }
            (RenameMode::From, _) => {
                let activity = FileSystemActivity::new(FileActivityKind::Delete, Access::default(), file(path));
                self.wait(tracker, Half::From(activity))
            }
            (RenameMode::To, _) if is_folder(path) => {
                self.halves.remove(&tracker);
                Vec::new()
            }
            (RenameMode::To, _) => self.wait(tracker, Half::To(FileSystemActivity::new(FileActivityKind::Create, Access::default(), file(path)))),
            _ => Vec::new(),
        }
    }

    fn wait(&mut self, tracker: usize, half: Half) -> Vec<FileSystemActivity> {
        self.halves.insert(tracker, (Instant::now(), half));
        if self.halves.len() > HALVES_MAX { self.halves.pop_first().map(|(_, (_, half))| half.alone()).into_iter().collect() } else { Vec::new() }
    }

    /// Halves whose other half did not come.
    pub(super) fn late(&mut self) -> Vec<FileSystemActivity> {
        let late: Vec<usize> = self.halves.iter().filter(|(_, (at, _))| at.elapsed() >= HALF_WAIT).map(|(tracker, _)| *tracker).collect();
        late.into_iter().filter_map(|tracker| self.halves.remove(&tracker)).map(|(_, half)| half.alone()).collect()
    }

    /// Halves, however young.
    pub(super) fn all(&mut self) -> Vec<FileSystemActivity> {
        std::mem::take(&mut self.halves).into_values().map(|(_, half)| half.alone()).collect()
    }
}

impl Half {
    fn alone(self) -> FileSystemActivity {
        let (mut activity, detail) = match self {
            Self::From(activity) => (activity, "moved out of the watched trees"),
            Self::To(activity) => (activity, "moved into the watched trees"),
        };
        activity.detail = detail.to_owned();
        activity
    }
}

/// What a comparison found.
pub(super) fn of_change(change: &Change) -> FileSystemActivity {
    let (kind, access) = match change {
        Change::Created(_) => (FileActivityKind::Create, Access::WRITE),
        Change::Changed(_) => (FileActivityKind::Update, Access::WRITE),
        Change::Removed(_) => (FileActivityKind::Delete, Access::default()),
    };
    FileSystemActivity::new(kind, access, file(change.path()))
}

/// As it is now, where it still is.
fn file(path: &Path) -> File {
    let known = path.symlink_metadata().ok();
    let mut file = File { path: text(path), ..File::default() };
    if let Some(metadata) = known {
        let (major, minor) = (nix::sys::stat::major(metadata.dev()), nix::sys::stat::minor(metadata.dev()));
        file.inode = metadata.ino();
        file.device = u32::try_from(major << 20 | minor).unwrap_or_default();
        file.size_bytes = Some(metadata.size());
        file.mode = u16::try_from(metadata.mode() & 0xffff).unwrap_or_default();
        file.owner_uid = metadata.uid();
    }
    file
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}
