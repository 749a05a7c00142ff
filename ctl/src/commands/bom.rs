//! `picketctl assets bom`: a CycloneDX 1.6 bill of materials with a model card.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use picket_artifact::{Report, ScanOptions, TensorDigest, Verdict, WalkOptions, Watch, scan_paths};
use serde_json::{Map, Value, json};

use super::card::{self, Card};
use super::interrupt;
use super::manifest::whole;
use crate::cli::Bom;
use crate::error::CtlError;

/// SPDX identifiers of the licences that model cards name in their own spelling.
const SPDX: &[(&str, &str)] = &[
    ("afl-3.0", "AFL-3.0"),
    ("agpl-3.0", "AGPL-3.0-only"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("bsd", "BSD-3-Clause"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
    ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("isc", "ISC"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("mit", "MIT"),
    ("mpl-2.0", "MPL-2.0"),
    ("unlicense", "Unlicense"),
    ("zlib", "Zlib"),
];

/// Scans and digests everything below the path and writes the document.
pub(super) fn run(arguments: &Bom) -> Result<(), CtlError> {
    if !arguments.path.exists() {
        return Err(CtlError::Usage(format!("{} is not there", arguments.path.display())));
    }
    let watch = Arc::new(Watch::default());
    interrupt::on_ctrl_c(Arc::clone(&watch), "stopping; the document will say what it lacks");
    let walk = WalkOptions { scan: ScanOptions::default(), digest: true, watch, ..WalkOptions::default() };
    let mut reports = Vec::new();
    scan_paths(std::slice::from_ref(&arguments.path), &walk, |report, _| {
        reports.push(report);
        true
    });
    let folder = if arguments.path.is_dir() { arguments.path.as_path() } else { arguments.path.parent().unwrap_or(Path::new(".")) };
    let document = document(&arguments.path, &card::of_folder(folder), &reports, arguments.tensors);
    match &arguments.output {
        Some(file) => whole(file, |out| Ok(serde_json::to_writer_pretty(out, &document)?))
            .map_err(|error| CtlError::Config { path: file.clone(), message: format!("cannot write: {error}") }),
        None => Ok(serde_json::to_writer_pretty(std::io::stdout().lock(), &document).map_err(std::io::Error::from)?),
    }
}

fn document(path: &Path, card: &Card, reports: &[Report], tensors: bool) -> Value {
    let named = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned();
    let mut components: Vec<Value> = reports.iter().map(|report| file(path, report, tensors)).collect();
    let files: Vec<String> = components.iter().filter_map(|component| component["bom-ref"].as_str().map(str::to_owned)).collect();
    components.extend(
        card.datasets
            .iter()
            .map(|dataset| json!({"type": "data", "bom-ref": format!("dataset:{dataset}"), "name": dataset, "data": [{"type": "dataset", "name": dataset}]})),
    );
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid::Uuid::new_v4()),
        "version": 1,
        "metadata": {
            "timestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "tools": {"components": [{"type": "application", "name": "picketctl", "version": env!("CARGO_PKG_VERSION")}]},
            "component": model(&name, card, reports),
        },
        "components": components,
        "dependencies": [{"ref": "model", "dependsOn": files}],
    })
}

