//! Keras architectures: layers by class, module and registered name, wherever they are nested.
//!
//! The same configuration stands in `config.json` of a `.keras` archive, in the `model_config` attribute of an HDF5 file, and
//! alone in a JSON file.

#[cfg(test)]
mod tests;

use crate::json::Json;
use crate::pickle::policy::{Tier, judge};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan, examine};
use picket_bounded::MemorySource;

/// Modules whose classes Keras itself registers.
const OWN_MODULES: &[&str] =
    &["keras", "keras_core", "keras_hub", "keras_nlp", "keras_cv", "tensorflow.keras", "tf_keras", "tensorflow.python.keras", "builtins"];

/// True for an object that Keras deserialises.
pub(crate) fn is_config(document: &Json) -> bool {
    document.get("class_name").and_then(Json::text).is_some() && document.get("config").is_some()
}

pub(crate) fn examine_config(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    let whole = is_config(document);
    document.objects("", &mut |at, object| {
        // Alone, a key of this name means nothing; beside a configuration, or inside a model, it is a layer.
        if !whole && object.get("config").is_none() {
            return;
        }
        for class in object.all("class_name").filter_map(Json::text) {
            node(scan, place, at.trim_start_matches('.'), class, object);
        }
    });
}

fn node(scan: &mut Scan<'_>, place: &Place, at: &str, class: &str, object: &Json) {
    let modules: Vec<&str> = object.all("module").filter_map(Json::text).collect();
    let module = modules.last().copied().unwrap_or_default();
    let inner = object.get("config");
    let found = |rule, explanation: String, value: String| Finding::new(rule, &place.member, explanation).key(at).value(value);
    let name = class.rsplit(['>', '.']).next().unwrap_or(class);
    match name {
        "Lambda" => {
            let code = inner.map(lambda_source).unwrap_or_default();
            compiled(scan, place, at, &code);
            scan.add(found(&rules::KERAS_LAMBDA, "A Lambda layer holds Python code that runs when the model is loaded or called.".to_owned(), code));
        }
        "TorchModuleWrapper" => {
            scan.add(found(&rules::KERAS_DANGEROUS_LAYER, "TorchModuleWrapper unpickles the module that it holds as text.".to_owned(), class.to_owned()));
            wrapped(scan, place, at, inner);
        }
        "__lambda__" => {
            scan.add(found(
                &rules::KERAS_LAMBDA,
                "A serialised function holds Python byte code that runs when the model is loaded.".to_owned(),
                class.to_owned(),
            ));
        }
        "TFSMLayer" => {
            scan.add(found(&rules::KERAS_DANGEROUS_LAYER, "TFSMLayer loads another graph from a path of the file's choice.".to_owned(), class.to_owned()))
        }
        // A function by name: `config` is its name or holds it.
        "function" => {
            let function = inner.and_then(|config| config.text().or_else(|| config.get("name").and_then(Json::text))).unwrap_or_default();
            import(scan, place, at, if module.is_empty() { "builtins" } else { module }, function);
        }
        _ if !module.is_empty() => {
            for module in &modules {
                import(scan, place, at, module, class);
            }
        }
        _ => {}
    }
    vocabulary(scan, place, at, inner);
}

fn import(scan: &mut Scan<'_>, place: &Place, at: &str, module: &str, name: &str) {
    let full = format!("{module}.{name}");
    let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).key(at).value(&full);
    let own = OWN_MODULES.iter().any(|own| module == *own || module.strip_prefix(own).is_some_and(|rest| rest.starts_with('.')));
    match judge(module, name).tier {
        // Helpers of Keras itself that fetch or that switch its own protection off.
        _ if own && matches!(name, "get_file" | "enable_unsafe_deserialization" | "load_model" | "pad_sequences_from_file") => {
            scan.add(found(&rules::KERAS_IMPORT, format!("Loading this model calls {full}, which fetches files or switches off what protects the loader.")));
        }
        _ if own && module != "builtins" => {}
        Tier::Allowed => {}
        // Functions without a module of their own are looked up among what the loader was given.
        Tier::Executes(_) if module == "builtins" && !matches!(name, "eval" | "exec" | "compile" | "open" | "__import__" | "getattr" | "input") => {}
        Tier::Executes(how) => scan.add(found(&rules::KERAS_IMPORT, format!("Loading this model imports {full}, which {how}."))),
        _ => scan.add(found(&rules::KERAS_UNKNOWN, format!("Loading this model needs {full}, which is not part of Keras."))),
    }
}

/// The function of a Lambda layer is base64 of marshalled code, or a name.
fn lambda_source(config: &Json) -> String {
    let function = config.get("function");
    let named = function.and_then(|function| function.get("config")).and_then(|config| config.get("code")).and_then(Json::text);
    named
        .or_else(|| function.and_then(|function| function.items().first()).and_then(Json::text))
        .or_else(|| function.and_then(Json::text))
        .unwrap_or_default()
        .to_owned()
}

/// Marshalled code as text: what it names is reported beside the layer itself.
fn compiled(scan: &mut Scan<'_>, place: &Place, at: &str, code: &str) {
    if let Some(bytes) = crate::base64::decode(code).filter(|bytes| bytes.len() > 16) {
        crate::pyc::examine_marshalled(scan, &place.inside(at), &bytes);
    }
}

/// The text that TorchModuleWrapper hands to `torch.load`.
fn wrapped(scan: &mut Scan<'_>, place: &Place, at: &str, config: Option<&Json>) {
    let Some(config) = config else { return };
    let mut texts: Vec<&str> = config.pairs().iter().filter_map(|(_, value)| value.text()).collect();
    texts.extend(config.get("module").and_then(|module| module.get("value")).and_then(Json::text));
    for text in texts.into_iter().filter(|text| text.len() > 64) {
        if let Some(bytes) = crate::base64::decode(text) {
            examine(scan, &MemorySource::new(bytes), &place.inside(at));
        }
    }
}

/// Lookup layers read their vocabulary from a path when it is text.
fn vocabulary(scan: &mut Scan<'_>, place: &Place, at: &str, config: Option<&Json>) {
    for key in ["vocabulary", "filepath", "vocabulary_file"] {
        let Some(path) = config.and_then(|config| config.get(key)).and_then(Json::text) else { continue };
        if crate::path::escapes(path) || path.contains("://") {
            let explanation = format!("Loading this model reads {path}, outside its own archive.");
            scan.add(Finding::new(&rules::EXTERNAL_PATH, &place.member, explanation).key(format!("{at}.{key}")).value(path));
        }
    }
}
