//! Python pickles, protocols 0 to 5: what would run if they were loaded.
//!
//! A symbolic machine ([`machine`]) runs the whole opcode set over constants, imports and calls; a policy ([`policy`]) says what
//! each import can do. Nothing is decided by counting opcodes or grepping names: a name counts when it reaches an import opcode,
//! however it got there. Errors end a pickle as they would end an unpickler, and what ran before them counts.

mod array;
mod constants;
mod judge;
mod limits;
mod machine;
pub(crate) mod opcodes;
pub(crate) mod policy;
mod render;
mod tensors;
#[cfg(test)]
pub(crate) mod tests;
mod value;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan, examine};
use judge::{Judge, Nested, Storage};
use machine::{End, Machine};
use picket_bounded::{Cursor, Source, Window};
pub(crate) use tensors::{attach, legacy_tensors, views};

/// The first pickle of a legacy `torch.save` file: the number 0x1950a86a20f9469cfc6c.
pub(crate) const TORCH_MAGIC: &[u8] = &[0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
/// Magic, protocol, system information, the object, the storage keys.
const TORCH_PICKLES: u32 = 5;

/// What a stream of pickles turned out to be.
pub(crate) struct Stream {
    pub(crate) format: Format,
    /// Where its last pickle, or its last tensor, ends.
    pub(crate) end: u64,
}

/// Judges a stream that begins with a pickle.
pub(crate) fn examine_stream(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Stream {
    let mut cursor = Cursor::new(source);
    let legacy = cursor.array::<15>().is_ok_and(|head| head == *TORCH_MAGIC);
    cursor.seek(0);
    let mut judge = Judge::new(source, &place.member, place.base);
    let mut end = 0;
    let mut count = 0;
    while count < limits::STACKED_MAX && cursor.remaining() > 0 {
        if legacy && count == TORCH_PICKLES {
            break;
        }
        let (findings, imports) = (judge.findings.len(), judge.imports);
        let outcome = run(&mut cursor, &mut judge, scan);
        // A loader of tensors reads the first pickle alone.
        if let Some(wanted) = scan.storages.as_mut().filter(|wanted| count == 0 && wanted.keys.is_none() && wanted.member == place.member) {
            wanted.keys = Some(judge.storages.iter().map(|storage| storage.key.clone()).collect());
        }
        let at = judge::At { offset: cursor.position(), code: 0 };
        match outcome {
            End::Stop => {}
            // Behind the first pickle anything may follow; only what imports is held against the file.
            End::Broken(_) if count > 0 && judge.imports == imports => {
                judge.findings.truncate(findings);
                break;
            }
            End::Broken(why) => {
                judge.finding(&rules::PICKLE_MALFORMED, at, None, format!("An unpickler would fail here ({why}), after running what comes before."));
                break;
            }
            End::Limit(why) => {
                scan.incomplete(place, &format!("the pickle was not read to its end: {why}"));
                end = source.len();
                break;
            }
        }
        count += 1;
        end = cursor.position();
    }
    if count == limits::STACKED_MAX {
        scan.incomplete(place, "more pickles follow one another than are read");
    }
    let format = match (legacy && count > 1, judge.arrays) {
        (true, _) => Format::PytorchLegacy,
        (false, 0) => Format::Pickle,
        (false, _) => Format::Joblib,
    };
    let (found, nested, storages) = (std::mem::take(&mut judge.findings), std::mem::take(&mut judge.nested), std::mem::take(&mut judge.storages));
    for finding in found {
        scan.add(finding);
    }
    for inner in nested {
        examine_nested(scan, source, place, inner);
    }
    if format == Format::PytorchLegacy && count == TORCH_PICKLES {
        end = storages_end(scan, source, place, end, &storages);
    }
    Stream { format, end: if end == 0 { source.len() } else { end } }
}

fn run(cursor: &mut Cursor<'_>, judge: &mut Judge<'_>, scan: &mut Scan<'_>) -> End {
    let mut machine = Machine::new(cursor);
    let end = machine.run(judge, &mut scan.budget);
    judge.finish(&machine.heap);
    end
}

/// What a look at bytes that might be a pickle says.
pub(crate) struct Probe {
    /// It runs to STOP.
    pub(crate) complete: bool,
    /// STOP is the last byte.
    pub(crate) exact: bool,
    pub(crate) imports: u64,
    pub(crate) opcodes: u64,
}

/// Runs one pickle without keeping what is found.
pub(crate) fn probe(scan: &mut Scan<'_>, source: &dyn Source) -> Probe {
    let mut cursor = Cursor::new(source);
    let mut judge = Judge::new(source, "", 0);
    let mut machine = Machine::new(&mut cursor);
    let end = machine.run(&mut judge, &mut scan.budget);
    let opcodes = machine.opcodes();
    Probe { complete: matches!(end, End::Stop), exact: cursor.remaining() == 0, imports: judge.imports, opcodes }
}

fn examine_nested(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, nested: Nested) {
    let window = Window::new(source, nested.text.offset, nested.text.len);
    let inside = place.inside(&format!("bytes@{}", place.base.saturating_add(nested.text.offset)));
    if nested.loaded {
        if nested.text.len > limits::NESTED_BYTES_MAX {
            scan.incomplete(place, "a pickle inside a pickle is larger than the limit");
        } else {
            examine(scan, &window, &inside);
        }
        return;
    }
    let seen = probe(scan, &window);
    if seen.complete && seen.exact && seen.imports > 0 {
        let finding =
            Finding::new(&rules::PICKLE_NESTED, &place.member, "A constant of this pickle is itself a pickle that imports; whoever unpickles it next runs it.");
        scan.add(finding.at(place.base.saturating_add(nested.text.offset)).opcode(opcodes::name(nested.at.code)));
    }
}

/// Where the tensors behind a legacy file's pickles end: eight bytes of element count and the elements, a storage.
fn storages_end(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, start: u64, storages: &[Storage]) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut end = start;
    for storage in storages.iter().filter(|storage| seen.insert(storage.key.as_str())) {
        let size = element_size(&storage.class).and_then(|size| storage.elements.checked_mul(size)).and_then(|size| size.checked_add(8));
        match size.and_then(|size| end.checked_add(size)) {
            Some(next) => end = next,
            None => {
                scan.incomplete(place, &format!("storages of the class {} have no known size", storage.class));
                return source.len();
            }
        }
    }
    if end > source.len() {
        let finding = Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, "The tensors that the pickle names need more bytes than the file has.");
        scan.add(finding.at(place.base.saturating_add(start)));
        return source.len();
    }
    end
}

fn element_size(class: &str) -> Option<u64> {
    Some(match class.strip_suffix("Storage")? {
        "Untyped" | "Byte" | "Char" | "Bool" | "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => 1,
        "Half" | "BFloat16" | "Short" => 2,
        "Float" | "Int" | "QInt32" => 4,
        "Double" | "Long" | "ComplexFloat" => 8,
        "ComplexDouble" => 16,
        _ => return None,
    })
}

/// The keys of the tensor storages that a pickle names by persistent id.
pub(crate) fn storage_keys(scan: &mut Scan<'_>, source: &dyn Source) -> Vec<String> {
    let mut cursor = Cursor::new(source);
    let mut judge = Judge::new(source, "", 0);
    Machine::new(&mut cursor).run(&mut judge, &mut scan.budget);
    judge.storages.into_iter().map(|storage| storage.key).collect()
}
