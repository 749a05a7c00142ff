//! Opens a file for the scanner: read-only, without following a link in the last place, without waiting for a pipe, and only if it is a
//! regular file.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A file that may be passed on.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
}

/// Opens `path`.
pub(crate) fn open(path: &Path) -> io::Result<Opened> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(Opened { file, metadata }) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")) }
}

/// Opens what an event told: its path as this host sees it, else as the process that wrote it does, whose root may be a container's. The
/// inode decides between the two; a file that has been replaced since is taken as it is now.
pub(crate) fn open_seen(path: &str, inode: u64, pid: Option<u32>) -> io::Result<Opened> {
    let here = open(Path::new(path));
    if inode == 0 || here.as_ref().is_ok_and(|opened| opened.metadata.ino() == inode) {
        return here;
    }
    let Some(pid) = pid else { return here };
    let there = PathBuf::from(format!("/proc/{pid}/root{path}"));
    match open(&there) {
        Ok(opened) if opened.metadata.ino() == inode => Ok(opened),
        _ => here,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_and_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (folder.path().join("a"), folder.path().join("link"), folder.path().join("pipe"));
        std::fs::write(&file, b"x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(&file).is_ok());
        for other in [&link, &pipe, &folder.path().to_path_buf()] {
            assert!(open(other).is_err(), "{}", other.display());
        }
        assert!(open(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn the_inode_decides_where_the_path_is_seen_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, b"x").unwrap();
        let (path, inode) = (file.to_string_lossy().into_owned(), std::fs::metadata(&file).unwrap().ino());
        assert_eq!(open_seen(&path, inode, None).unwrap().metadata.ino(), inode);
        // Of another content by now: taken as it is.
        assert_eq!(open_seen(&path, inode + 1, Some(std::process::id())).unwrap().metadata.ino(), inode);
        assert!(open_seen("/nowhere/at/all", inode, Some(std::process::id())).is_err());
    }
}
