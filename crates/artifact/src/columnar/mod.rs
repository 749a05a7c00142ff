//! Tables: Parquet, Arrow files and streams, Feather. Rows are not read; footers are, for what leads to other files and for the
//! extension type whose reader unpickles (CVE-2023-47248).

mod limits;
mod parser;

use crate::Format;
use crate::base64;
use crate::path;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use limits::{ARROW_LOOK_BYTES, FOOTER_BYTES_MAX, SHOWN_MAX};
use picket_bounded::{BoundedError, Reader, Source, Window, read_range};

/// The name under which PyArrow pickled a type before version 14.0.1.
const PICKLED_TYPE: &[u8] = b"arrow.py_extension_type";

pub(crate) fn examine_parquet(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let claim = Claim { format: Format::Parquet, end: source.len() };
    match footer(scan, source, place) {
        Ok(()) => {}
        Err(error) => {
            if matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }) {
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, format!("The table's footer is broken: {error}.")).at(place.base));
            }
            scan.failed(place, &error);
        }
    }
    claim
}

fn footer(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Result<(), BoundedError> {
    let end = source.len().checked_sub(8).ok_or(BoundedError::Malformed("a table shorter than its own frame"))?;
    let tail = read_range(source, end, 8, 8)?;
    let mut reader = Reader::new(&tail);
    let length = u64::from(reader.u32_le()?);
    match reader.rest() {
        b"PAR1" => {}
        b"PARE" => return Err(BoundedError::Unsupported("the footer is encrypted")),
        _ => return Err(BoundedError::Malformed("the table does not end as it begins")),
    }
    let start = end.checked_sub(length).filter(|start| *start >= 4).ok_or(BoundedError::Malformed("the footer is larger than the file"))?;
    let bytes = read_range(source, start, length, FOOTER_BYTES_MAX)?;
    let (mut paths, mut pickled) = (Vec::new(), false);
    let walked = parser::walk(&bytes, &mut scan.budget, &mut |fields, text| match fields {
        // FileMetaData.row_groups 4, RowGroup.columns 1, ColumnChunk.file_path 1.
        [4, 1, 1] if paths.len() < SHOWN_MAX && !paths.contains(&text) => paths.push(text),
        // FileMetaData.key_value_metadata 5: value 2. Arrow's schema stands there in base64.
        [5, 2] => pickled |= has_pickled_type(text) || std::str::from_utf8(text).ok().and_then(base64::decode).is_some_and(|schema| has_pickled_type(&schema)),
        _ => {}
    });
    for target in paths {
        outside(scan, place, &String::from_utf8_lossy(target));
    }
    if pickled {
        report_pickled(scan, place, start);
    }
    walked.map(|_| ())
}

fn has_pickled_type(bytes: &[u8]) -> bool {
    bytes.windows(PICKLED_TYPE.len()).any(|window| window == PICKLED_TYPE)
}

fn outside(scan: &mut Scan<'_>, place: &Place, target: &str) {
    let rule = if path::escapes(target) || target.contains("://") { &rules::EXTERNAL_PATH } else { &rules::EXTERNAL_REFERENCE };
    let explanation = format!("Columns of this table are read from {target}.");
    scan.add(Finding::new(rule, &place.member, explanation).key("file_path").value(target));
}

fn report_pickled(scan: &mut Scan<'_>, place: &Place, offset: u64) {
    let explanation = "A column has the extension type that PyArrow before 14.0.1 restores by unpickling bytes of the file.";
    let finding = Finding::new(&rules::TABLE_UNPICKLES, &place.member, explanation).at(place.base.saturating_add(offset));
    scan.add(finding.value(String::from_utf8_lossy(PICKLED_TYPE)));
}

/// Arrow's two framings and Feather's first: the schema stands at the start, and once more at the end of a file.
pub(crate) fn examine_arrow(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let claim = Claim { format: Format::Arrow, end: source.len() };
    let file = read_range(source, 0, 8.min(source.len()), 8).is_ok_and(|head| head == b"ARROW1\0\0");
    let mut parts = vec![(0, source.len().min(ARROW_LOOK_BYTES))];
    if file {
        match arrow_footer(source) {
            Ok(part) => parts.push(part),
            Err(error) => {
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, format!("The table's footer is broken: {error}.")).at(place.base));
                scan.failed(place, &error);
            }
        }
    }
    for (start, length) in parts {
        let window = Window::new(source, start, length);
        let bytes = match read_range(&window, 0, window.len(), ARROW_LOOK_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                scan.failed(place, &error);
                continue;
            }
        };
        if has_pickled_type(&bytes) {
            report_pickled(scan, place, start);
        }
    }
    claim
}

/// Where the footer is, at most what is looked at.
fn arrow_footer(source: &dyn Source) -> Result<(u64, u64), BoundedError> {
    let end = source.len().checked_sub(10).ok_or(BoundedError::Malformed("a table shorter than its own frame"))?;
    let tail = read_range(source, end, 10, 10)?;
    let mut reader = Reader::new(&tail);
    let length = u64::from(reader.u32_le()?);
    if reader.rest() != b"ARROW1" {
        return Err(BoundedError::Malformed("the table does not end as it begins"));
    }
    let start = end.checked_sub(length).filter(|start| *start >= 8).ok_or(BoundedError::Malformed("the footer is larger than the file"))?;
    Ok((start, length.min(ARROW_LOOK_BYTES)))
}
