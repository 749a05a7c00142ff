//! R objects (`.rds`, `.RData`): what runs when one is read or first used. A promise carries an expression that R evaluates the
//! moment its value is asked for (CVE-2024-27322).

mod ascii;
mod bytecode;
mod limits;
mod parser;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use parser::Parser;
use picket_bounded::{BoundedError, Source, read_range};
use std::collections::HashSet;

/// Findings of one kind.
const SHOWN_MAX: usize = 20;

/// R functions that run commands or code, read from the network, or write files.
const RUNS: &[&str] = &[
    "system",
    "system2",
    "shell",
    "shell.exec",
    "pipe",
    "eval",
    "evalq",
    "eval.parent",
    "parse",
    "source",
    "sys.source",
    "do.call",
    "dyn.load",
    "library.dynam",
    "download.file",
    "url",
    "socketConnection",
    "readRDS",
    "load",
    "loadNamespace",
    "install.packages",
    "unserialize",
    "Rprof",
    "file.remove",
    "unlink",
    "writeLines",
    "writeBin",
    "Sys.setenv",
    ".Call",
    ".External",
    ".C",
    "reg.finalizer",
];

/// Where the objects begin, and whether numbers stand in the reader's byte order.
pub(crate) fn start(head: &[u8]) -> Option<(u64, Form)> {
    let archive = matches!(head.get(..5), Some(b"RDX2\n" | b"RDX3\n" | b"RDA2\n" | b"RDA3\n" | b"RDB2\n" | b"RDB3\n"));
    let offset = if archive { 5 } else { 0 };
    let form = match head.get(offset..offset + 2)? {
        b"X\n" => Form::Xdr,
        b"B\n" => Form::Native,
        b"A\n" => Form::Ascii,
        _ => return None,
    };
    // Without the archive's name, three small versions must follow.
    let rest = head.get(offset + 2..)?;
    let sound = match form {
        Form::Xdr => matches!(rest.get(..4), Some([0, 0, 0, 2 | 3])),
        Form::Native => matches!(rest.get(..4), Some([2 | 3, 0, 0, 0])),
        Form::Ascii => matches!(rest.get(..2), Some(b"2\n" | b"3\n")),
    };
    sound.then_some((offset as u64 + 2, form))
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Xdr,
    Native,
    Ascii,
}

pub(crate) fn examine_rdata(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let whole = Claim { format: Format::RData, end: source.len() };
    let head = read_range(source, 0, source.len().min(16), 16).unwrap_or_default();
    let Some((start, form)) = start(&head) else {
        scan.incomplete(place, "no R object begins here");
        return whole;
    };
    let mut parser = Parser::new(source, start, form, &mut scan.budget);
    let outcome = parser.read();
    let found = std::mem::take(&mut parser.found);
    for (offset, name) in found.promises.iter().take(SHOWN_MAX) {
        let explanation = format!("Reading this object makes a promise that R keeps by calling {name}: the expression comes from the file.");
        // Environments of functions keep arguments that were never used as promises as well.
        let runs = found.last_call.is_some_and(|at| at >= *offset);
        let rule = if runs { &rules::R_PROMISE } else { &rules::R_CODE };
        scan.add(Finding::new(rule, &place.member, explanation).at(place.base.saturating_add(*offset)).key(name));
    }
    let mut shown = HashSet::new();
    for (offset, name) in &found.calls {
        if shown.insert(name) {
            let explanation = format!("The object carries R code that calls {name}, which reaches commands, code, files or the network.");
            scan.add(Finding::new(&rules::R_CODE, &place.member, explanation).at(place.base.saturating_add(*offset)).key(name));
        }
    }
    match outcome {
        Ok(()) => Claim { end: found.end, ..whole },
        Err(error) => {
            if matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }) {
                let explanation = format!("The R object is broken: {error}.");
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base));
            }
            scan.failed(place, &error);
            whole
        }
    }
}
