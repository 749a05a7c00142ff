//! `picketctl scan`: judges local artifacts; needs no server.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use picket_artifact::{
    Baseline, Comparison, Finding, ManifestFile, Progress, RegionRules, Report, ScanOptions, Severity, Status, Summary, Verdict, WalkOptions, Watch, digest,
    sarif, scan, scan_paths, tensor_index,
};
use picket_bounded::{MemorySource, Source, read_to_cap};
use picket_yara::{Limits, RuleSet, built_in, read_packs};

use super::interrupt;
use super::manifest;
use crate::cli::{Scan, Threshold};
use crate::error::CtlError;
use crate::output::{Format, Output, bytes, clean, harmless_json};

/// Standard input is held in memory, because judging needs random access; larger files are scanned by name.
const STDIN_BYTES_MAX: u64 = 1 << 30;
/// Findings of one file in the table; the rest is counted, and JSON has them all.
const FINDINGS_SHOWN_MAX: usize = 10;
/// How often the bar moves while one large file is read.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Findings were made.
const FOUND: u8 = 1;
/// Something could not be read, and nothing was found in the rest.
const NOT_FINISHED: u8 = 2;

/// Runs the scan and gives its exit code: 0 nothing found, 1 findings, 2 could not finish.
pub(crate) fn run(arguments: &Scan, output: &Output) -> ExitCode {
    match scan_all(arguments, output) {
        Ok(code) => ExitCode::from(code),
        Err(CtlError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(NOT_FINISHED),
        Err(error) => {
            // Errors of rules are one a line; a name in one of them cannot begin another.
            for (at, line) in error.to_string().lines().enumerate() {
                eprintln!("{}{}", if at == 0 { "error: " } else { "" }, clean(line));
            }
            ExitCode::from(NOT_FINISHED)
        }
    }
}

fn scan_all(arguments: &Scan, output: &Output) -> Result<u8, CtlError> {
    let rules = content_rules(arguments)?;
    let (stdin, paths): (Vec<_>, Vec<_>) = arguments.paths.iter().cloned().partition(|path| path == Path::new("-"));
    let root = manifest_root(arguments, &paths, !stdin.is_empty())?;
    let baseline = match (&arguments.baseline, &root) {
        (Some(file), Some(root)) => Some(Arc::new(Baseline::new(manifest::read(file)?, root, arguments.quick))),
        _ => None,
    };
    let watch = Arc::new(Watch::default());
    let walk = WalkOptions {
        scan: ScanOptions { region_rules: rules, all_regions: arguments.yara_all, ..ScanOptions::default() },
        threads: arguments.threads,
        digest: arguments.digest || arguments.manifest.is_some(),
        baseline,
        watch: Arc::clone(&watch),
    };
    let reading = walk.digest || walk.baseline.is_some();
    // One file that is only judged has nothing before it to tell and nothing behind it to leave out.
    if reading || !matches!(&arguments.paths[..], [path] if path.is_file()) {
        interrupt::on_ctrl_c(Arc::clone(&watch), "stopping after the files being read; again to quit at once");
    }
    let mut seen = Seen {
        output,
        threshold: arguments.fail_on,
        bar: bar(output),
        watch,
        reading,
        keep: root.filter(|_| arguments.manifest.is_some()),
        files: Vec::new(),
        reports: Vec::new(),
        compared: [0; 5],
        found: false,
        unread: false,
        paper: Paper { text: Vec::new(), written: Instant::now() },
        stdin: !stdin.is_empty(),
        failed: None,
    };
    if !stdin.is_empty() {
        seen.take(from_stdin(&walk), Progress::default());
    }
    let ticking = seen.bar.clone().filter(|_| reading).map(|bar| Ticker::start(bar, Arc::clone(&seen.watch)));
    let summary = scan_paths(&paths, &walk, |report, progress| seen.take(report, progress));
    drop(ticking);
    if let Some(file) = &arguments.manifest {
        let files = std::mem::take(&mut seen.files);
        let complete = summary.not_reached == 0 && !summary.stopped && files.iter().all(|file| file.digests.is_some());
        manifest::write(file, files, complete)?;
    }
    seen.end(summary)
}

/// The built-in YARA rules and those that were named; every error of every file is told at once.
fn content_rules(arguments: &Scan) -> Result<Option<Arc<dyn RegionRules>>, CtlError> {
    if arguments.no_yara {
        return Ok(None);
    }
    let mut packs = built_in();
    for path in &arguments.yara {
        packs.extend(read_packs(path).map_err(|error| CtlError::Usage(with_source(&error)))?);
    }
    let rules = RuleSet::compile(&packs, Limits::default()).map_err(|errors| CtlError::Usage(format!("YARA rules:\n{errors}")))?;
    Ok(Some(Arc::new(rules)))
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// The one path that a manifest is about.
fn manifest_root(arguments: &Scan, paths: &[PathBuf], stdin: bool) -> Result<Option<PathBuf>, CtlError> {
    if arguments.manifest.is_none() && arguments.baseline.is_none() {
        return Ok(None);
    }
    match paths {
        [root] if !stdin => Ok(Some(root.clone())),
        _ => Err(CtlError::Usage("--manifest and --baseline are about one PATH, a file or a folder".to_owned())),
    }
}

fn from_stdin(walk: &WalkOptions) -> Report {
    let source = match read_to_cap(io::stdin().lock(), STDIN_BYTES_MAX) {
        Ok(bytes) => MemorySource::new(bytes),
        Err(error) => return Report::unreadable("-", 0, &error.to_string()),
    };
    let mut report = scan(&source, "-", &walk.scan);
    if walk.digest {
        let nothing_beside = |_: &str| -> io::Result<Box<dyn Source>> { Err(io::Error::other("standard input has no folder")) };
        match digest(&source, &tensor_index(&source, "-", &walk.scan), &nothing_beside, &walk.watch) {
            Ok(digests) => {
                report.sha256 = Some(digests.file.sha256.clone());
                report.digests = Some(digests);
            }
            Err(error) => report.not_whole(&format!("no digest: {error}")),
        }
    }
    report
}

/// Moves the bar by bytes read while no file ends.
struct Ticker {
    done: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(bar: ProgressBar, watch: Arc<Watch>) -> Self {
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                bar.set_position(watch.bytes.load(Ordering::Relaxed));
                std::thread::park_timeout(BAR_EVERY);
            }
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there only stops the bar.
            let _ = thread.join();
        }
    }
}

