//! Every rule of the artifact scanner: its id never changes meaning, its techniques are ATT&CK v19 and ATLAS 5.6.

use crate::report::{Severity, Verdict};

/// What a finding can be an instance of.
#[derive(Debug)]
pub struct Rule {
    /// `PICKET-<FAMILY>-<number>`.
    pub id: &'static str,
    /// Changes with what the rule matches.
    pub version: &'static str,
    /// One line.
    pub title: &'static str,
    /// OCSF severity.
    pub severity: Severity,
    /// ATT&CK and ATLAS technique ids.
    pub techniques: &'static [&'static str],
    /// What a file with only this finding is called.
    pub verdict: Verdict,
}

// ATLAS AML.T0011.000 Unsafe AI Artifacts; ATT&CK T1204.002 Malicious File, T1059.006 Python.
const RUNS_CODE: &[&str] = &["AML.T0011.000", "AML.T0018.002", "T1204.002", "T1059.006"];
// ATLAS AML.T0010 AI Supply Chain Compromise.
const UNTRUSTED: &[&str] = &["AML.T0010", "AML.T0011.000"];
// ATT&CK T1027 Obfuscated Files or Information, T1036.008 Masquerade File Type.
const HIDES: &[&str] = &["AML.T0011.000", "T1027", "T1036.008"];
// ATT&CK T1027.009 Embedded Payloads.
const EMBEDS: &[&str] = &["AML.T0018.002", "T1027.009"];
// ATT&CK T1499.004 Application or System Exploitation.
const EXHAUSTS: &[&str] = &["T1499.004"];
// ATT&CK T1203 Exploitation for Client Execution.
const EXPLOITS: &[&str] = &["AML.T0011.000", "T1203"];
// ATT&CK T1083 File and Directory Discovery, T1005 Data from Local System.
const REACHES_OUT: &[&str] = &["AML.T0011.000", "T1005"];
// ATT&CK T1552.001 Credentials In Files.
const SECRETS: &[&str] = &["AML.T0055", "T1552.001"];
// ATT&CK T1546.018 Python Startup Hooks.
const START_UP: &[&str] = &["AML.T0011.001", "T1546.018"];

// ATLAS AML.T0018 Manipulate AI Model, AML.T0020 Poison Training Data; ATT&CK T1565.001 Stored Data Manipulation.
const MANIPULATED: &[&str] = &["AML.T0018", "AML.T0020", "T1565.001"];

