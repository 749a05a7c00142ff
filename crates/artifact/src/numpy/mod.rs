//! NumPy `.npy` arrays: the header by its grammar, the size by the header, and the pickle where the elements are objects.

mod parser;
mod tensors;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::pickle;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use parser::{Element, Header, HeaderError};
use picket_bounded::{BoundedError, Cursor, Source, Window};
pub(crate) use tensors::{first, tensors};

/// Arrays saved one after another into one file, which NumPy allows.
const ARRAYS_MAX: u32 = 100_000;

pub(crate) fn examine_npy(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut at = 0;
    for _ in 0..ARRAYS_MAX {
        let rest = Window::new(source, at, source.len() - at);
        if Cursor::new(&rest).array::<6>().ok() != Some(*parser::MAGIC) {
            break;
        }
        match array(scan, &rest, place, at) {
            Some(length) => at += length,
            None => return Claim { format: Format::Npy, end: source.len() },
        }
    }
    Claim { format: Format::Npy, end: at }
}

/// Length of one array with its header; nothing when it cannot be told.
fn array(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, at: u64) -> Option<u64> {
    let found = |rule, explanation: String| Finding::new(rule, &place.member, explanation).at(place.base.saturating_add(at));
    let header = match parser::header(source) {
        Ok(header) => header,
        Err(HeaderError::Malformed(why)) => {
            scan.add(found(&rules::STRUCTURE_MALFORMED, format!("The array's header is not what NumPy writes: {why}.")));
            return None;
        }
        Err(HeaderError::Read(error)) => {
            if !matches!(error, BoundedError::Io(_)) {
                scan.add(found(&rules::STRUCTURE_MALFORMED, format!("The array's header breaks off: {error}.")));
            }
            scan.failed(place, &error);
            return None;
        }
    };
    let Header { element, shape, data, .. } = header;
    let size = match element {
        Element::Object => {
            let rest = Window::new(source, data, source.len() - data);
            let stream = pickle::examine_stream(scan, &rest, &Place { base: place.base.saturating_add(at).saturating_add(data), ..place.clone() });
            return Some(data + stream.end);
        }
        Element::Bytes(size) => size,
    };
    let bytes = shape.iter().try_fold(size, |product, length| product.checked_mul(*length));
    let Some(end) = bytes.and_then(|bytes| data.checked_add(bytes)) else {
        scan.add(found(&rules::STRUCTURE_OVERFLOW, format!("The shape {shape:?} times the element size does not fit 64 bits.")).key("shape"));
        return None;
    };
    if end > source.len() {
        scan.add(
            found(&rules::STRUCTURE_MALFORMED, format!("The header announces {} bytes of elements, the file has {}.", end - data, source.len() - data))
                .key("shape"),
        );
        return None;
    }
    Some(end)
}