/// What was seen so far, and how it is printed.
struct Seen<'o> {
    output: &'o Output,
    threshold: Threshold,
    bar: Option<ProgressBar>,
    watch: Arc<Watch>,
    /// Every byte is read, so the bar counts bytes read and not bytes of files judged.
    reading: bool,
    /// The path whose manifest is to be written.
    keep: Option<PathBuf>,
    files: Vec<ManifestFile>,
    /// Files by their standing to the baseline: same, changed, added, removed, unknown.
    compared: [u64; 5],
    /// Kept for SARIF alone, which is one document.
    reports: Vec<Report>,
    found: bool,
    unread: bool,
    paper: Paper,
    /// One file came from standard input.
    stdin: bool,
    failed: Option<CtlError>,
}

impl Seen<'_> {
    fn take(&mut self, report: Report, progress: Progress) -> bool {
        self.found |= report.findings.iter().any(|finding| finding.severity >= self.threshold.severity());
        self.unread |= !report.incomplete.is_empty();
        if let Some(root) = &self.keep {
            self.files.push(ManifestFile::of(&report, root));
        }
        if let Some(Comparison { status, .. }) = &report.baseline {
            let column = match status {
                Status::Same | Status::SameByStamp => 0,
                Status::Changed => 1,
                Status::Added => 2,
                Status::Removed => 3,
                Status::Unknown => 4,
            };
            self.compared.iter_mut().skip(column).take(1).for_each(|count| *count += 1);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(progress.bytes_total);
            if !self.reading {
                bar.set_position(progress.bytes);
            }
            bar.set_message(format!("{} of {} files", progress.files, progress.files_total));
        }
        let printed = match (self.output.format, &self.bar) {
            // One line at the end counts them; JSON names each.
            (Format::Table, _) if report.not_reached => Ok(()),
            (Format::Sarif, _) => {
                self.reports.push(report);
                Ok(())
            }
            (_, Some(bar)) => bar.suspend(|| self.paper.print(self.output, &report, false)),
            (_, None) => self.paper.print(self.output, &report, !self.reading && many_and_small(progress)),
        };
        self.failed = printed.err();
        self.failed.is_none()
    }

    fn end(mut self, summary: Summary) -> Result<u8, CtlError> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.paper.flush()?;
        if self.output.format == Format::Sarif {
            self.output.json(&sarif(&self.reports))?;
        }
        if self.output.format == Format::Table && summary.progress.files > 0 {
            self.output.note(&format!(
                "{}, {}: {} malicious, {} suspicious, {} not readable, {} clean",
                counted(summary.progress.files),
                bytes(summary.progress.bytes),
                summary.malicious,
                summary.suspicious,
                summary.unscannable,
                summary.clean
            ));
            if self.reading && self.compared.iter().any(|count| *count > 0) {
                let [same, changed, added, removed, unknown] = self.compared;
                self.output.note(&format!("against the baseline: {same} same, {changed} changed, {added} added, {removed} gone, {unknown} not comparable"));
            }
        }
        if summary.progress.files_total == 0 && !self.stdin {
            self.output.note("no files there: nothing was judged");
        }
        if summary.not_reached > 0 {
            self.output.note(&format!("stopped: {} of {} files were not judged; this result is partial", summary.not_reached, summary.progress.files_total));
        }
        Ok(match (self.found, self.unread) {
            (true, _) => FOUND,
            (false, true) => NOT_FINISHED,
            (false, false) => 0,
        })
    }
}

