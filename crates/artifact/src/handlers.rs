//! Which module judges which format.

use crate::report::Finding;
use crate::scan::{Claim, Place, Scan};
use crate::{Format, compressed, gguf, hdf5, numpy, onnx, pickle, rules, safetensors, tar, tensorflow, text, tflite, zip};
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
        Format::KerasMetadata => tensorflow::examine_keras_metadata(scan, source, place),
        Format::Tflite => tflite::examine_tflite(scan, source, place),
        // Words and their scores; the library that reads them has no operators.
        Format::SentencePiece => Claim { format, end: source.len() },
        // No loader runs an image; what could be appended to it was looked for.
        Format::Image => Claim { format, end: source.len() },
        Format::Elf | Format::Pe | Format::MachO | Format::Llamafile => program(scan, place, format, source.len()),
        Format::PythonBytecode => {
            if place.depth > 0 && !place.member.contains("__pycache__/") {
                let explanation = "Compiled Python runs when it is imported, and what it does is not in the archive as text.";
                scan.add(Finding::new(&rules::CODE_BYTECODE, &place.member, explanation).at(place.base));
            }
            scan.incomplete(place, "compiled Python is not examined");
            Claim { format, end: source.len() }
        }
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

/// Native code is not judged; that it is there may be a finding.
fn program(scan: &mut Scan<'_>, place: &Place, format: Format, end: u64) -> Claim {
    let library = [".so", ".pyd", ".dll", ".dylib"].iter().any(|extension| place.name.contains(extension));
    if format == Format::Llamafile {
        let explanation = "The model comes as a program that runs on six systems; whoever opens it runs it.";
        scan.add(Finding::new(&rules::EXECUTABLE_MODEL, &place.member, explanation).at(place.base));
    } else if place.depth > 0 && !library {
        let explanation = format!("{} is a program ({format}) inside an archive, where models have none.", place.name);
        scan.add(Finding::new(&rules::EXECUTABLE_MEMBER, &place.member, explanation).at(place.base));
    }
    scan.incomplete(place, "native code is not examined");
    Claim { format, end }
}
