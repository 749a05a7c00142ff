//! Which module judges which format.

use crate::report::Finding;
use crate::scan::{Claim, Place, Scan};
use crate::{
    Format, boosting, checkpoint, columnar, compressed, coreml, elf, ggml, gguf, hdf5, msgpack, numpy, onnx, paddle, pickle, pyc, rdata, rules, safetensors,
    sevenz, tar, tensorflow, text, tflite, zip,
};
use picket_bounded::{Source, Window};

const ZFILE_HEADER: u64 = 21;

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
        Format::SevenZip => sevenz::examine_sevenz(scan, source, place),
        // joblib before 0.10: two letters, nineteen characters of length, then zlib.
        Format::ZFile => {
            let claim = compressed::examine_compressed(scan, &Window::new(source, ZFILE_HEADER, source.len()), place, Format::Zlib);
            Claim { format, end: claim.end.saturating_add(ZFILE_HEADER).min(source.len()) }
        }
        Format::Text
        | Format::Json
        | Format::Yaml
        | Format::Xml
        | Format::Python
        | Format::Pth
        | Format::Jinja
        | Format::Script
        | Format::MlModel
        | Format::Requirements => text::examine_text(scan, source, place, format),
        Format::Hdf5 => hdf5::examine_hdf5(scan, source, place),
        Format::Onnx => onnx::examine_onnx(scan, source, place),
        Format::TensorflowSavedModel | Format::TensorflowMetaGraph | Format::TensorflowGraph => tensorflow::examine_graph(scan, source, place, format),
        Format::KerasMetadata => tensorflow::examine_keras_metadata(scan, source, place),
        Format::Tflite => tflite::examine_tflite(scan, source, place),
        // Words and their scores; the library that reads them has no operators.
        Format::SentencePiece => Claim { format, end: source.len() },
        // No loader runs an image; what could be appended to it was looked for.
        Format::Image => Claim { format, end: source.len() },
        Format::Elf => {
            let end = elf::examine_elf(scan, source, place);
            program(scan, place, format, end)
        }
        Format::Pe | Format::MachO | Format::Llamafile => program(scan, place, format, source.len()),
        Format::PythonBytecode => pyc::examine_pyc(scan, source, place),
        Format::TensorrtEngine => {
            scan.incomplete(place, "a compiled engine is native code for one GPU, which is not examined");
            Claim { format, end: source.len() }
        }
        _ => examine_data(scan, source, place, format),
    }
}

/// Formats of one library or one kind of data, and what is only recognised.
fn examine_data(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) -> Claim {
    match format {
        Format::Ggml => ggml::examine_ggml(scan, source, place),
        Format::RData => rdata::examine_rdata(scan, source, place),
        Format::Parquet => columnar::examine_parquet(scan, source, place),
        Format::Arrow => columnar::examine_arrow(scan, source, place),
        Format::CoreMl => coreml::examine_coreml(scan, source, place),
        Format::PaddleProgram => paddle::examine_program(scan, source, place),
        Format::PaddleParameters => paddle::examine_parameters(scan, source, place),
        Format::Msgpack => msgpack::examine_msgpack(scan, source, place),
        Format::Xgboost => boosting::examine_xgboost(scan, source, place),
        Format::Catboost => boosting::examine_catboost(scan, source, place),
        Format::TensorflowCheckpoint => checkpoint::examine_index(scan, source, place),
        // Trees as text: numbers by name, which no reader runs; what hides among them was searched as text.
        Format::LightGbm => text::examine_text(scan, source, place, format),
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
    } else if place.depth > 0 && !library && !place.in_layer {
        let explanation = format!("{} is a program ({format}) inside an archive, where models have none.", place.name);
        scan.add(Finding::new(&rules::EXECUTABLE_MEMBER, &place.member, explanation).at(place.base));
    }
    scan.incomplete(place, "native code is not examined");
    Claim { format, end }
}
