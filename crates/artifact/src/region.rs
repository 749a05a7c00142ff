//! The parts of a file that can hold code or text, handed to content rules.
//!
//! Rules over bytes cost what they read, and tensors are most of a file and hold neither code nor text. So each format says which of its
//! bytes are worth a look; what is left out is counted in the report.

use crate::Format;
use crate::report::Finding;
use crate::rules::Rule;
use crate::scan::{Place, Scan};
use picket_bounded::{Source, read_range};
use serde::Serialize;
use std::time::Instant;

/// Held in memory at once; longer spans are cut into pieces of this size.
const REGION_BYTES_MAX: u64 = 16 << 20;
/// Pieces of one span share this much, so that a pattern across the cut is seen.
const OVERLAP_BYTES: u64 = 4 << 10;
/// Text and code. Larger files are data sets.
const TEXT_BYTES_MAX: u64 = 64 << 20;
/// Programs: their code and constants stand in front of what they carry.
const PROGRAM_BYTES_MAX: u64 = 64 << 20;
/// A pickle: instructions and constants stand before the elements of its arrays, or between small ones.
const PICKLE_BYTES_MAX: u64 = 32 << 20;
/// Graphs and headers of formats that mix them with weights.
const HEAD_BYTES_MAX: u64 = 4 << 20;
/// What was appended.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a file, and where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    /// Path of the member, levels joined with `!`; empty for the file itself.
    pub member: &'a str,
    /// Last part of the name.
    pub name: &'a str,
    /// What the content was recognised as.
    pub format: Format,
    /// Offset of the first byte inside the member.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
    /// When the scan of the file has to end.
    pub deadline: Option<Instant>,
}

/// A rule that matched a region.
#[derive(Clone, Debug)]
pub struct RegionMatch {
    /// The rule.
    pub rule: &'static Rule,
    /// Where the first match begins, inside the region; nothing for a rule without patterns.
    pub offset: Option<u64>,
    /// The pattern that matched.
    pub pattern: Option<String>,
    /// What matched, cut and escaped by the report.
    pub excerpt: Option<String>,
    /// Why it counts, in one sentence.
    pub explanation: String,
}

/// What the rules say of one region.
#[derive(Clone, Debug, Default)]
pub struct RegionOutcome {
    /// Rules that matched.
    pub matches: Vec<RegionMatch>,
    /// Why not everything was looked at.
    pub incomplete: Option<String>,
}

/// Content rules, applied to every region. Called from several threads.
pub trait RegionRules: Send + Sync + std::fmt::Debug {
    /// Applies the rules to one region. Must come back soon after its deadline.
    fn apply(&self, region: &Region<'_>) -> RegionOutcome;

    /// Name of the set of rules, so that a verdict can say what it was made with.
    fn identity(&self) -> String;
}

/// What content rules saw of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RulesApplied {
    /// Identity of the set of rules.
    pub identity: String,
    /// Regions looked at.
    pub regions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes left out because they are elements of tensors, or stand behind what a format's head may hold.
    pub bytes_left_out: u64,
}

/// Applies the rules of the options, where there are any, to what `format` says is worth it.
pub(crate) fn apply(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) {
    let Some(rules) = scan.options.region_rules.clone() else { return };
    let spans = spans(format, source, scan.options.all_regions);
    let Some(spans) = spans else { return };
    let mut covered = 0;
    for (start, length) in spans {
        covered += length;
        let mut at = start;
        while at < start + length {
            let size = (start + length - at).min(REGION_BYTES_MAX);
            if let Err(error) = scan.budget.check_time() {
                scan.incomplete(place, &format!("rules were not applied to everything: {error}"));
                return;
            }
            let bytes = match read_range(source, at, size, REGION_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) => {
                    scan.failed(place, &error);
                    return;
                }
            };
            let offset = place.base.saturating_add(at);
            let region = Region { member: &place.member, name: &place.name, format, offset, bytes: &bytes, deadline: scan.deadline };
            let outcome = rules.apply(&region);
            scan.applied.regions += 1;
            scan.applied.bytes += size;
            enter(scan, place, offset, outcome);
            at = if at + size >= start + length { start + length } else { at + size - OVERLAP_BYTES };
        }
    }
    scan.applied.bytes_left_out += source.len().saturating_sub(covered);
}

fn enter(scan: &mut Scan<'_>, place: &Place, base: u64, outcome: RegionOutcome) {
    for one in outcome.matches {
        let mut finding = Finding::new(one.rule, &place.member, one.explanation);
        if let Some(offset) = one.offset {
            finding = finding.at(base.saturating_add(offset));
        }
        if let Some(pattern) = one.pattern {
            finding = finding.key(pattern);
        }
        if let Some(excerpt) = one.excerpt {
            finding = finding.value(excerpt);
        }
        scan.add(finding);
    }
    if let Some(why) = outcome.incomplete {
        scan.incomplete(place, &why);
    }
}

/// Starts and lengths, in order and without overlap; nothing for containers, whose members are regions of their own.
fn spans(format: Format, source: &dyn Source, all: bool) -> Option<Vec<(u64, u64)>> {
    let len = source.len();
    let ends = |head: u64, tail: u64| {
        let head = head.min(len);
        let tail = tail.min(len - head);
        if tail == 0 { vec![(0, head)] } else { vec![(0, head), (len - tail, tail)] }
    };
    Some(match format {
        Format::Empty => return None,
        _ if all => vec![(0, len)],
        _ if is_container(format) => return None,
        Format::Text
        | Format::Json
        | Format::Yaml
        | Format::Xml
        | Format::Python
        | Format::Pth
        | Format::Jinja
        | Format::Script
        | Format::Notebook
        | Format::Skops
        | Format::KerasMetadata
        | Format::LightGbm
        | Format::MlModel
        | Format::OpenVino
        | Format::Pmml
        | Format::Requirements
        | Format::PythonBytecode => ends(TEXT_BYTES_MAX, 0),
        Format::Elf | Format::Pe | Format::MachO | Format::Llamafile => ends(PROGRAM_BYTES_MAX, TAIL_BYTES_MAX),
        Format::Pickle | Format::Joblib | Format::PytorchLegacy => ends(PICKLE_BYTES_MAX, TAIL_BYTES_MAX),
        Format::Safetensors => ends(safetensors_header(source), 0),
        _ => ends(HEAD_BYTES_MAX, TAIL_BYTES_MAX),
    })
}

/// With its eight bytes of length.
fn safetensors_header(source: &dyn Source) -> u64 {
    let length = read_range(source, 0, 8, 8).ok().and_then(|bytes| bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)));
    length.unwrap_or(0).saturating_add(8).min(TEXT_BYTES_MAX)
}

fn is_container(format: Format) -> bool {
    use Format::{
        Bzip2, Gzip, KerasV3, Lz4, LzmaAlone, Nemo, Npz, OciImage, OciLayer, PytorchTar, PytorchZip, SevenZip, Tar, TorchMar, TorchScript, Wheel, Xz, ZFile,
        Zip, Zlib, Zstd,
    };
    let archive =
        matches!(format, KerasV3 | Nemo | Npz | OciImage | OciLayer | PytorchTar | PytorchZip | SevenZip | Tar | TorchMar | TorchScript | Wheel | Zip);
    archive || matches!(format, Bzip2 | Gzip | Lz4 | LzmaAlone | Xz | ZFile | Zlib | Zstd)
}
