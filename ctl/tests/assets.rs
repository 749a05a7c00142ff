//! `picketctl assets` as a program: signatures verified by exit code and words, and a bill of materials that the published
//! schema accepts.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn picketctl(arguments: &[&str]) -> (i32, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_picketctl")).args(arguments).output().unwrap();
    (ran.status.code().unwrap(), String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap())
}

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/signing/tests/data").join(name).to_str().unwrap().to_owned()
}

/// The model that the bundles of `crates/signing/tests/data` are of, with a bundle beside its files.
fn model(bundle: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("sigmodel");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("weights.bin"), (0..40).flat_map(|_| 0..=u8::MAX).collect::<Vec<u8>>()).unwrap();
    fs::write(root.join("config.json"), "{\"layers\": 2}\n").unwrap();
    fs::write(root.join("sub/tokenizer.txt"), "a b c\n").unwrap();
    fs::copy(data(bundle), root.join("model.sig")).unwrap();
    let path = root.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn verified_changed_and_by_somebody_else() {
    let (_folder, model) = model("p256.sig");
    let (key, other) = (data("p256.pub.pem"), data("other.pub.pem"));
    let (code, text, notes) = picketctl(&["assets", "verify", &model, "--public-key", &key]);
    assert_eq!(code, 0, "{text}{notes}");
    assert!(text.starts_with("verified") && text.contains("ignored.log"), "{text}");
    let (code, text, _) = picketctl(&["assets", "verify", &model, "--public-key", &other]);
    assert!(code == 1 && text.contains("NOT VERIFIED"), "{text}");
    fs::write(Path::new(&model).join("extra.py"), "import os\n").unwrap();
    let (code, text, _) = picketctl(&["assets", "verify", &model, "--public-key", &key, "--format", "json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &answer["verified"], &answer["differences"][0]["path"]), (1, &false.into(), &"extra.py".into()));
    let extra = format!("{model}/extra.py");
    assert_eq!(picketctl(&["assets", "verify", &model, "--public-key", &key, "--ignore", &extra]).0, 0);
}

#[test]
fn certificates_and_what_cannot_be_told() {
    let (_folder, path) = model("expired.sig");
    let root = data("root.pem");
    let (code, text, _) = picketctl(&["assets", "verify", &path, "--certificate-chain", &root]);
    assert!(code == 1 && text.contains("expired"), "{text}");
    assert_eq!(picketctl(&["assets", "verify", &path, "--certificate-chain", &root, "--signed-at", "2021-06-01T00:00:00Z"]).0, 0);
    for arguments in [
        vec!["assets", "verify", &path],
        vec!["assets", "verify", &path, "--public-key", "/nowhere/at/all"],
        vec!["assets", "verify", "/nowhere/at/all", "--public-key", &root],
        vec!["assets", "verify", &path, "--certificate-chain", &root, "--signed-at", "yesterday"],
        vec!["assets", "verify", &path, "--trusted-root", &root],
        vec!["assets", "bom", "/nowhere/at/all"],
    ] {
        assert_eq!(picketctl(&arguments).0, 2, "{arguments:?}");
    }
}

/// A model folder with everything that a document can name.
fn card(folder: &Path) {
    fs::write(
        folder.join("README.md"),
        "---\nlicense: apache-2.0\ndatasets:\n- wikitext\n- \"a \\u0001 strange: name\"\nbase_model: org/base\nlanguage:\n- en\ntags:\n- test\npipeline_tag: text-generation\nlibrary_name: transformers\n---\n# Model\n",
    )
    .unwrap();
    fs::write(
        folder.join("config.json"),
        r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","quantization_config":{"quant_method":"awq","bits":4}}"#,
    )
    .unwrap();
    let header = r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    fs::write(folder.join("model.safetensors"), [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()).unwrap();
    fs::write(folder.join("unread.7z"), b"7z\xbc\xaf\x27\x1c\0\x04").unwrap();
}

#[test]
fn a_bill_of_materials_names_files_licences_data_and_ancestors() {
    let folder = tempfile::tempdir().unwrap();
    card(folder.path());
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("bom.json");
    let (code, _, notes) = picketctl(&["assets", "bom", folder.path().to_str().unwrap(), "-o", file.to_str().unwrap(), "--tensors"]);
    assert_eq!(code, 0, "{notes}");
    let bom: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let model = &bom["metadata"]["component"];
    assert_eq!(
        (&bom["specVersion"], &model["type"], &model["licenses"][0]["license"]["id"]),
        (&"1.6".into(), &"machine-learning-model".into(), &"Apache-2.0".into())
    );
    assert_eq!(
        (&model["pedigree"]["ancestors"][0]["name"], &model["modelCard"]["modelParameters"]["architectureFamily"]),
        (&"org/base".into(), &"llama".into())
    );
    let weights = bom["components"].as_array().unwrap().iter().find(|component| component["name"] == "model.safetensors").unwrap();
    assert_eq!((weights["hashes"].as_array().unwrap().len(), &weights["properties"][3]["name"]), (2, &"picket:tensor:w".into()));
    let said = |name: &str| model["properties"].as_array().unwrap().iter().find(|property| property["name"] == name).unwrap()["value"].clone();
    assert_eq!((said("picket:elements"), said("picket:complete"), said("picket:quantisation")), ("4".into(), "false".into(), "awq, 4 bits".into()));
    schema_accepts(&file);
}

/// Validates with the published schema, as the Python package `cyclonedx-python-lib` ships it: `PICKET_CYCLONEDX_PYTHON` names a
/// Python that has it, else one is made once.
fn schema_accepts(file: &Path) {
    let Some(python) = python() else {
        eprintln!("SKIPPED schema_accepts: no Python with cyclonedx-python-lib[json-validation], and none could be installed");
        return;
    };
    let script = "import sys\nfrom cyclonedx.validation.json import JsonStrictValidator\nfrom cyclonedx.schema import SchemaVersion\n\
                  error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\nsys.exit(repr(error) if error else 0)\n";
    let ran = Command::new(python).args(["-c", script]).arg(file).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn python() -> Option<PathBuf> {
    let has = |python: &Path| {
        let look =
            "from cyclonedx.validation.json import JsonStrictValidator as J; from cyclonedx.schema import SchemaVersion as S; J(S.V1_6).validate_str('{}')";
        Command::new(python).args(["-c", look]).output().is_ok_and(|ran| ran.status.success())
    };
    if let Some(named) = std::env::var_os("PICKET_CYCLONEDX_PYTHON").map(PathBuf::from).filter(|python| has(python)) {
        return Some(named);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cyclonedx-venv");
    let python = folder.join("bin/python");
    if !has(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output().is_ok_and(|ran| ran.status.success());
        if !made {
            return None;
        }
        Command::new(folder.join("bin/pip")).args(["-q", "install", "cyclonedx-python-lib[json-validation]"]).output().ok()?;
    }
    Some(python).filter(|python| has(python))
}
