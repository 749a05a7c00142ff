//! Reads a runtime's files. Root's lie where only root writes. A user's lie in a home that the user writes, and the agent reads more than
//! the user may: so no symlink below the home is followed, only regular files of that user count, and a reader of its own waits for a slow disk.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// A container's configuration is some tens of kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What a name or an image reference may take in an event.
const TEXT_CHARS_MAX: usize = 256;

/// Where a runtime keeps its files.
pub(super) trait Folder {
    /// The content of a file below it; `None` where it is none, or larger than a runtime writes.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// As JSON.
    fn json(&self, path: &str) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.read(path)?).ok()
    }
}

/// A folder that root writes.
pub(super) struct Trusted<'a>(pub(super) &'a Path);

impl Folder for Trusted<'_> {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(self.0.join(path)).ok()?;
        whole(file)
    }
}

/// The home of a user.
pub(super) struct Home {
    folder: File,
    uid: u32,
}

impl Home {
    pub(super) fn open(home: &Path, uid: u32) -> Option<Self> {
        let folder = std::fs::OpenOptions::new().read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NONBLOCK).bits()).open(home).ok()?;
        (folder.metadata().ok()?.uid() == uid).then_some(Self { folder, uid })
    }
}

impl Folder for Home {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = File::from(openat2(self.folder.as_fd(), path, how).ok()?);
        (file.metadata().ok()?.uid() == self.uid).then_some(())?;
        whole(file)
    }
}

fn whole(file: File) -> Option<Vec<u8>> {
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= FILE_BYTES_MAX).then_some(bytes)
}

/// A name as an event may carry it: without control characters, of bounded length.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_read_without_following_anything() {
        let folder = tempfile::tempdir().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let home = folder.path().join("home");
        std::fs::create_dir_all(home.join("real")).unwrap();
        std::fs::write(home.join("real/file"), "mine").unwrap();
        std::fs::write(folder.path().join("secret"), "root's").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), home.join("link")).unwrap();
        std::os::unix::fs::symlink("real", home.join("way")).unwrap();
        nix::unistd::mkfifo(&home.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(home.join("large"), vec![b'x'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        let home = Home::open(&home, uid).unwrap();
        assert_eq!(home.read("real/file").as_deref(), Some(b"mine".as_slice()));
        for hostile in ["link", "way/file", "../secret", "pipe", "large", "real"] {
            assert_eq!(home.read(hostile), None, "{hostile}");
        }
        assert!(Home::open(folder.path(), uid.wrapping_add(1)).is_none(), "another user's folder");
    }

    #[test]
    fn names_are_bounded() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a[2Jb");
        assert_eq!(clean(&"x".repeat(10_000)).len(), TEXT_CHARS_MAX);
    }
}
