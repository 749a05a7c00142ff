//! Scans files and folders on several threads, in a stable order, with progress by bytes and files.

use crate::digest::{self, Watch};
use crate::manifest::{Comparison, Manifest, ManifestFile, Stamp, Status, compare};
use crate::report::{Collected, Report, Verdict};
use crate::{Format, ScanOptions, path, scan, tensor_index};
use picket_bounded::{FileSource, MemorySource, Source, read_range};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Folders inside one another; deeper trees are reported, not followed.
const DEPTH_MAX: u32 = 128;

/// Files up to this size are read at once.
const HELD_BYTES_MAX: u64 = 1 << 20;

/// What a walk needs beside the options of each scan.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// For each file.
    pub scan: ScanOptions,
    /// Files scanned at once; 0 means one a core. Each may hold what [`picket_bounded::Limits`] allows.
    pub threads: usize,
    /// Takes digests of every file and of each tensor in it, which reads every byte.
    pub digest: bool,
    /// What the files are compared with; takes digests of those that are not the same by their stamp.
    pub baseline: Option<Arc<Baseline>>,
    /// Counts bytes digested, and asks for an early end: files not reached then are reported as such.
    pub watch: Arc<Watch>,
}

/// Digests taken earlier, and the folder or file whose they are.
#[derive(Debug)]
pub struct Baseline {
    files: HashMap<String, ManifestFile>,
    root: PathBuf,
    quick: bool,
}

impl Baseline {
    /// `root` is the path that is walked. `quick` takes a file for the same when inode, size and times are as they were.
    #[must_use]
    pub fn new(manifest: Manifest, root: &Path, quick: bool) -> Self {
        let files = manifest.files.into_iter().map(|file| (file.path.clone(), file)).collect();
        Self { files, root: root.to_owned(), quick }
    }

    fn before(&self, path: &Path) -> Option<&ManifestFile> {
        self.files.get(&relative(&self.root, path))
    }
}

/// A path as a manifest names it: below the folder that was walked, or the name of the one file that was.
pub(crate) fn relative(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_string_lossy().into_owned(),
        _ => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
    }
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
    /// Files that were found and not judged, because [`WalkOptions::watch`] asked to stop.
    pub not_reached: u64,
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
    /// Only the baseline has it.
    removed: bool,
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
    if let Some(baseline) = &options.baseline {
        removed(baseline, &mut found);
    }
    let total = Progress { files_total: found.len() as u64, bytes_total: found.iter().map(|file| file.size).sum(), ..Progress::default() };
    summary.progress = total;
    let ordered = Mutex::new(Ordered { next: 0, pending: BTreeMap::new(), summary, on_report });
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let threads = match options.threads {
        _ if found.len() < 2 => 1,
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let work = || {
        while let Some(file) = (!stop.load(Ordering::Relaxed)).then(|| next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, found.get(at)?))) {
            let (at, file) = file;
            let report = scan_found(file, options);
            // Another thread's panic in the caller's callback poisons the lock; the scan of the rest goes on.
            let mut ordered = ordered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !ordered.add(at, report, file.size) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        // This thread works as well: one file needs no other.
        for _ in 1..threads.min(found.len()) {
            scope.spawn(work);
        }
        work();
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
            self.summary.not_reached += u64::from(report.not_reached);
            if self.summary.stopped || !(self.on_report)(report, self.summary.progress) {
                self.summary.stopped = true;
                return false;
            }
        }
        true
    }
}

