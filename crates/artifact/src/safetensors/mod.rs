//! safetensors: eight bytes of length, a JSON header, and tensors without holes or overlaps. It cannot run code; a file that
//! breaks its rules is built for a reader that does not check them, or carries something else.

mod parser;
mod tensors;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::report::Finding;
use crate::rules::{self, Rule};
use crate::scan::{Claim, Place, Scan};
use parser::Tensor;
use picket_bounded::{Cursor, Source};
pub(crate) use tensors::tensors;

/// The reference implementation refuses longer headers.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// A tensor's name is shown and held; the longest public ones have 200 characters.
const FAULTS_SHOWN_MAX: usize = 20;

pub(crate) fn examine_safetensors(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let whole = Claim { format: Format::Safetensors, end: source.len() };
    let add = |scan: &mut Scan<'_>, rule: &'static Rule, key: &str, explanation: String| {
        scan.add(Finding::new(rule, &place.member, explanation).at(place.base).key(key));
    };
    let mut cursor = Cursor::new(source);
    let header = cursor.u64_le().and_then(|length| {
        if length > HEADER_BYTES_MAX.min(cursor.remaining()) {
            let explanation = format!("The header claims {length} bytes, more than the file has or any reader takes.");
            add(scan, &rules::STRUCTURE_OVERFLOW, "header length", explanation);
        }
        cursor.take(length, HEADER_BYTES_MAX)
    });
    let header = match header {
        Ok(header) => header,
        Err(error) => {
            scan.failed(place, &error);
            return whole;
        }
    };
    let header_end = cursor.position();
    let parsed = match parser::parse(&header) {
        Ok(parsed) => parsed,
        Err(error) => {
            add(scan, &rules::STRUCTURE_MALFORMED, "header", format!("The header is not what the format allows: {error}."));
            return whole;
        }
    };
    if header.first() != Some(&b'{') {
        add(scan, &rules::STRUCTURE_MALFORMED, "header", "The header does not begin with a brace, which the format asks for.".to_owned());
    }
    for key in parsed.duplicates.iter().take(FAULTS_SHOWN_MAX) {
        add(scan, &rules::DUPLICATE_KEY, key, format!("The tensor {key} is described twice; readers disagree about which description counts."));
    }
    let end = check(&parsed.tensors, source.len() - header_end, |rule, key, explanation| add(scan, rule, key, explanation));
    Claim { format: Format::Safetensors, end: header_end.saturating_add(end).min(source.len()) }
}

/// Checks sizes and places; returns where the last tensor ends.
fn check(tensors: &[Tensor], available: u64, mut fault: impl FnMut(&'static Rule, &str, String)) -> u64 {
    let mut sorted: Vec<&Tensor> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| (tensor.start, tensor.end));
    let mut covered = 0;
    for tensor in sorted {
        let name = tensor.name.as_str();
        if tensor.end < tensor.start {
            fault(&rules::STRUCTURE_OVERFLOW, name, format!("The tensor {name} ends before it begins, so its size is negative."));
            continue;
        }
        if tensor.end > available {
            fault(&rules::STRUCTURE_MALFORMED, name, format!("The tensor {name} reaches {} bytes past the end of the file.", tensor.end - available));
        }
        match tensor.bytes() {
            Some(Some(bytes)) if bytes != tensor.end - tensor.start => {
                fault(&rules::STRUCTURE_MALFORMED, name, format!("The tensor {name} needs {bytes} bytes by its shape and has {}.", tensor.end - tensor.start));
            }
            Some(Some(_)) => {}
            Some(None) => fault(&rules::STRUCTURE_OVERFLOW, name, format!("The shape of {name} does not fit 64 bits.")),
            None => fault(&rules::STRUCTURE_MALFORMED, name, format!("The tensor {name} has the unknown element type {}.", tensor.dtype)),
        }
        if tensor.start < covered && tensor.start < tensor.end {
            fault(&rules::TENSOR_OVERLAP, name, format!("The tensor {name} begins inside the one before it."));
        }
        if tensor.start > covered {
            fault(&rules::TENSOR_HOLE, name, format!("{} bytes before the tensor {name} belong to no tensor.", tensor.start - covered));
        }
        covered = covered.max(tensor.end);
    }
    covered
}