fn counted(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// On a terminal, and only there.
fn bar(output: &Output) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() || output.format == Format::Jsonl {
        return None;
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    Some(bar.with_style(style))
}

/// Files whose reports come faster than anybody reads them one by one.
fn many_and_small(progress: Progress) -> bool {
    progress.files_total > 64 && progress.bytes_total / progress.files_total < 1 << 20
}

/// Reports on their way to standard output.
struct Paper {
    text: Vec<u8>,
    written: Instant,
}

impl Paper {
    /// Text held at most, and how long.
    const BYTES_MAX: usize = 64 << 10;
    const TIME_MAX: Duration = Duration::from_millis(100);

    /// Prints one report now, or, where it may wait, with the next ones: a system call a file is much of what a small one costs.
    fn print(&mut self, output: &Output, report: &Report, may_wait: bool) -> Result<(), CtlError> {
        if output.format == Format::Table {
            table(&mut self.text, report)?;
        } else {
            let value = serde_json::to_value(report).map_err(|error| CtlError::Output(error.into()))?;
            self.text.extend(harmless_json(value.to_string()).into_bytes());
            self.text.push(b'\n');
        }
        if may_wait && !output.terminal && self.text.len() < Self::BYTES_MAX && self.written.elapsed() < Self::TIME_MAX {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), CtlError> {
        let mut out = io::stdout().lock();
        out.write_all(&self.text)?;
        out.flush()?;
        self.text.clear();
        self.written = Instant::now();
        Ok(())
    }
}

fn table(out: &mut Vec<u8>, report: &Report) -> Result<(), CtlError> {
    let verdict = match report.verdict {
        Verdict::Malicious => "MALICIOUS",
        Verdict::Suspicious => "suspicious",
        Verdict::Unscannable => "unscannable",
        Verdict::Clean => "clean",
    };
    writeln!(out, "{verdict:<12} {:<22} {:>10}  {}", report.format.name(), bytes(report.size), clean(&report.path))?;
    for finding in report.findings.iter().take(FINDINGS_SHOWN_MAX) {
        print_finding(out, finding)?;
    }
    let more = report.findings.len().saturating_sub(FINDINGS_SHOWN_MAX) as u64 + report.findings_dropped;
    if more > 0 {
        writeln!(out, "    and {more} more findings")?;
    }
    for reason in &report.incomplete {
        writeln!(out, "    not read: {}", clean(reason))?;
    }
    if let Some(digests) = &report.digests {
        writeln!(out, "    sha256 {}\n    blake3 {}", digests.file.sha256, digests.file.blake3)?;
        for reason in &digests.incomplete {
            writeln!(out, "    no digest: {}", clean(reason))?;
        }
        if !digests.tensors.is_empty() {
            writeln!(out, "    {} tensors have digests (--format json or --manifest shows them)", digests.tensors.len())?;
        }
    }
    Ok(())
}

fn print_finding(out: &mut impl io::Write, finding: &Finding) -> Result<(), CtlError> {
    let evidence = &finding.evidence;
    let severity = match finding.severity {
        Severity::Critical => "critical",
        Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low => "low",
        Severity::Informational => "info",
    };
    writeln!(out, "    {severity:<9} {}  {}", finding.rule_id, finding.title)?;
    writeln!(out, "              {}", clean(&finding.explanation))?;
    let place = [
        (!evidence.member.is_empty()).then(|| format!("in {}", evidence.member)),
        evidence.offset.map(|offset| format!("at {offset:#x}")),
        evidence.opcode.clone(),
        evidence.key.as_ref().map(|key| format!("key {key}")),
        evidence.value.clone(),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    if !place.is_empty() {
        writeln!(out, "              {}", clean(&place.join("  ")))?;
    }
    Ok(())
}