fn find(path: &Path, depth: u32, named: bool, found: &mut Vec<Found>, not_files: &mut u64) {
    let error = |error: String| Found { path: path.to_owned(), size: 0, error: Some(error), removed: false };
    // What the user names is followed; inside folders a link to a folder is not.
    let own = if named { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let linked = own.as_ref().is_ok_and(Metadata::is_symlink);
    let metadata = match if linked { fs::metadata(path) } else { own } {
        Ok(metadata) => metadata,
        Err(failed) => return found.push(error(format!("cannot read: {failed}"))),
    };
    if metadata.is_file() {
        found.push(Found { path: path.to_owned(), size: metadata.len(), error: None, removed: false });
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

/// Files of the baseline that the walk did not find.
fn removed(baseline: &Baseline, found: &mut Vec<Found>) {
    let there: HashSet<String> = found.iter().map(|file| relative(&baseline.root, &file.path)).collect();
    let mut gone: Vec<&String> = baseline.files.keys().filter(|path| !there.contains(*path)).collect();
    gone.sort();
    found.extend(gone.into_iter().map(|path| Found { path: baseline.root.join(path), size: 0, error: None, removed: true }));
}

fn scan_found(file: &Found, options: &WalkOptions) -> Report {
    let name = file.path.to_string_lossy();
    if file.removed {
        let mut report = Collected::default().into_report(&name, 0, None, Format::Unknown);
        report.compared(Comparison::of(Status::Removed));
        return report;
    }
    if options.watch.stop.load(Ordering::Relaxed) {
        let mut report = Report::unreadable(&name, file.size, "the scan was stopped before this file");
        report.not_reached = true;
        return report;
    }
    if let Some(error) = &file.error {
        return Report::unreadable(&name, file.size, error);
    }
    match open(&file.path) {
        Ok((source, before)) => scan_open(file, &name, &source, before, options),
        Err(error) => Report::unreadable(&name, file.size, &format!("cannot read: {error}")),
    }
}

fn open(path: &Path) -> io::Result<(FileSource, Stamp)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((FileSource::with_metadata(file, &metadata)?, stamp(&metadata)))
}

fn scan_open(file: &Found, name: &str, opened: &FileSource, before: Stamp, options: &WalkOptions) -> Report {
    // Looks at a small file are many; each would be a system call. What cannot be read whole says so where it is looked at.
    let held = if opened.len() <= HELD_BYTES_MAX { read_range(opened, 0, opened.len(), HELD_BYTES_MAX).ok().map(MemorySource::new) } else { None };
    let source: &dyn Source = held.as_ref().map_or(opened, |held| held);
    let known = options.baseline.as_ref().map(|baseline| (baseline, baseline.before(&file.path)));
    let same_by_stamp = known.as_ref().is_some_and(|(baseline, known)| baseline.quick && known.is_some_and(|known| known.stamp == before));
    let digesting = options.digest || known.is_some() && !same_by_stamp;
    let mut report = if digesting {
        // The digest pass has the SHA-256 too.
        scan(source, name, &ScanOptions { hash_up_to: 0, ..options.scan.clone() })
    } else {
        scan(source, name, &options.scan)
    };
    if digesting {
        // An empty file is within `hash_up_to: 0`; the pass below says the same.
        report.sha256 = None;
        let index = tensor_index(source, name, &options.scan);
        match digest::digest(source, &index, &|location| beside(&file.path, location), &options.watch) {
            Ok(digests) => {
                report.sha256 = Some(digests.file.sha256.clone());
                report.digests = Some(digests);
            }
            Err(error) => report.not_whole(&format!("no digest: {error}")),
        }
    }
    match opened.file().metadata() {
        Ok(after) if stamp(&after) == before => report.stamp = Some(before),
        _ => {
            // Neither what was judged nor what was digested need ever have been there together.
            report.not_whole("the file changed while it was read");
            (report.sha256, report.digests) = (None, None);
        }
    }
    if let Some((_, known)) = known {
        let comparison = match known {
            None => Comparison::of(Status::Added),
            Some(_) if same_by_stamp && report.stamp.is_some() => Comparison::of(Status::SameByStamp),
            Some(known) => compare(known, report.digests.as_ref()),
        };
        report.compared(comparison);
    }
    report
}

fn stamp(metadata: &Metadata) -> Stamp {
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Opens a file that a model names beside itself, never outside the model's folder by its name.
fn beside(model: &Path, location: &str) -> io::Result<Box<dyn Source>> {
    if path::escapes(location) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it lies outside the model's folder"));
    }
    let path = model.parent().unwrap_or(Path::new(".")).join(location);
    // Opening a pipe would wait for its writer.
    if !fs::metadata(&path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(Box::new(FileSource::new(File::open(&path)?)?))
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
