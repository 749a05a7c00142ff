//! Files that changed and wait until they are quiet: a download or a checkpoint is written in many steps, and a half of it is no artifact.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use picket_event::Actor;

/// Files that wait at once; more are counted as lost. Each holds a path and the process that wrote it, about 2 KiB.
pub(crate) const PENDING_MAX: usize = 4_096;
/// A file that is never quiet (a log that somebody named like a model) is looked at after this long all the same.
const UNQUIET_MAX: Duration = Duration::from_secs(600);

/// What tools call a file while it is being fetched or written. Its real name comes with a rename, which is seen.
const PARTIAL_ENDINGS: &[&str] = &[".part", ".partial", ".incomplete", ".tmp", ".temp", ".crdownload", ".download", ".opdownload", ".aria2", ".lock", ".swp"];

/// A change that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) path: String,
    pub(crate) inode: u64,
    pub(crate) asset_class: String,
    pub(crate) actor: Option<Actor>,
}

struct Waiting {
    touched: Touched,
    first: Instant,
    last: Instant,
}

/// See the module. Pure: time is an argument.
#[derive(Default)]
pub(crate) struct Pending {
    /// Boxed: a table keeps the room that it once had, and has twice as much while it grows.
    waiting: HashMap<String, Box<Waiting>>,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Enters a change; false where there is no room for another file.
    pub(crate) fn note(&mut self, touched: Touched, now: Instant) -> bool {
        if let Some(known) = self.waiting.get_mut(&touched.path) {
            known.last = now;
            known.touched = touched;
            return true;
        }
        if self.waiting.len() >= PENDING_MAX {
            return false;
        }
        self.waiting.insert(touched.path.clone(), Box::new(Waiting { touched, first: now, last: now }));
        true
    }

    /// Takes the file that has been quiet longest, where one has been quiet for `quiet`.
    pub(crate) fn take(&mut self, now: Instant, quiet: Duration) -> Option<Touched> {
        let ready = |waiting: &Waiting| now.saturating_duration_since(waiting.last) >= quiet || now.saturating_duration_since(waiting.first) >= UNQUIET_MAX;
        let path = self.waiting.values().filter(|waiting| ready(waiting)).min_by_key(|waiting| waiting.last).map(|waiting| waiting.touched.path.clone())?;
        self.waiting.remove(&path).map(|waiting| waiting.touched)
    }
}

/// True for a name that a tool gives to what it has not finished.
pub(crate) fn is_partial(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    PARTIAL_ENDINGS.iter().any(|ending| name.ends_with(ending)) || name.starts_with(".~") || name.ends_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(path: &str) -> Touched {
        Touched { path: path.to_owned(), inode: 0, asset_class: String::new(), actor: None }
    }

    #[test]
    fn a_file_is_taken_once_when_it_is_quiet() {
        let (mut pending, start, quiet) = (Pending::default(), Instant::now(), Duration::from_secs(2));
        assert!(pending.note(touched("/m/a.pt"), start));
        assert!(pending.take(start + Duration::from_secs(1), quiet).is_none());
        // It is written again: the wait begins anew.
        assert!(pending.note(touched("/m/a.pt"), start + Duration::from_secs(1)));
        assert!(pending.take(start + Duration::from_secs(2), quiet).is_none());
        assert_eq!(pending.take(start + Duration::from_secs(3), quiet).map(|one| one.path).as_deref(), Some("/m/a.pt"));
        assert!(pending.take(start + Duration::from_secs(60), quiet).is_none());
    }

    #[test]
    fn a_file_that_is_never_quiet_is_taken_in_the_end() {
        let (mut pending, start, quiet) = (Pending::default(), Instant::now(), Duration::from_secs(2));
        for second in 0..UNQUIET_MAX.as_secs() {
            pending.note(touched("/m/log.bin"), start + Duration::from_secs(second));
            assert!(pending.take(start + Duration::from_secs(second), quiet).is_none());
        }
        assert!(pending.take(start + UNQUIET_MAX, quiet).is_some());
    }

    #[test]
    fn the_queue_is_bounded_and_says_so() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        let taken = (0..PENDING_MAX + 10).filter(|number| pending.note(touched(&format!("/m/{number}")), start)).count();
        assert_eq!((taken, pending.len()), (PENDING_MAX, PENDING_MAX));
        assert!(pending.note(touched("/m/0"), start), "a known file needs no room");
    }

    #[test]
    fn unfinished_files_are_told_by_their_names() {
        for name in ["/c/blobs/abc.incomplete", "/d/model.bin.part", "/d/x.gguf.CRDOWNLOAD", "/d/model.safetensors.aria2", "/d/a.tmp", "/d/notes~"] {
            assert!(is_partial(name), "{name}");
        }
        for name in ["/c/blobs/abc", "/d/model.bin", "/d/part.pt", "/d/tmp/x.pt", "/d/.partial/x.pt"] {
            assert!(!is_partial(name), "{name}");
        }
    }
}
