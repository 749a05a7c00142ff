//! Compiled Python: `.pyc` files and marshalled code. The instructions are not followed; what a module names while it is
//! imported, and the texts beside those names, tell what it calls.

mod limits;
mod parser;

use crate::Format;
use crate::python::shell_fetches_and_runs;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use parser::{Code, Layout, Marshal};
use picket_bounded::{BoundedError, Source, read_range};

/// Code held at once; the largest generated modules have some ten megabytes.
const CODE_BYTES_MAX: u64 = 32 << 20;

/// A module and what of it runs commands or code; an empty list means any name.
const RUNS: &[(&str, &[&str])] = &[
    ("os", &["system", "popen", "execv", "execve", "execvp", "execl", "execlp", "spawnv", "spawnl", "posix_spawn", "startfile"]),
    ("posix", &["system", "popen", "execv", "posix_spawn"]),
    ("nt", &["system"]),
    ("subprocess", &["Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"]),
    ("pty", &["spawn"]),
    ("ctypes", &["CDLL", "windll", "memmove"]),
    ("marshal", &["loads"]),
    ("pickle", &["loads"]),
    ("runpy", &["run_path", "run_module", "_run_code"]),
];
/// Built-in functions that run text.
const EVALUATES: &[&str] = &["exec", "eval", "__import__"];
/// What turns text into code that is not in the file.
const DECODES: &[&str] = &["b64decode", "b32decode", "b85decode", "a85decode", "unhexlify", "fromhex", "decompress", "urlopen", "urlretrieve"];

pub(crate) fn examine_pyc(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let claim = Claim { format: Format::PythonBytecode, end: source.len() };
    // A cache beside its source is what Python writes by itself; alone, nobody can read what it does.
    if place.depth > 0 && !place.member.contains("__pycache__/") {
        let explanation = "Compiled Python runs when it is imported, and what it does is not in the archive as text.";
        scan.add(Finding::new(&rules::CODE_BYTECODE, &place.member, explanation).at(place.base));
    }
    let bytes = match read_range(source, 0, source.len(), CODE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => {
            scan.failed(place, &error);
            return claim;
        }
    };
    let magic = bytes.first_chunk::<2>().map_or(0, |magic| u16::from_le_bytes(*magic));
    let Some((layout, header)) = parser::release(magic) else {
        scan.incomplete(place, &format!("compiled by a Python whose magic number {magic} is not known here"));
        return claim;
    };
    let body = usize::try_from(header).ok().and_then(|header| bytes.get(header..)).unwrap_or_default();
    match read(scan, place, body, layout, header) {
        Ok(end) => Claim { end: header.saturating_add(end), ..claim },
        Err(error) => {
            if !matches!(error, BoundedError::LimitExceeded { .. }) {
                let explanation = format!("The compiled code is broken: {error}.");
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base));
            }
            scan.incomplete(place, "compiled Python was not read to its end");
            claim
        }
    }
}

/// Code that `marshal.loads` would take, of whatever release it is; true when it is one.
pub(crate) fn examine_marshalled(scan: &mut Scan<'_>, place: &Place, bytes: &[u8]) -> bool {
    [Layout::New, Layout::Middle, Layout::Old].into_iter().any(|layout| {
        let mut marshal = Marshal::new(bytes, layout, &mut scan.budget);
        let sound = marshal.read().is_ok() && !marshal.codes.is_empty();
        let codes = std::mem::take(&mut marshal.codes);
        if sound {
            judge(scan, place, &codes, 0);
        }
        sound
    })
}

fn read(scan: &mut Scan<'_>, place: &Place, body: &[u8], layout: Layout, header: u64) -> Result<u64, BoundedError> {
    let mut marshal = Marshal::new(body, layout, &mut scan.budget);
    let outcome = marshal.read();
    let codes = std::mem::take(&mut marshal.codes);
    // What was understood before an error counts.
    judge(scan, place, &codes, header);
    outcome
}

fn judge(scan: &mut Scan<'_>, place: &Place, codes: &[Code], offset: u64) {
    // A module's imports serve its functions as well.
    let imported: Vec<&str> = codes.iter().flat_map(|code| code.names.iter().map(|name| &**name)).collect();
    for code in codes {
        let has = |wanted: &str| code.names.iter().any(|name| &**name == wanted);
        let runs = RUNS.iter().find_map(|(module, names)| {
            let name = names.iter().find(|name| has(name))?;
            imported.contains(module).then(|| format!("{module}.{name}"))
        });
        let evaluates = EVALUATES.iter().find(|name| has(name)).map(|name| (*name).to_owned());
        let decodes = DECODES.iter().find(|name| has(name));
        let fetches = code.texts.iter().find(|text| shell_fetches_and_runs(text));
        let on_import = code.depth <= 1;
        let Some(what) = runs.or(evaluates) else { continue };
        let whole = if code.name.is_empty() { "<module>" } else { &code.name };
        let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).at(place.base.saturating_add(offset)).key(whole).value(&what);
        if let Some(text) = fetches {
            let explanation = format!("{whole} names {what} beside a command line that fetches or decodes a program and runs it.");
            scan.add(found(&rules::CODE_MALICIOUS, explanation).value(format!("{what} {text}")));
        } else if let Some(decodes) = decodes {
            scan.add(found(&rules::CODE_MALICIOUS, format!("{whole} names {what} beside {decodes}: code that is not in the file as text.")));
        } else if on_import && !matches!(what.as_str(), "ctypes.CDLL" | "ctypes.windll" | "ctypes.memmove" | "__import__") {
            scan.add(found(&rules::CODE_RISKY, format!("Importing this file reaches {what}, which runs commands or code.")));
        }
    }
}
