//! `picketctl scan`: judges local artifacts; needs no server.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use picket_artifact::{Finding, Progress, RegionRules, Report, ScanOptions, Severity, Summary, Verdict, WalkOptions, sarif, scan, scan_paths};
use picket_bounded::{MemorySource, read_to_cap};
use picket_yara::{Limits, RuleSet, built_in, read_packs};

use crate::cli::{Scan, Threshold};
use crate::error::CtlError;
use crate::output::{Format, Output, bytes, clean};

/// Standard input is held in memory, because judging needs random access; larger files are scanned by name.
const STDIN_BYTES_MAX: u64 = 1 << 30;
/// Findings of one file in the table; the rest is counted, and JSON has them all.
const FINDINGS_SHOWN_MAX: usize = 10;

/// Findings were made.
const FOUND: u8 = 1;
/// Something could not be read, and nothing was found in the rest.
const NOT_FINISHED: u8 = 2;

/// Runs the scan and gives its exit code: 0 nothing found, 1 findings, 2 could not finish.
pub(crate) fn run(arguments: &Scan, output: &Output) -> ExitCode {
    match scan_all(arguments, output) {
        Ok(code) => ExitCode::from(code),
        Err(CtlError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(NOT_FINISHED),
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
    let mut options = ScanOptions { region_rules: content_rules(arguments)?, all_regions: arguments.yara_all, ..ScanOptions::default() };
    if arguments.digest {
        options.hash_up_to = u64::MAX;
    }
    let mut seen = Seen { output, threshold: arguments.fail_on, bar: bar(output), reports: Vec::new(), found: false, unread: false, failed: None };
    let (stdin, paths): (Vec<_>, Vec<_>) = arguments.paths.iter().cloned().partition(|path| path == Path::new("-"));
    if !stdin.is_empty() {
        let report = match read_to_cap(std::io::stdin().lock(), STDIN_BYTES_MAX) {
            Ok(bytes) => scan(&MemorySource::new(bytes), "-", &options),
            Err(error) => Report::unreadable("-", 0, &error.to_string()),
        };
        seen.take(report, Progress::default());
    }
    let walk = WalkOptions { scan: options, threads: arguments.threads };
    let summary = scan_paths(&paths, &walk, |report, progress| seen.take(report, progress));
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

/// What was seen so far, and how it is printed.
struct Seen<'o> {
    output: &'o Output,
    threshold: Threshold,
    bar: Option<ProgressBar>,
    /// Kept for SARIF alone, which is one document.
    reports: Vec<Report>,
    found: bool,
    unread: bool,
    failed: Option<CtlError>,
}

impl Seen<'_> {
    fn take(&mut self, report: Report, progress: Progress) -> bool {
        self.found |= report.findings.iter().any(|finding| finding.severity >= self.threshold.severity());
        self.unread |= !report.incomplete.is_empty();
        if let Some(bar) = &self.bar {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} of {} files", progress.files, progress.files_total));
        }
        let printed = match (self.output.format, &self.bar) {
            (Format::Sarif, _) => {
                self.reports.push(report);
                Ok(())
            }
            (_, Some(bar)) => bar.suspend(|| print(self.output, &report)),
            (_, None) => print(self.output, &report),
        };
        self.failed = printed.err();
        self.failed.is_none()
    }

    fn end(self, summary: Summary) -> Result<u8, CtlError> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.output.format == Format::Sarif {
            self.output.json(&sarif(&self.reports))?;
        }
        if self.output.format == Format::Table && summary.progress.files > 0 {
            self.output.note(&format!(
                "{} files, {}: {} malicious, {} suspicious, {} not readable, {} clean",
                summary.progress.files,
                bytes(summary.progress.bytes),
                summary.malicious,
                summary.suspicious,
                summary.unscannable,
                summary.clean
            ));
        }
        Ok(match (self.found, self.unread) {
            (true, _) => FOUND,
            (false, true) => NOT_FINISHED,
            (false, false) => 0,
        })
    }
}

/// On a terminal, and only there.
fn bar(output: &Output) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() || output.format == Format::Jsonl {
        return None;
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    Some(bar.with_style(style))
}

fn print(output: &Output, report: &Report) -> Result<(), CtlError> {
    if output.format != Format::Table {
        let value = serde_json::to_value(report).map_err(|error| CtlError::Output(error.into()))?;
        return output.json_line(&value);
    }
    let mut out = std::io::stdout().lock();
    let verdict = match report.verdict {
        Verdict::Malicious => "MALICIOUS",
        Verdict::Suspicious => "suspicious",
        Verdict::Unscannable => "unscannable",
        Verdict::Clean => "clean",
    };
    writeln!(out, "{verdict:<12} {:<22} {:>10}  {}", report.format.name(), bytes(report.size), clean(&report.path))?;
    for finding in report.findings.iter().take(FINDINGS_SHOWN_MAX) {
        print_finding(&mut out, finding)?;
    }
    let more = report.findings.len().saturating_sub(FINDINGS_SHOWN_MAX) as u64 + report.findings_dropped;
    if more > 0 {
        writeln!(out, "    and {more} more findings")?;
    }
    for reason in &report.incomplete {
        writeln!(out, "    not read: {}", clean(reason))?;
    }
    Ok(())
}

fn print_finding(out: &mut impl std::io::Write, finding: &Finding) -> Result<(), CtlError> {
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
