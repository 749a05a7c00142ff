//! The scan of one file: what it may still cost, what it found, and the one function that every nesting goes through.

use crate::detect::{self, Sniffed};
use crate::report::{Collected, Finding, Member, Report};
use crate::{Format, RulesApplied, ScanOptions, handlers, region, rules};
use picket_bounded::{BoundedError, Budget, Source, Window, read_range};
use sha2::{Digest, Sha256};
use std::time::Instant;

/// Data behind a format's end that is shorter is padding.
const TRAILING_BYTES_MIN: u64 = 64;
/// Bytes hashed between two looks at the clock.
const HASH_BYTES: u64 = 1 << 20;

/// Where a source stands inside the scanned file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Path of the member, levels joined with `!`; empty for the file itself.
    pub(crate) member: String,
    /// Last part of the name, for what names decide (never for the format).
    pub(crate) name: String,
    /// Where the source begins inside the member.
    pub(crate) base: u64,
    pub(crate) depth: u32,
    /// Inside a layer of a container image, where programs are what one expects.
    pub(crate) in_layer: bool,
}

impl Place {
    /// The scanned file itself.
    pub(crate) fn of_file(name_hint: &str) -> Self {
        let name = name_hint.rsplit('/').next().unwrap_or(name_hint).to_owned();
        Self { member: String::new(), name, base: 0, depth: 0, in_layer: false }
    }

    pub(crate) fn inside(&self, name: &str) -> Self {
        let separator = if self.member.is_empty() { "" } else { "!" };
        let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
        Self { member: format!("{}{separator}{name}", self.member), name: last.to_owned(), base: 0, depth: self.depth + 1, in_layer: self.in_layer }
    }

    /// The same member further in.
    pub(crate) fn behind(&self, offset: u64) -> Self {
        Self { base: self.base.saturating_add(offset), depth: self.depth + 1, ..self.clone() }
    }
}

/// One file being scanned.
pub(crate) struct Scan<'o> {
    pub(crate) options: &'o ScanOptions,
    pub(crate) budget: Budget,
    pub(crate) deadline: Option<Instant>,
    pub(crate) applied: RulesApplied,
    /// Where somebody wants to know which storages a pickle names.
    pub(crate) storages: Option<Storages>,
    collected: Collected,
}

/// The keys of the storages that the first pickle of a member names, once it was judged.
pub(crate) struct Storages {
    pub(crate) member: String,
    pub(crate) keys: Option<Vec<String>>,
}

impl<'o> Scan<'o> {
    pub(crate) fn new(options: &'o ScanOptions) -> Self {
        let deadline = options.time_max.and_then(|time| Instant::now().checked_add(time));
        let applied = RulesApplied { identity: options.region_rules.as_ref().map(|rules| rules.identity()).unwrap_or_default(), ..RulesApplied::default() };
        Self { options, budget: Budget::new(options.limits.clone(), deadline), deadline, applied, storages: None, collected: Collected::default() }
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.collected.add(finding, self.options.limits.findings);
    }

    pub(crate) fn incomplete(&mut self, place: &Place, reason: &str) {
        if place.member.is_empty() {
            self.collected.incomplete(reason);
        } else {
            self.collected.incomplete(&format!("{}: {reason}", place.member));
        }
    }

    pub(crate) fn failed(&mut self, place: &Place, error: &BoundedError) {
        self.incomplete(place, &error.to_string());
    }

    /// Runs `work` in a scan of its own that shares the budget, and gives back what it found instead of keeping it.
    pub(crate) fn member(&mut self, place: &Place, size: u64, format: Format) {
        self.collected.members.push(Member { path: crate::report::printable(&place.member), size, format });
    }
}

/// Scans one file. Nothing in it is loaded, unpickled or run.
#[must_use]
pub fn scan(source: &dyn Source, name_hint: &str, options: &ScanOptions) -> Report {
    scan_with(source, name_hint, options, examine)
}

/// Judges a file as one format, whatever its content says: what a loader does that was told the format, and what reaches a
/// parser directly with bytes of any kind.
#[must_use]
pub fn scan_as(source: &dyn Source, name_hint: &str, format: Format, options: &ScanOptions) -> Report {
    scan_with(source, name_hint, options, |scan, source, place| handlers::examine_as(scan, source, place, format).format)
}

