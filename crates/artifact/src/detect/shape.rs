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
    Ok(match start.as_bytes() {
        [b'{' | b'[', ..] => Format::Json,
        [b'<', b'?' | b'!', ..] => Format::Xml,
        // Text is told apart by its use: what Python imports, what a template engine renders.
        _ => match extension {
            "py" | "pyi" => Format::Python,
            "pth" => Format::Pth,
            "jinja" | "jinja2" | "j2" => Format::Jinja,
            "yaml" | "yml" => Format::Yaml,
            _ => Format::Text,
        },
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
