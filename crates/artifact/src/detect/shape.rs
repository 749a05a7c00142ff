//! Formats without a magic number, told by their shape.

use crate::Format;
use crate::protobuf;
use crate::scan::Place;
use picket_bounded::{BoundedError, Source};

/// Text that a model folder holds, or [`Format::Unknown`].
pub(super) fn of(source: &dyn Source, head: &[u8], place: &Place) -> Result<Format, BoundedError> {
    if !is_text(head) {
        return Ok(protobuf::classify(source).unwrap_or(Format::Unknown));
    }
    let text = String::from_utf8_lossy(head);
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let extension = place.name.rsplit_once('.').map_or("", |(_, extension)| extension);
    // Text is told apart by its use: Python imports whatever has its extension, and a list is a sound first line of a module.
    Ok(match (extension, start.as_bytes()) {
        ("py" | "pyi" | "pyw", _) => Format::Python,
        ("pth", _) => Format::Pth,
        ("jinja" | "jinja2" | "j2", _) | (_, [b'{', b'{' | b'%' | b'#', ..]) => Format::Jinja,
        ("yaml" | "yml", _) => Format::Yaml,
        (_, [b'{' | b'[', ..]) => Format::Json,
        (_, [b'<', b'?' | b'!', ..]) => Format::Xml,
        _ => Format::Text,
    })
}

/// UTF-8 without control characters that no text has; a character cut by the end of the head is allowed.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    valid && !head.iter().any(|byte| matches!(byte, 0..=8 | 0x0e..=0x1a | 0x1c..=0x1f))
}
