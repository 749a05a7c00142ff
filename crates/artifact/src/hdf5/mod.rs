//! HDF5: Keras models and weights. What matters is the architecture in an attribute, what leads to other files, and texts, pickles and
//! other files that are kept as elements of data sets; numbers are not read.

mod attribute;
mod chunks;
mod content;
mod dataset;
mod datatype;
mod dense;
mod extents;
mod heap;
mod parser;
mod sources;
mod tensors;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::json::{self, JsonError};
use crate::path;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan, examine};
pub(crate) use parser::find;
use picket_bounded::{BoundedError, Source, Window, read_range};
pub(crate) use tensors::tensors;

/// Findings of one kind.
const SHOWN_MAX: usize = 20;

pub(crate) fn examine_hdf5(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let start = find(source).unwrap_or(0);
    // MATLAB writes its name before every file of its version 7.3.
    if start > 0 && read_range(source, 0, 7, 7).is_ok_and(|head| head != b"MATLAB ") {
        let explanation = format!("{start} bytes stand before the HDF5 file; a reader that starts at the front sees other content.");
        scan.add(Finding::new(&rules::LEADING_DATA, &place.member, explanation).at(place.base));
        examine(scan, &Window::new(source, 0, start), &Place { depth: place.depth + 1, ..place.clone() });
    }
    let file = match parser::parse(source, start, &mut scan.budget) {
        Ok(file) => file,
        Err(error) => {
            if !matches!(error, BoundedError::Io(_) | BoundedError::LimitExceeded { .. }) {
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, format!("The file's structure is broken: {error}.")).at(place.base));
            }
            scan.failed(place, &error);
            return Claim { format: Format::Hdf5, end: source.len() };
        }
    };
    for reason in &file.unread {
        scan.incomplete(place, reason);
    }
    for (link, target) in file.external_links.iter().take(SHOWN_MAX) {
        outside(scan, place, link, target, "is a link into the file");
    }
    for (data, target) in file.external_data.iter().take(SHOWN_MAX) {
        outside(scan, place, data, target, "reads its elements from");
    }
    let mut format = Format::Hdf5;
    for (object, name, bytes) in &file.attributes {
        if object.is_empty() && name == "model_config" {
            format = Format::KerasH5;
        }
        attribute(scan, place, &format!("{object}/@{name}"), bytes);
    }
    extents::examine_extents(scan, source, place, &file);
    if file.end > source.len() {
        scan.incomplete(place, "the file is shorter than its superblock says");
    }
    let end = file.end.min(source.len());
    let parser::File { datasets, mut heaps, .. } = file;
    content::examine_contents(scan, source, place, datasets, &mut heaps);
    Claim { format, end }
}

fn outside(scan: &mut Scan<'_>, place: &Place, object: &str, target: &str, how: &str) {
    let rule = if path::escapes(target) { &rules::EXTERNAL_PATH } else { &rules::EXTERNAL_REFERENCE };
    scan.add(Finding::new(rule, &place.member, format!("{object} {how} {target}, which is opened when it is read.")).key(object).value(target));
}

/// An architecture, or what is unpickled when the attribute is read.
fn attribute(scan: &mut Scan<'_>, place: &Place, key: &str, bytes: &[u8]) {
    let inside = Place { name: key.to_owned(), ..place.inside(key) };
    if !bytes.starts_with(b"{") && content::examine_bytes(scan, &inside, bytes) {
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    match json::parse(&text) {
        Ok(document) => {
            json::examine_json(scan, &inside, &document);
        }
        Err(JsonError::Limit(why)) => scan.incomplete(place, why),
        // What only looked like a pickle is no loss.
        Err(JsonError::Syntax(_)) if !text.contains("class_name") && !key.ends_with("_config") => {}
        Err(JsonError::Syntax(at)) => {
            scan.incomplete(place, &format!("{key} is no JSON at byte {at}"));
        }
    }
}