/// The model as the subject of the document.
fn model(name: &str, card: &Card, reports: &[Report]) -> Value {
    let mut component = Map::from_iter([
        ("type".to_owned(), json!("machine-learning-model")),
        ("bom-ref".to_owned(), json!("model")),
        ("name".to_owned(), json!(name)),
        ("modelCard".to_owned(), model_card(card)),
    ]);
    if !card.licences.is_empty() {
        component.insert("licenses".to_owned(), card.licences.iter().map(|licence| json!({"license": spdx(licence)})).collect());
    }
    if !card.base_models.is_empty() {
        let ancestors: Vec<Value> = card.base_models.iter().map(|base| json!({"type": "machine-learning-model", "name": base})).collect();
        component.insert("pedigree".to_owned(), json!({"ancestors": ancestors}));
    }
    if !card.tags.is_empty() {
        component.insert("tags".to_owned(), json!(card.tags));
    }
    let mut properties = Vec::new();
    let mut property = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            properties.push(json!({"name": name, "value": value}));
        }
    };
    let tensors = || reports.iter().filter_map(|report| report.digests.as_ref()).flat_map(|digests| &digests.tensors);
    property("picket:library", card.library.clone());
    property("picket:dtype", card.dtype.clone().or_else(|| dtypes(tensors())));
    property("picket:quantisation", card.quantisation.clone());
    property("picket:languages", (!card.languages.is_empty()).then(|| card.languages.join(", ")));
    let count = tensors().count();
    property("picket:tensors", (count > 0).then(|| count.to_string()));
    property("picket:elements", (count > 0).then(|| tensors().map(elements).fold(0_u64, u64::saturating_add).to_string()));
    property("picket:complete", Some(reports.iter().all(|report| report.incomplete.is_empty()).to_string()));
    component.insert("properties".to_owned(), Value::Array(properties));
    Value::Object(component)
}

fn elements(tensor: &TensorDigest) -> u64 {
    tensor.shape.iter().fold(1, |product, length| product.saturating_mul(*length))
}

/// Element types by the bytes that they take, the most first.
fn dtypes<'t>(tensors: impl Iterator<Item = &'t TensorDigest>) -> Option<String> {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in tensors {
        *bytes.entry(tensor.dtype.as_str()).or_default() += tensor.bytes;
    }
    let mut types: Vec<(&str, u64)> = bytes.into_iter().collect();
    types.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let names: Vec<&str> = types.iter().take(10).map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn model_card(card: &Card) -> Value {
    let mut parameters = Map::new();
    if let Some(task) = &card.task {
        parameters.insert("task".to_owned(), json!(task));
    }
    if let Some(family) = &card.family {
        parameters.insert("architectureFamily".to_owned(), json!(family));
    }
    if !card.architectures.is_empty() {
        parameters.insert("modelArchitecture".to_owned(), json!(card.architectures.join(", ")));
    }
    if !card.datasets.is_empty() {
        parameters.insert("datasets".to_owned(), card.datasets.iter().map(|dataset| json!({"ref": format!("dataset:{dataset}")})).collect());
    }
    json!({"modelParameters": parameters})
}

fn spdx(licence: &str) -> Value {
    match SPDX.iter().find(|(card, _)| card.eq_ignore_ascii_case(licence)) {
        Some((_, id)) => json!({"id": id}),
        None => json!({"name": licence}),
    }
}

/// One file, with what judging it found.
fn file(root: &Path, report: &Report, tensors: bool) -> Value {
    let path = Path::new(&report.path);
    let name = match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_string_lossy().into_owned(),
        _ => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
    };
    let verdict = match report.verdict {
        Verdict::Malicious => "malicious",
        Verdict::Suspicious => "suspicious",
        Verdict::Unscannable => "unscannable",
        Verdict::Clean => "clean",
    };
    let mut properties = vec![
        json!({"name": "picket:format", "value": report.format.name()}),
        json!({"name": "picket:size", "value": report.size.to_string()}),
        json!({"name": "picket:verdict", "value": verdict}),
    ];
    properties.extend(report.incomplete.iter().map(|why| json!({"name": "picket:incomplete", "value": why})));
    let mut component =
        Map::from_iter([("type".to_owned(), json!("file")), ("bom-ref".to_owned(), json!(format!("file:{name}"))), ("name".to_owned(), json!(name))]);
    if let Some(digests) = &report.digests {
        let hashes = json!([{"alg": "SHA-256", "content": digests.file.sha256}, {"alg": "BLAKE3", "content": digests.file.blake3}]);
        component.insert("hashes".to_owned(), hashes);
        if tensors {
            let named = |tensor: &TensorDigest| json!({"name": format!("picket:tensor:{}", tensor.name), "value": format!("blake3:{} {} {:?}", tensor.digests.blake3, tensor.dtype, tensor.shape)});
            properties.extend(digests.tensors.iter().map(named));
        }
    }
    component.insert("properties".to_owned(), Value::Array(properties));
    Value::Object(component)
}
