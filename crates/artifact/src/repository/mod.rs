//! Files that tell a hub client or MLflow how to load a model: what they make it import, install or open. Each is judged by its
//! own content, as its loader reads it, and known by its name, as its loader finds it.

mod limits;

use crate::json::Json;
use crate::path;
use crate::pickle::policy::{Tier, judge};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use limits::SHOWN_MAX;

/// Packages whose modules a hub client may import by name; everything else comes from the repository or from who knows where.
const LIBRARIES: &[&str] = &[
    "transformers",
    "diffusers",
    "sentence_transformers",
    "peft",
    "accelerate",
    "torch",
    "tokenizers",
    "timm",
    "optimum",
    "onnxruntime",
    "flax",
    "jax",
    "numpy",
    "k_diffusion",
    "mlflow",
    "sklearn",
    "xgboost",
    "lightgbm",
    "catboost",
    "tensorflow",
    "keras",
    "spacy",
    "fastai",
    "statsmodels",
    "prophet",
    "pmdarima",
    "paddle",
    "pyspark",
    "onnx",
    "h2o",
    "gluonts",
    "setfit",
    "pylate",
    "langchain",
    "llama_index",
    "haystack",
    "dspy",
];

fn is_library(module: &str) -> bool {
    let root = module.split('.').next().unwrap_or(module);
    LIBRARIES.contains(&root)
}

/// Judges a JSON document by the keys that loaders of model repositories act on.
pub(crate) fn examine_document(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    modules(scan, place, document);
    pipeline(scan, place, document);
    adapter(scan, place, document);
    package(scan, place, document);
    paths(scan, place, document);
}

fn imported(scan: &mut Scan<'_>, place: &Place, key: &str, module: &str, name: &str) {
    let full = if name.is_empty() { module.to_owned() } else { format!("{module}.{name}") };
    let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).key(key).value(&full);
    if let Tier::Executes(how) = judge(module, name).tier {
        scan.add(found(&rules::OBJECT_CONSTRUCTION, format!("Loading this repository calls {full}, which {how}.")));
    } else if !is_library(module) {
        scan.add(found(&rules::REMOTE_CODE, format!("Loading this repository imports {full}, which is no part of a known framework.")));
    }
}

/// `modules.json` of sentence-transformers: a list of steps, each with the class that is imported for it.
fn modules(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    for (number, step) in document.items().iter().enumerate().take(1000) {
        if step.get("path").is_none() || step.get("idx").is_none() {
            continue;
        }
        if let Some((module, class)) = step.get("type").and_then(Json::text).and_then(|kind| kind.rsplit_once('.')) {
            imported(scan, place, &format!("[{number}].type"), module, class);
        }
    }
}

/// `model_index.json` of diffusers: components as library and class.
fn pipeline(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    if document.get("_diffusers_version").is_none() {
        return;
    }
    for (key, value) in document.pairs() {
        if let [Json::Text(library), Json::Text(class)] = value.items()
            // Parts of the library itself are named by their folder.
            && !(is_library(library) || matches!(&**library, "stable_diffusion" | "pipelines" | "deprecated"))
        {
            imported(scan, place, key, library, class);
        }
        if key.starts_with("_class_name") && !value.items().is_empty() {
            let explanation = "The pipeline is a class from a file of the repository.";
            scan.add(Finding::new(&rules::REMOTE_CODE, &place.member, explanation).key(&**key).value(value.lines()));
        }
    }
}

/// `adapter_config.json` of PEFT: the library and class of the base model are imported by name.
fn adapter(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    if document.get("peft_type").is_none() {
        return;
    }
    let Some(mapping) = document.get("auto_mapping") else { return };
    if let Some(library) = mapping.get("parent_library").and_then(Json::text) {
        imported(scan, place, "auto_mapping.parent_library", library, mapping.get("base_model_class").and_then(Json::text).unwrap_or_default());
    }
}

/// `Manifest.json` of a Core ML package: items with paths.
fn package(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    let Some(items) = document.get("itemInfoEntries") else { return };
    for (key, item) in items.pairs().iter().take(1000) {
        let target = item.get("path").and_then(Json::text).unwrap_or_default();
        if path::escapes(target) {
            let explanation = format!("The package's item {key} is {target}, outside the package.");
            scan.add(Finding::new(&rules::EXTERNAL_PATH, &place.member, explanation).key(format!("itemInfoEntries.{key}.path")).value(target));
        }
    }
}

