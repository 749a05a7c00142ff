//! Digests kept, and what differs from them later.

use crate::digest::{Digests, FileDigests, TensorDigest};
use crate::report::{Finding, Report};
use crate::rules;
use crate::walk::relative;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The form of a manifest. A reader refuses any other.
pub const MANIFEST_SCHEMA: &str = "picket.manifest/1";

/// Findings about single tensors of one file; the comparison lists all of them.
const TENSOR_FINDINGS_MAX: usize = 50;

/// Digests of files and tensors at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: String,
    /// When, in RFC 3339.
    pub created: String,
    /// False when something could not be digested: such a manifest proves less.
    pub complete: bool,
    /// By path.
    pub files: Vec<ManifestFile>,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the folder that was scanned; its name where a file was.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// What the file system said; tells a file that cannot have changed since.
    pub stamp: Stamp,
    /// The content's format.
    pub format: String,
    /// Of all its bytes; nothing when it could not be read.
    pub digests: Option<Digests>,
    /// Of each tensor.
    pub tensors: Vec<TensorDigest>,
    /// What has no digest, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

/// What the kernel changes whenever a file's content changes. Only root can set a change time back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Device of the file system.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970 of the last change of content.
    pub mtime_ns: i64,
    /// Nanoseconds since 1970 of the last change of content or metadata.
    pub ctime_ns: i64,
}

/// How a file stands to the baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// In one word.
    pub status: Status,
    /// Tensors whose bytes, type or shape differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<TensorChange>,
    /// Tensors that the baseline does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Tensors that only the baseline has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Bytes outside of every tensor differ, or no tensor explains why the file does.
    pub other_bytes: bool,
}

/// The word for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The digest is the same.
    Same,
    /// Not read again: same inode, size and times as when the baseline was taken.
    SameByStamp,
    /// The digest differs.
    Changed,
    /// Not in the baseline.
    Added,
    /// Only in the baseline.
    Removed,
    /// One of the two digests is missing.
    Unknown,
}

/// What differs of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorChange {
    /// Its name.
    pub name: String,
    /// Among `bytes`, `dtype`, `shape`.
    pub what: Vec<&'static str>,
    /// Type and shape in the baseline.
    pub before: String,
    /// Type and shape now.
    pub after: String,
}

impl Comparison {
    /// With nothing to say about single tensors.
    #[must_use]
    pub fn of(status: Status) -> Self {
        Self { status, changed: Vec::new(), added: Vec::new(), removed: Vec::new(), other_bytes: false }
    }
}

impl ManifestFile {
    /// The entry of a report, named relative to `root`, the path that was walked.
    #[must_use]
    pub fn of(report: &Report, root: &Path) -> Self {
        let (tensors, mut incomplete) = report.digests.as_ref().map(|digests| (digests.tensors.clone(), digests.incomplete.clone())).unwrap_or_default();
        if report.digests.is_none() {
            incomplete.extend(report.incomplete.iter().cloned());
        }
        Self {
            path: relative(root, Path::new(&report.path)),
            size: report.size,
            stamp: report.stamp.unwrap_or_default(),
            format: report.format.name().to_owned(),
            digests: report.digests.as_ref().map(|digests| digests.file.clone()),
            tensors,
            incomplete,
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug)]
pub enum ManifestError {
    /// Not the JSON of a manifest.
    Malformed(serde_json::Error),
    /// Of another form.
    Schema(String),
    /// The same path twice: which entry counts would be a guess.
    Duplicate(String),
}

impl std::error::Error for ManifestError {}

impl std::fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(error) => write!(formatter, "not a manifest: {error}"),
            Self::Schema(found) => write!(formatter, "a manifest of the form {found:?}; this program reads {MANIFEST_SCHEMA}"),
            Self::Duplicate(path) => write!(formatter, "the manifest names {path:?} twice"),
        }
    }
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// When it is no manifest, of another form, or ambiguous.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Form {
            schema: String,
        }
        let form: Form = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        if form.schema != MANIFEST_SCHEMA {
            return Err(ManifestError::Schema(form.schema));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        let mut seen = std::collections::HashSet::new();
        match manifest.files.iter().find(|file| !seen.insert(file.path.as_str())) {
            Some(twice) => Err(ManifestError::Duplicate(twice.path.clone())),
            None => Ok(manifest),
        }
    }
}

