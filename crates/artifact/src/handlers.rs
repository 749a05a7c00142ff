//! Which module judges which format.

use crate::scan::{Claim, Place, Scan};
use crate::{Format, compressed, gguf, hdf5, numpy, onnx, pickle, safetensors, tar, tensorflow, text, tflite, zip};
use picket_bounded::Source;

/// Judges a source as `format` and says how far the format reaches.
pub(crate) fn examine_as(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) -> Claim {
    match format {
        Format::Empty => Claim { format, end: 0 },
        Format::Pickle => {
            let stream = pickle::examine_stream(scan, source, place);
            Claim { format: stream.format, end: stream.end }
        }
        Format::Zip => zip::examine_zip(scan, source, place),
        Format::Npy => numpy::examine_npy(scan, source, place),
        Format::Safetensors => safetensors::examine_safetensors(scan, source, place),
        Format::Gguf => gguf::examine_gguf(scan, source, place),
        Format::Tar => tar::examine_tar(scan, source, place),
        Format::Gzip | Format::Bzip2 | Format::Xz | Format::Zstd | Format::Lz4 | Format::LzmaAlone | Format::Zlib => {
            compressed::examine_compressed(scan, source, place, format)
        }
        Format::Text | Format::Json | Format::Yaml | Format::Xml | Format::Python | Format::Pth | Format::Jinja | Format::Script => {
            text::examine_text(scan, source, place, format)
        }
        Format::Hdf5 => hdf5::examine_hdf5(scan, source, place),
        Format::Onnx => onnx::examine_onnx(scan, source, place),
        Format::TensorflowSavedModel | Format::TensorflowMetaGraph | Format::TensorflowGraph => tensorflow::examine_graph(scan, source, place, format),
        Format::Tflite => tflite::examine_tflite(scan, source, place),
        // Words and their scores; the library that reads them has no operators.
        Format::SentencePiece => Claim { format, end: source.len() },
        // No loader runs an image; what could be appended to it was looked for.
        Format::Image => Claim { format, end: source.len() },
        Format::Unknown => {
            scan.incomplete(place, "the content is of no format that is known here");
            Claim { format, end: source.len() }
        }
        _ => {
            scan.incomplete(place, &format!("the format {format} is recognised and not examined"));
            Claim { format, end: source.len() }
        }
    }
}