macro_rules! rules {
    ($($name:ident = $id:literal $severity:ident $verdict:ident $techniques:ident $title:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Rule = Rule { id: $id, version: env!("CARGO_PKG_VERSION"), title: $title, severity: Severity::$severity, techniques: $techniques, verdict: Verdict::$verdict };
        )*

        /// All rules, for lists and for SARIF.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    PICKLE_EXECUTES = "PICKET-PKL-001" Critical Malicious RUNS_CODE "Unpickling runs code";
    PICKLE_REFERENCES = "PICKET-PKL-002" High Malicious RUNS_CODE "The pickle imports a callable that runs code";
    PICKLE_RISKY = "PICKET-PKL-003" High Suspicious RUNS_CODE "The pickle uses a callable that can reach code, files or the network";
    PICKLE_UNKNOWN = "PICKET-PKL-004" Low Suspicious UNTRUSTED "The pickle imports something that no known framework needs";
    PICKLE_COMPUTED = "PICKET-PKL-005" Critical Malicious HIDES "The pickle computes the name of what it imports";
    PICKLE_TAMPERS = "PICKET-PKL-006" High Malicious HIDES "The pickle rewrites a class, function or special method";
    PICKLE_DYNAMIC_CALL = "PICKET-PKL-007" High Suspicious HIDES "The pickle calls something whose origin is not a plain import";
    PICKLE_MALFORMED = "PICKET-PKL-008" Medium Suspicious HIDES "The pickle breaks off or contradicts its format";
    PICKLE_FRAMES = "PICKET-PKL-009" High Malicious HIDES "Pickle frames are laid so that two unpicklers read different programs";
    PICKLE_EXTENSION = "PICKET-PKL-010" High Suspicious HIDES "The pickle imports through the extension registry";
    PICKLE_NESTED = "PICKET-PKL-011" Medium Suspicious EMBEDS "A pickle that imports is hidden in the data of another";
    TRAILING_DATA = "PICKET-FMT-001" Medium Suspicious HIDES "Data follows the end of the format";
    POLYGLOT = "PICKET-FMT-002" High Suspicious HIDES "The file is two formats at once";
    NAME_DISAGREES = "PICKET-FMT-003" Medium Suspicious HIDES "The name promises another format than the content has";
    EXECUTABLE_AS_MODEL = "PICKET-FMT-004" High Malicious EMBEDS "A native executable is named or packed as a model";
    EXECUTABLE_MODEL = "PICKET-FMT-005" Medium Suspicious UNTRUSTED "The model is distributed as a native executable";
    EXECUTABLE_MEMBER = "PICKET-FMT-006" Medium Suspicious EMBEDS "An archive of a model holds native code";
    LEADING_DATA = "PICKET-FMT-007" Medium Suspicious HIDES "Data precedes the start of the format";
    BOMB = "PICKET-ARC-001" Medium Suspicious EXHAUSTS "The archive unpacks to far more than its size";
    TRAVERSAL = "PICKET-ARC-002" High Malicious EXPLOITS "A member would be written outside the folder it is unpacked to";
    DUPLICATE_MEMBER = "PICKET-ARC-003" High Suspicious HIDES "Two members have the same name";
    HIDDEN_MEMBER = "PICKET-ARC-004" High Suspicious HIDES "A member is missing from the archive's directory";
    HEADERS_DISAGREE = "PICKET-ARC-005" High Suspicious HIDES "The archive's directory and a member's own header disagree";
    BAD_CRC = "PICKET-ARC-006" Medium Suspicious HIDES "A member's checksum is wrong";
    ENCRYPTED = "PICKET-ARC-007" Medium Suspicious HIDES "A member is marked as encrypted";
    OVERLAP = "PICKET-ARC-008" High Suspicious HIDES "Members share the same bytes";
    ARCHIVE_MALFORMED = "PICKET-ARC-009" Medium Suspicious HIDES "The archive contradicts its format";
    LINK_OUTSIDE = "PICKET-ARC-010" High Malicious EXPLOITS "A link leads outside the folder it is unpacked to";
    NESTED_DEEP = "PICKET-ARC-011" Medium Suspicious HIDES "Containers are nested deeper than any honest packaging";
    SPECIAL_MEMBER = "PICKET-ARC-012" High Suspicious EXPLOITS "The archive holds a device or a pipe";
    STRUCTURE_OVERFLOW = "PICKET-STR-001" High Malicious EXPLOITS "A size or count cannot be true and overflows a careless reader";
    STRUCTURE_MALFORMED = "PICKET-STR-002" Medium Suspicious HIDES "The file contradicts its own format";
    TENSOR_OVERLAP = "PICKET-STR-003" Medium Suspicious HIDES "Tensors share bytes";
    TENSOR_HOLE = "PICKET-STR-004" Low Suspicious HIDES "Bytes belong to no tensor";
    DUPLICATE_KEY = "PICKET-STR-005" Medium Suspicious HIDES "A key appears twice, and readers disagree about which counts";
    EXTERNAL_PATH = "PICKET-EXT-001" High Malicious REACHES_OUT "The model reads a file outside its own folder";
    EXTERNAL_REFERENCE = "PICKET-EXT-002" Medium Suspicious REACHES_OUT "The model names an outside file or address";
    KERAS_LAMBDA = "PICKET-KER-001" High Malicious RUNS_CODE "A Lambda layer carries Python code";
    KERAS_IMPORT = "PICKET-KER-002" Critical Malicious RUNS_CODE "The Keras configuration imports something that runs code";
    KERAS_UNKNOWN = "PICKET-KER-003" Low Suspicious UNTRUSTED "The Keras configuration needs a class from outside Keras";
    KERAS_DANGEROUS_LAYER = "PICKET-KER-004" High Malicious RUNS_CODE "A layer unpickles or fetches when the model is loaded";
    GRAPH_DANGEROUS_OP = "PICKET-OPS-001" High Malicious RUNS_CODE "A graph operator runs code or writes files";
    GRAPH_RISKY_OP = "PICKET-OPS-002" Medium Suspicious REACHES_OUT "A graph operator reads files or talks to the network";
    GRAPH_CUSTOM_OP = "PICKET-OPS-003" Low Suspicious UNTRUSTED "The graph needs an operator from a native library";
    GRAPH_NESTED = "PICKET-OPS-004" Medium Suspicious HIDES "A graph is hidden in the data of another";
    TEMPLATE_ESCAPE = "PICKET-JIN-001" Critical Malicious RUNS_CODE "The chat template breaks out of its sandbox";
    TEMPLATE_SUSPECT = "PICKET-JIN-002" Medium Suspicious HIDES "The chat template does what no chat format needs";
    TEMPLATE_UNPARSED = "PICKET-JIN-003" Low Suspicious HIDES "The chat template cannot be parsed";
    CODE_MALICIOUS = "PICKET-PY-001" High Malicious RUNS_CODE "Python code runs commands or fetched code when it is imported";
    CODE_RISKY = "PICKET-PY-002" Medium Suspicious RUNS_CODE "Python code can run commands or code";
    CODE_START_UP = "PICKET-PY-003" High Malicious START_UP "A .pth file runs code whenever Python starts";
    CODE_BYTECODE = "PICKET-PY-004" Medium Suspicious HIDES "Compiled Python without its source";
    REMOTE_CODE = "PICKET-REP-001" Medium Suspicious RUNS_CODE "The repository asks for its own code to be run";
    OBJECT_CONSTRUCTION = "PICKET-CFG-001" Critical Malicious RUNS_CODE "The configuration constructs an object that runs code";
    OBJECT_UNKNOWN = "PICKET-CFG-002" Low Suspicious UNTRUSTED "The configuration constructs an object from outside the framework";
    REQUIREMENT = "PICKET-REP-002" Low Suspicious UNTRUSTED "The repository installs packages from elsewhere than the usual index";
    R_PROMISE = "PICKET-R-001" Critical Malicious RUNS_CODE "An R object runs an expression when it is read or used";
    R_CODE = "PICKET-R-002" Low Suspicious RUNS_CODE "An R object carries code that reaches commands, files or the network";
    TABLE_UNPICKLES = "PICKET-TAB-001" High Malicious RUNS_CODE "A table's column is unpickled when it is read";
    NATIVE_TRAIT = "PICKET-ELF-001" Medium Suspicious HIDES "A native program has the traits of packed or patched code";
    XML_ENTITY = "PICKET-XML-001" High Malicious REACHES_OUT "An XML external entity reads files or addresses";
    SECRET = "PICKET-SEC-001" Medium Suspicious SECRETS "The file holds what looks like a credential";
    BASELINE_TENSOR_CHANGED = "PICKET-BSL-001" High Suspicious MANIPULATED "A tensor differs from the baseline";
    BASELINE_TENSOR_SET = "PICKET-BSL-002" High Suspicious MANIPULATED "The baseline has other tensors";
    BASELINE_CHANGED = "PICKET-BSL-003" Medium Suspicious MANIPULATED "The file differs from the baseline outside its tensors";
    BASELINE_ADDED = "PICKET-BSL-004" Low Suspicious MANIPULATED "The file is not in the baseline";
    BASELINE_REMOVED = "PICKET-BSL-005" Medium Suspicious MANIPULATED "A file of the baseline is gone";
    NOTEBOOK_COMMAND = "PICKET-NBK-001" High Malicious RUNS_CODE "A notebook cell fetches and runs code";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_techniques_well_formed() {
        let ids: HashSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for rule in ALL {
            assert!(!rule.techniques.is_empty(), "{}", rule.id);
            assert!(rule.techniques.iter().all(|id| id.starts_with('T') || id.starts_with("AML.T")), "{}", rule.id);
            assert!(!matches!(rule.verdict, Verdict::Clean | Verdict::Unscannable), "{}", rule.id);
        }
    }
}
