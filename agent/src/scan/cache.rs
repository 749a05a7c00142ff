//! What was judged already: a file that did not change since is not read again, and one that killed the scanner is not tried again.

use std::{
    collections::{HashMap, VecDeque},
    fs::Metadata,
    os::unix::fs::MetadataExt,
};

use super::outcome::Verdict;

/// Files remembered; the oldest is forgotten first. About 200 bytes each.
const ENTRIES_MAX: usize = 65_536;

/// One content of one file, as far as the file system can tell. The time of the inode's change cannot be set by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileKey {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Verdicts under one set of rules.
#[derive(Debug, Default)]
pub(crate) struct VerdictCache {
    rules: String,
    known: HashMap<FileKey, Verdict>,
    order: VecDeque<FileKey>,
}

impl VerdictCache {
    /// What other rules judged counts no more.
    pub(crate) fn rules(&mut self, identity: &str) {
        if self.rules != identity {
            *self = Self { rules: identity.to_owned(), ..Self::default() };
        }
    }

    pub(crate) fn get(&self, key: &FileKey) -> Option<Verdict> {
        self.known.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: FileKey, verdict: Verdict) {
        if self.known.insert(key, verdict).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > ENTRIES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_content_or_rules_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pt");
        let key = || FileKey::of(&std::fs::metadata(&path).unwrap());
        std::fs::write(&path, b"one").unwrap();
        let first = key();
        let mut cache = VerdictCache::default();
        cache.rules("r1");
        cache.insert(first, Verdict::Clean);
        assert!(cache.get(&key()).is_some());
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"two").unwrap();
        // Set back to the old time, as an adversary would: the inode's own time tells.
        let times = std::fs::FileTimes::new()
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(u64::try_from(first.modified.0).unwrap(), u32::try_from(first.modified.1).unwrap()));
        std::fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        assert_eq!((key().modified, key().size), (first.modified, first.size));
        assert!(cache.get(&key()).is_none());
        cache.rules("r2");
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let mut cache = VerdictCache::default();
        for inode in 0..ENTRIES_MAX as u64 + 100 {
            cache.insert(FileKey { device: 1, inode, size: 1, modified: (0, 0), changed: (0, 0) }, Verdict::Clean);
        }
        assert_eq!((cache.len(), cache.order.len()), (ENTRIES_MAX, ENTRIES_MAX));
    }
}