/// Keys whose value a loader opens as a file of the repository.
const PATH_KEYS: &[&str] =
    &["tokenizer_file", "vocab_file", "merges_file", "chat_template_file", "custom_ops_library", "_name_or_path_file", "weights_path", "model_file"];

fn paths(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    for key in PATH_KEYS {
        let Some(target) = document.get(key).and_then(Json::text) else { continue };
        // Tokenizers that were saved on a developer's machine keep the path of its cache: outside, and never there.
        if target.split('/').any(|part| part == "..") || target.contains("://") {
            let explanation = format!("Loading this repository opens {target}, outside its folder.");
            scan.add(Finding::new(&rules::EXTERNAL_PATH, &place.member, explanation).key(*key).value(target));
        }
    }
}

/// `MLmodel`: which module loads the model, and which folder of code is put before all others.
pub(crate) fn examine_mlmodel(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let mut offset = 0_u64;
    for line in text.split_inclusive('\n') {
        let at = place.base.saturating_add(offset);
        offset += line.len() as u64;
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
        if value.is_empty() || matches!(value, "null" | "~") {
            continue;
        }
        match key {
            "loader_module" => {
                let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).at(at).key(key).value(value);
                let (module, name) = value.rsplit_once('.').unwrap_or((value, ""));
                if is_library(value) {
                    // MLflow's own loaders.
                } else if let Tier::Executes(how) = judge(module, name).tier {
                    scan.add(found(&rules::OBJECT_CONSTRUCTION, format!("Loading this model imports {value}, which {how}.")));
                } else {
                    scan.add(found(&rules::REMOTE_CODE, format!("Loading this model imports the module {value}, which is no part of MLflow.")));
                }
            }
            "code" => {
                let explanation = format!("Loading this model puts its own folder {value} before all installed packages.");
                scan.add(Finding::new(&rules::REMOTE_CODE, &place.member, explanation).at(at).key(key).value(value));
            }
            _ => {}
        }
        if matches!(key, "code" | "data" | "model_path" | "pickled_model" | "artifact_path" | "model_code_path" | "uri")
            && value.split('/').any(|part| part == "..")
        {
            let explanation = format!("Loading this model opens {value}, outside its folder.");
            scan.add(Finding::new(&rules::EXTERNAL_PATH, &place.member, explanation).at(at).key(key).value(value));
        }
    }
}

/// True for the files that `pip` and `conda` install from.
pub(crate) fn is_requirements(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    (lower.starts_with("requirements") || lower.ends_with("requirements.txt")) && lower.ends_with(".txt")
        || matches!(lower.as_str(), "conda.yaml" | "python_env.yaml" | "conda.yml")
}

/// Where packages come from, other than from the index that everyone uses.
pub(crate) fn examine_requirements(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let (mut offset, mut shown) = (0_u64, 0);
    for line in text.split_inclusive('\n') {
        let at = place.base.saturating_add(offset);
        offset += line.len() as u64;
        let line = line.trim().trim_start_matches("- ").trim_matches(['"', '\'']);
        if line.starts_with('#') {
            continue;
        }
        let Some(why) = foreign(line) else { continue };
        shown += 1;
        if shown <= SHOWN_MAX {
            scan.add(Finding::new(&rules::REQUIREMENT, &place.member, format!("Installing what this model needs {why}.")).at(at).value(line));
        }
    }
}

/// Indexes of the libraries themselves.
const INDEXES: &[&str] =
    &["https://pypi.org/", "https://download.pytorch.org/", "https://pypi.nvidia.com", "https://pypi.ngc.nvidia.com", "https://files.pythonhosted.org/"];

fn foreign(line: &str) -> Option<&'static str> {
    let words: Vec<&str> = line.split([' ', '=', '\t']).filter(|word| !word.is_empty()).collect();
    let known = words.iter().any(|word| INDEXES.iter().any(|index| word.starts_with(index)));
    match words.first() {
        Some(&"--trusted-host") => Some("takes packages from a host without checking who it is"),
        Some(&("--extra-index-url" | "--index-url" | "-i" | "--find-links" | "-f")) if !known => {
            Some("takes packages from another index, where anyone may offer a package of the same name")
        }
        _ if known => None,
        _ if line.contains("git+http") || line.contains("git+ssh") || line.contains("git+git") => Some("builds a package from a repository"),
        _ if line.contains("http://") || line.contains("@ https://") || line.starts_with("https://") || line.contains("@ file:") => {
            Some("installs a package from an address")
        }
        _ => None,
    }
}