/// Compares what a file is now with what it was; `now` is nothing when it could not be digested.
#[must_use]
pub fn compare(before: &ManifestFile, now: Option<&FileDigests>) -> Comparison {
    let mut comparison = Comparison::of(Status::Unknown);
    let (Some(then), Some(now)) = (&before.digests, now) else { return comparison };
    if then.blake3 == now.file.blake3 {
        comparison.status = if then.sha256 == now.file.sha256 { Status::Same } else { Status::Unknown };
        return comparison;
    }
    comparison.status = Status::Changed;
    let (old, new) = (numbered(&before.tensors), numbered(&now.tensors));
    for (key, was) in &old {
        let Some(is) = new.get(key) else {
            comparison.removed.push(was.name.clone());
            continue;
        };
        let what = [(was.digests != is.digests, "bytes"), (was.dtype != is.dtype, "dtype"), (was.shape != is.shape || was.stride != is.stride, "shape")];
        let what: Vec<&'static str> = what.into_iter().filter_map(|(differs, word)| differs.then_some(word)).collect();
        if !what.is_empty() {
            comparison.changed.push(TensorChange { name: was.name.clone(), what, before: shown(was), after: shown(is) });
        }
    }
    comparison.added = new.iter().filter(|(key, _)| !old.contains_key(*key)).map(|(_, is)| is.name.clone()).collect();
    comparison.changed.sort_by(|one, other| one.name.cmp(&other.name));
    comparison.added.sort();
    comparison.removed.sort();
    comparison.other_bytes = comparison.changed.is_empty() && comparison.added.is_empty() && comparison.removed.is_empty();
    comparison
}

/// Tensors by name and by which of that name it is: a hostile file may call two the same.
fn numbered(tensors: &[TensorDigest]) -> HashMap<(&str, usize), &TensorDigest> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut numbered = HashMap::new();
    for tensor in tensors {
        let count = counts.entry(&tensor.name).or_default();
        numbered.insert((tensor.name.as_str(), *count), tensor);
        *count += 1;
    }
    numbered
}

fn shown(tensor: &TensorDigest) -> String {
    format!("{} {:?}", tensor.dtype, tensor.shape)
}

impl Report {
    /// Adds what the comparison says, as findings.
    pub fn compared(&mut self, comparison: Comparison) {
        match comparison.status {
            Status::Same | Status::SameByStamp => {}
            Status::Unknown => self.not_whole("the file could not be compared with the baseline: one of the two has no digest"),
            Status::Added => self.found(Finding::new(&rules::BASELINE_ADDED, "", "The baseline has no file of this name.")),
            Status::Removed => self.found(Finding::new(&rules::BASELINE_REMOVED, "", "The file is in the baseline and no longer there.")),
            Status::Changed => self.differs(&comparison),
        }
        self.baseline = Some(comparison);
    }

    fn differs(&mut self, comparison: &Comparison) {
        if comparison.other_bytes {
            let explanation = "The file differs from the baseline, and every tensor with a digest is the same: its metadata or other bytes changed.";
            self.found(Finding::new(&rules::BASELINE_CHANGED, "", explanation));
        }
        for change in comparison.changed.iter().take(TENSOR_FINDINGS_MAX) {
            let explanation = format!("The tensor {} differs from the baseline in its {}.", change.name, change.what.join(" and "));
            let value = if change.before == change.after { change.after.clone() } else { format!("{} -> {}", change.before, change.after) };
            self.found(Finding::new(&rules::BASELINE_TENSOR_CHANGED, "", explanation).key(&change.name).value(value));
        }
        for name in comparison.added.iter().take(TENSOR_FINDINGS_MAX) {
            self.found(Finding::new(&rules::BASELINE_TENSOR_SET, "", format!("The tensor {name} is not in the baseline.")).key(name));
        }
        for name in comparison.removed.iter().take(TENSOR_FINDINGS_MAX) {
            self.found(Finding::new(&rules::BASELINE_TENSOR_SET, "", format!("The tensor {name} of the baseline is gone.")).key(name));
        }
        let shown = |count: usize| count.min(TENSOR_FINDINGS_MAX);
        let (changed, added, removed) = (comparison.changed.len(), comparison.added.len(), comparison.removed.len());
        self.findings_dropped += (changed + added + removed - shown(changed) - shown(added) - shown(removed)) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Verdict};

