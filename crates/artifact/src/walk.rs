//! Scans files and folders on several threads, in a stable order, with progress by bytes and files.

use crate::report::{Collected, Report, Verdict};
use crate::{Format, ScanOptions, scan};
use picket_bounded::FileSource;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Folders inside one another; deeper trees are reported, not followed.
const DEPTH_MAX: u32 = 128;

/// What a walk needs beside the options of each scan.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// For each file.
    pub scan: ScanOptions,
    /// Files scanned at once; 0 means one a core. Each may hold what [`picket_bounded::Limits`] allows.
    pub threads: usize,
}

/// How far a walk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files whose report is there.
    pub files: u64,
    /// Files found.
    pub files_total: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Bytes of all files found.
    pub bytes_total: u64,
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How far it came: all of it, unless it was stopped.
    pub progress: Progress,
    /// Files by verdict.
    pub malicious: u64,
    /// Files by verdict.
    pub suspicious: u64,
    /// Files by verdict.
    pub unscannable: u64,
    /// Files by verdict.
    pub clean: u64,
    /// Pipes, sockets and devices met inside folders, which hold no artifact.
    pub not_files: u64,
    /// `on_report` asked to stop.
    pub stopped: bool,
}

impl Summary {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Malicious => self.malicious += 1,
            Verdict::Suspicious => self.suspicious += 1,
            Verdict::Unscannable => self.unscannable += 1,
            Verdict::Clean => self.clean += 1,
        }
    }
}

/// One thing to scan.
struct Found {
    path: PathBuf,
    size: u64,
    /// Why it cannot be.
    error: Option<String>,
}

/// Scans every file of `paths`, folders with everything below them. Links to files are followed, as the caches of model hubs
/// need it; links to folders are not, because they may lead in a circle or out.
///
/// `on_report` gets each report once, in the order of the paths, from one thread at a time; it returns false to stop.
pub fn scan_paths(paths: &[PathBuf], options: &WalkOptions, on_report: impl FnMut(Report, Progress) -> bool + Send) -> Summary {
    let mut summary = Summary::default();
    let mut found = Vec::new();
    for path in paths {
        find(path, DEPTH_MAX, true, &mut found, &mut summary.not_files);
    }
    let total = Progress { files_total: found.len() as u64, bytes_total: found.iter().map(|file| file.size).sum(), ..Progress::default() };
    summary.progress = total;
    let ordered = Mutex::new(Ordered { next: 0, pending: BTreeMap::new(), summary, on_report });
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    thread::scope(|scope| {
        for _ in 0..threads.min(found.len()) {
            scope.spawn(|| {
                while let Some(file) = (!stop.load(Ordering::Relaxed)).then(|| next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, found.get(at)?))) {
                    let (at, file) = file;
                    let report = scan_found(file, &options.scan);
                    // Another thread's panic in the caller's callback poisons the lock; the scan of the rest goes on.
                    let mut ordered = ordered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if !ordered.add(at, report, file.size) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let ordered = ordered.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ordered.summary
}

/// Hands reports over in the order of the files.
struct Ordered<F> {
    next: usize,
    pending: BTreeMap<usize, (Report, u64)>,
    summary: Summary,
    on_report: F,
}

impl<F: FnMut(Report, Progress) -> bool> Ordered<F> {
    fn add(&mut self, at: usize, report: Report, size: u64) -> bool {
        self.pending.insert(at, (report, size));
        while let Some((report, size)) = self.pending.remove(&self.next) {
            self.next += 1;
            self.summary.progress.files += 1;
            self.summary.progress.bytes += size;
            self.summary.count(report.verdict);
            if self.summary.stopped || !(self.on_report)(report, self.summary.progress) {
                self.summary.stopped = true;
                return false;
            }
        }
        true
    }
}

fn find(path: &Path, depth: u32, named: bool, found: &mut Vec<Found>, not_files: &mut u64) {
    let error = |error: String| Found { path: path.to_owned(), size: 0, error: Some(error) };
    // What the user names is followed; inside folders a link to a folder is not.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(failed) => return found.push(error(format!("cannot read: {failed}"))),
    };
    let linked = !named && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if metadata.is_file() {
        found.push(Found { path: path.to_owned(), size: metadata.len(), error: None });
    } else if metadata.is_dir() && !linked {
        let Some(depth) = depth.checked_sub(1) else { return found.push(error("folders are nested deeper than the limit".to_owned())) };
        match children(path) {
            Ok(children) => {
                for child in children {
                    find(&child, depth, false, found, not_files);
                }
            }
            Err(failed) => found.push(error(format!("cannot list: {failed}"))),
        }
    } else if named {
        found.push(error("neither a file nor a folder".to_owned()));
    } else if !metadata.is_dir() {
        *not_files += 1;
    }
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut children = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    children.sort();
    Ok(children)
}

fn scan_found(file: &Found, options: &ScanOptions) -> Report {
    let name = file.path.to_string_lossy();
    if let Some(error) = &file.error {
        return Report::unreadable(&name, file.size, error);
    }
    match File::open(&file.path).and_then(FileSource::new) {
        Ok(source) => scan(&source, &name, options),
        Err(error) => Report::unreadable(&name, file.size, &format!("cannot read: {error}")),
    }
}

impl Report {
    /// For a file that could not be opened.
    #[must_use]
    pub fn unreadable(path: &str, size: u64, reason: &str) -> Self {
        let mut collected = Collected::default();
        collected.incomplete(reason);
        collected.into_report(path, size, None, Format::Unknown)
    }
}
