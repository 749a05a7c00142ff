//! Formats without a magic number, told by their shape.

use crate::Format;
use crate::boosting;
use crate::checkpoint;
use crate::msgpack;
use crate::paddle;
use crate::protobuf;
use crate::repository;
use crate::scan::Place;
use picket_bounded::{BoundedError, Source};

/// Text that a model folder holds, or [`Format::Unknown`].
pub(super) fn of(source: &dyn Source, head: &[u8], place: &Place) -> Result<Format, BoundedError> {
    if !is_text(head) {
        // A table's magic number stands at its end; the rest is told by what its first bytes announce.
        if checkpoint::is_index(source) {
            return Ok(Format::TensorflowCheckpoint);
        }
        if arrow_stream(head) {
            return Ok(Format::Arrow);
        }
        if paddle::is_parameters(source) {
            return Ok(Format::PaddleParameters);
        }
        if let Some(format) = protobuf::classify(source) {
            return Ok(format);
        }
        return Ok(if msgpack::is_msgpack(source) { Format::Msgpack } else { Format::Unknown });
    }
    let text = String::from_utf8_lossy(head);
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let extension = place.name.rsplit_once('.').map_or("", |(_, extension)| extension);
    // Text is told apart by its use: Python imports whatever has its extension, and a list is a sound first line of a module.
    if boosting::is_lightgbm(source) {
        return Ok(Format::LightGbm);
    }
    if place.name == "MLmodel" {
        return Ok(Format::MlModel);
    }
    if repository::is_requirements(&place.name) {
        return Ok(Format::Requirements);
    }
    Ok(match (extension, start.as_bytes()) {
        ("py" | "pyi" | "pyw", _) => Format::Python,
        ("pth", _) => Format::Pth,
        ("jinja" | "jinja2" | "j2", _) | (_, [b'{', b'{' | b'%' | b'#', ..]) => Format::Jinja,
        ("yaml" | "yml", _) => Format::Yaml,
        (_, [b'{' | b'[', ..]) => Format::Json,
        ("xml" | "pmml", [b'<', ..]) | (_, [b'<', b'?' | b'!', ..]) => Format::Xml,
        (_, root) if root.starts_with(b"<PMML") || root.starts_with(b"<net ") => Format::Xml,
        _ => Format::Text,
    })
}

/// A message of an Arrow stream: a marker, the length of a table, and a table whose root lies within it.
fn arrow_stream(head: &[u8]) -> bool {
    let Some([0xff, 0xff, 0xff, 0xff, a, b, c, d, root, 0, 0, 0]) = head.first_chunk::<12>().copied() else { return false };
    let length = u32::from_le_bytes([a, b, c, d]);
    length >= 16 && length % 8 == 0 && u32::from(root) < length
}

/// UTF-8 without control characters that no text has; a character cut by the end of the head is allowed.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    valid && !head.iter().any(|byte| matches!(byte, 0..=8 | 0x0e..=0x1a | 0x1c..=0x1f))
}