    fn tensor(name: &str, shape: &[u64], content: &[u8]) -> TensorDigest {
        TensorDigest {
            name: name.to_owned(),
            dtype: "F32".to_owned(),
            shape: shape.to_vec(),
            stride: Vec::new(),
            bytes: content.len() as u64,
            digests: digests(content),
            offset: Some(0),
            external: None,
        }
    }

    fn digests(content: &[u8]) -> Digests {
        Digests { sha256: format!("s{content:?}"), blake3: format!("b{content:?}") }
    }

    fn file(content: &[u8], tensors: Vec<TensorDigest>) -> ManifestFile {
        ManifestFile {
            path: "m".to_owned(),
            size: 1,
            stamp: Stamp::default(),
            format: "safetensors".to_owned(),
            digests: Some(digests(content)),
            tensors,
            incomplete: Vec::new(),
        }
    }

    fn now(content: &[u8], tensors: Vec<TensorDigest>) -> FileDigests {
        FileDigests { file: digests(content), tensors, incomplete: Vec::new() }
    }

    #[test]
    fn changes_are_named_and_become_findings() {
        let before = file(b"1", vec![tensor("a", &[2], b"a"), tensor("b", &[2], b"b"), tensor("c", &[4], b"c"), tensor("gone", &[1], b"g")]);
        let after = now(b"2", vec![tensor("a", &[2], b"a"), tensor("b", &[2], b"B"), tensor("c", &[2, 2], b"c"), tensor("new", &[1], b"n")]);
        let comparison = compare(&before, Some(&after));
        let changed: Vec<_> = comparison.changed.iter().map(|change| (change.name.as_str(), change.what.clone())).collect();
        assert_eq!(changed, [("b", vec!["bytes"]), ("c", vec!["shape"])]);
        assert_eq!((comparison.added.clone(), comparison.removed.clone(), comparison.other_bytes), (vec!["new".to_owned()], vec!["gone".to_owned()], false));
        let mut report = Report::unread_nothing("m", 1, Format::Safetensors);
        report.compared(comparison);
        assert_eq!((report.verdict, report.findings.len()), (Verdict::Suspicious, 4));
        assert_eq!(report.findings[0].rule_id, "PICKET-BSL-001");
    }

    #[test]
    fn same_metadata_only_and_unknown() {
        let before = file(b"1", vec![tensor("a", &[2], b"a")]);
        assert_eq!(compare(&before, Some(&now(b"1", Vec::new()))).status, Status::Same);
        let other = compare(&before, Some(&now(b"2", vec![tensor("a", &[2], b"a")])));
        assert_eq!((other.status, other.other_bytes), (Status::Changed, true));
        let mut report = Report::unread_nothing("m", 1, Format::Safetensors);
        report.compared(compare(&before, None));
        assert_eq!(report.verdict, Verdict::Unscannable, "no digest is never the same");
    }

    #[test]
    fn manifests_of_another_form_or_with_two_meanings_are_refused() {
        let manifest = |schema: &str, files: Vec<ManifestFile>| {
            serde_json::to_vec(&Manifest { schema: schema.to_owned(), tool: "t".to_owned(), created: "c".to_owned(), complete: true, files }).unwrap()
        };
        assert!(Manifest::parse(&manifest(MANIFEST_SCHEMA, vec![file(b"1", Vec::new())])).is_ok());
        assert!(matches!(Manifest::parse(&manifest("picket.manifest/2", Vec::new())), Err(ManifestError::Schema(_))));
        assert!(matches!(Manifest::parse(&manifest(MANIFEST_SCHEMA, vec![file(b"1", Vec::new()), file(b"2", Vec::new())])), Err(ManifestError::Duplicate(_))));
        assert!(matches!(Manifest::parse(b"{}"), Err(ManifestError::Malformed(_))));
    }
}
