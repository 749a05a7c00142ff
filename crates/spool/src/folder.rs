//! The folder and its files: modes, names, and the fsyncs that make a name durable.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::SpoolError;

pub(crate) fn create(dir: &Path) -> Result<(), SpoolError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| SpoolError::io("create", dir, source))
}

/// Takes the folder for this process; the lock goes with the file.
pub(crate) fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|source| SpoolError::io("open", &path, source))?;
    match take(&file) {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(SpoolError::Locked { path }),
        Err(std::fs::TryLockError::Error(source)) => Err(SpoolError::io("lock", path, source)),
    }
}

/// A child between fork and exec holds its parent's descriptors for an instant, and so a lock that the parent gave up: asked for half a
/// second before it counts as taken.
fn take(file: &File) -> Result<(), std::fs::TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(25)),
            taken => return taken,
        }
    }
    file.try_lock()
}

/// Makes names in the folder durable.
pub(crate) fn sync(dir: &Path) -> Result<(), SpoolError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|source| SpoolError::io("fsync", dir, source))
}

/// Replaces `name` so that a crash leaves the old or the new content, never a part.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<(), SpoolError> {
    let temporary = dir.join(format!("{name}.new"));
    let path = dir.join(name);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    };
    write().map_err(|source| SpoolError::io("write", &path, source))?;
    sync(dir)
}

pub(crate) fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.seg"))
}

/// The segments by the sequence number in their names, in order. Other files are left alone.
pub(crate) fn segments(dir: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(|source| SpoolError::io("list", dir, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| SpoolError::io("list", dir, source))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|stem| stem.len() == 20).and_then(|stem| stem.parse().ok());
        if let Some(number) = number {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found)
}
