//! GGUF: counts and lengths checked against the file before anything is believed, tensors by place and size, chat templates
//! by what they do.

mod parser;
mod tensors;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::jinja;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use parser::{Fault, FaultKind, Model};
use picket_bounded::Source;
pub(crate) use tensors::tensors;

/// Faults shown of one file.
const FAULTS_SHOWN_MAX: usize = 20;

pub(crate) fn examine_gguf(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut model = Model::default();
    let outcome = parser::parse(source, &mut model, &mut scan.budget);
    // What was understood before an error counts.
    for (key, template) in &model.templates {
        jinja::examine_template(scan, place, key, template);
    }
    let mut end = source.len();
    match outcome {
        Ok(start) => end = places(&mut model, start, source.len()).unwrap_or(end),
        Err(Fault { offset, kind, explanation }) => match kind {
            FaultKind::Overflow => scan.add(Finding::new(&rules::STRUCTURE_OVERFLOW, &place.member, explanation).at(place.base.saturating_add(offset))),
            FaultKind::Malformed => scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base.saturating_add(offset))),
            FaultKind::NotRead => scan.incomplete(place, &explanation),
        },
    }
    for Fault { offset, kind, explanation } in model.faults.iter().take(FAULTS_SHOWN_MAX) {
        let rule = match kind {
            FaultKind::Overflow => &rules::STRUCTURE_OVERFLOW,
            FaultKind::Malformed => &rules::STRUCTURE_MALFORMED,
            FaultKind::NotRead => {
                scan.incomplete(place, explanation);
                continue;
            }
        };
        scan.add(Finding::new(rule, &place.member, explanation).at(place.base.saturating_add(*offset)).key(explanation));
    }
    for key in model.duplicates.iter().take(FAULTS_SHOWN_MAX) {
        scan.add(
            Finding::new(&rules::DUPLICATE_KEY, &place.member, format!("The key {key} appears twice; readers disagree about which value counts.")).key(key),
        );
    }
    Claim { format: Format::Gguf, end }
}

/// Checks the tensors' places; returns where the last ends, when every size is known.
fn places(model: &mut Model, data: u64, len: u64) -> Option<u64> {
    let mut ranges: Vec<(u64, u64, String)> = Vec::new();
    let mut known = true;
    for tensor in &model.tensors {
        let Some(bytes) = tensor.bytes else {
            known = false;
            continue;
        };
        let start = data.checked_add(tensor.offset);
        let Some((start, end)) = start.and_then(|start| Some((start, start.checked_add(bytes)?))) else {
            model.faults.push(Fault::overflow(tensor.at, format!("The tensor {} lies beyond what 64 bits can address.", tensor.name)));
            continue;
        };
        if end > len {
            model.faults.push(Fault::malformed(tensor.at, format!("The tensor {} reaches {} bytes past the end of the file.", tensor.name, end - len)));
        }
        if tensor.offset % model.alignment != 0 {
            model.faults.push(Fault::malformed(tensor.at, format!("The tensor {} is not aligned.", tensor.name)));
        }
        ranges.push((start, end, tensor.name.clone()));
    }
    ranges.sort_unstable();
    let mut covered = data;
    for (start, end, name) in ranges {
        if start < covered && start < end {
            model.faults.push(Fault::malformed(start, format!("The tensor {name} begins inside the one before it.")));
        }
        covered = covered.max(end);
    }
    // The last tensor may be padded to the alignment.
    let padded = covered.checked_next_multiple_of(model.alignment).unwrap_or(covered);
    known.then_some(padded.min(len))
}