fn scan_with(source: &dyn Source, name_hint: &str, options: &ScanOptions, judge: impl FnOnce(&mut Scan<'_>, &dyn Source, &Place) -> Format) -> Report {
    let mut scan = Scan::new(options);
    let place = Place::of_file(name_hint);
    let format = judge(&mut scan, source, &place);
    let sha256 = if options.hash_up_to >= source.len() { digest(&mut scan, source, &place) } else { None };
    let mut report = scan.collected.into_report(name_hint, source.len(), sha256, format);
    report.rules_applied = options.region_rules.is_some().then_some(scan.applied);
    report
}

fn digest(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Option<String> {
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < source.len() {
        let read = read_range(source, offset, HASH_BYTES.min(source.len() - offset), HASH_BYTES);
        match read {
            Ok(bytes) => {
                hasher.update(&bytes);
                offset += bytes.len() as u64;
            }
            Err(error) => {
                scan.failed(place, &error);
                return None;
            }
        }
    }
    Some(hex::encode(hasher.finalize()))
}

/// Judges a source by everything its content can be, and what follows the end of that as a file of its own.
pub(crate) fn examine(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Format {
    if place.depth > scan.options.limits.depth {
        scan.add(Finding::new(
            &rules::NESTED_DEEP,
            &place.member,
            format!("More than {} containers stand inside one another; the innermost were not read.", scan.options.limits.depth),
        ));
        scan.incomplete(place, "nested deeper than the limit");
        return Format::Unknown;
    }
    if let Err(error) = scan.budget.spend_member() {
        scan.failed(place, &error);
        return Format::Unknown;
    }
    let sniffed = match detect::sniff(scan, source, place) {
        Ok(sniffed) => sniffed,
        Err(error) => {
            scan.failed(place, &error);
            return Format::Unknown;
        }
    };
    let Sniffed { format, appended_zip } = sniffed;
    let claim = handlers::examine_as(scan, source, place, format);
    if place.depth > 0 {
        scan.member(place, source.len(), claim.format);
    }
    detect::compare_name(scan, place, claim.format);
    region::apply(scan, source, place, claim.format);
    // An archive may lie inside a container's member or a pickle's bytes; inside tensors or behind a program it is another file.
    if let Some(start) = appended_zip.filter(|start| *start >= claim.end || !holds_archives(claim.format)) {
        appended(scan, source, place, claim.format, start);
    } else if source.len().saturating_sub(claim.end) > TRAILING_BYTES_MIN {
        trailing(scan, source, place, claim);
    }
    claim.format
}

fn holds_archives(format: Format) -> bool {
    use Format::{Bzip2, Gzip, Joblib, Lz4, LzmaAlone, Pickle, PytorchLegacy, PytorchTar, Tar, Xz, Zlib, Zstd};
    matches!(format, Bzip2 | Gzip | Joblib | Lz4 | LzmaAlone | Pickle | PytorchLegacy | PytorchTar | Tar | Xz | Zlib | Zstd)
}

/// How far a handler understood a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) format: Format,
    pub(crate) end: u64,
}

fn appended(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format, start: u64) {
    // A program that carries its data in an archive is one file for one reader.
    if !format.is_program() {
        let explanation =
            format!("A zip archive is appended to the {format}: programs that look for an archive read other content than those that start at the front.");
        scan.add(Finding::new(&rules::POLYGLOT, &place.member, explanation).at(place.base.saturating_add(start)));
    }
    let window = Window::new(source, start, source.len() - start);
    examine(scan, &window, &place.behind(start));
}

fn trailing(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, claim: Claim) {
    let length = source.len() - claim.end;
    let window = Window::new(source, claim.end, length);
    match zero_run(&window) {
        Ok(true) => return,
        Ok(false) => {}
        Err(error) => scan.failed(place, &error),
    }
    let explanation = format!("{length} bytes follow the end of the {}; no reader of the format looks at them.", claim.format);
    scan.add(Finding::new(&rules::TRAILING_DATA, &place.member, explanation).at(place.base.saturating_add(claim.end)));
    let inner = place.behind(claim.end);
    if let Ok(Sniffed { format, .. }) = detect::sniff(scan, &window, &inner)
        && !matches!(format, Format::Unknown | Format::Text)
    {
        examine(scan, &window, &inner);
    }
}

/// Zeros are how file systems and tar pad.
fn zero_run(source: &dyn Source) -> Result<bool, BoundedError> {
    let mut offset = 0;
    while offset < source.len() {
        let bytes = read_range(source, offset, HASH_BYTES.min(source.len() - offset), HASH_BYTES)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += bytes.len() as u64;
    }
    Ok(true)
}
