//! What a file is by its content. The name decides nothing; where it promises something else, that is a finding.

mod shape;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::boosting;
use crate::hdf5;
use crate::pickle;
use crate::rdata;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use crate::zip::{find_end, limits::TAIL_BYTES};
use picket_bounded::{BoundedError, Source, read_range};

/// Enough for every magic number (the last is tar's at 257) and to tell text from data.
const HEAD_BYTES: u64 = 4096;

/// What a look at both ends says.
pub(crate) struct Sniffed {
    pub(crate) format: Format,
    /// Where an archive begins that ends with the file, when the front is something else.
    pub(crate) appended_zip: Option<u64>,
}

/// Looks at the first 4 KiB and at the last 64 KiB.
///
/// # Errors
/// When the source cannot be read.
pub(crate) fn sniff(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Result<Sniffed, BoundedError> {
    if source.is_empty() {
        return Ok(Sniffed { format: Format::Empty, appended_zip: None });
    }
    let head = read_range(source, 0, source.len().min(HEAD_BYTES), HEAD_BYTES)?;
    let by_magic = magic(&head, source.len());
    if by_magic == Some(Format::Zip) {
        return Ok(Sniffed { format: Format::Zip, appended_zip: None });
    }
    let appended_zip = appended(source)?;
    let format = match by_magic {
        Some(format) => format,
        None if python_pickle(scan, source, &head) => Format::Pickle,
        None => match shape::of(source, &head, place)? {
            Format::Unknown | Format::Text if hdf5::find(source).is_some() => Format::Hdf5,
            format => format,
        },
    };
    // A zip whose first bytes are not a member: what is in front is a prefix of the archive, unless it is a format of its own.
    match (format, appended_zip) {
        (Format::Unknown | Format::Text, Some(_)) => Ok(Sniffed { format: Format::Zip, appended_zip: None }),
        _ => Ok(Sniffed { format, appended_zip }),
    }
}

/// Start of an archive that ends the source.
fn appended(source: &dyn Source) -> Result<Option<u64>, BoundedError> {
    let start = source.len().saturating_sub(TAIL_BYTES);
    let tail = read_range(source, start, source.len() - start, TAIL_BYTES)?;
    let Some(end) = find_end(&tail, start) else { return Ok(None) };
    let record = read_range(source, end, 22, 22)?;
    let mut reader = picket_bounded::Reader::new(&record);
    reader.skip(10)?;
    let (entries, size, offset) = (reader.u16_le()?, u64::from(reader.u32_le()?), u64::from(reader.u32_le()?));
    let directory = end.saturating_sub(size);
    // Four bytes occur by chance; a directory that begins where the record says does not.
    let signature = read_range(source, directory, 4.min(source.len() - directory), 4)?;
    if entries == 0 || signature != b"PK\x01\x02" {
        return Ok(None);
    }
    Ok(Some(directory.saturating_sub(offset)))
}

/// Formats that announce themselves.
fn magic(head: &[u8], len: u64) -> Option<Format> {
    let starts = |bytes: &[u8]| head.starts_with(bytes);
    let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    Some(match head {
        _ if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => Format::Zip,
        [0x80, 0..=5, next, ..] if pickle_start(*next) => Format::Pickle,
        _ if starts(b"\x93NUMPY") => Format::Npy,
        _ if starts(b"GGUF") || starts(b"FUGG") => Format::Gguf,
        _ if starts(b"lmgg") || starts(b"fmgg") || starts(b"tjgg") => Format::Ggml,
        _ if starts(b"ftrt") || starts(b"ptrt") => Format::TensorrtEngine,
        _ if starts(b"CBM1") => Format::Catboost,
        _ if starts(b"ZF0x") => Format::ZFile,
        _ if starts(b"binf") || starts(b"bs64\t") => Format::XgboostBinary,
        _ if boosting::is_ubjson(head) => Format::Xgboost,
        _ if starts(b"ARROW1\0\0") || starts(b"FEA1") => Format::Arrow,
        _ if starts(b"\x89HDF\r\n\x1a\n") => Format::Hdf5,
        _ if at(4, b"TFL3") => Format::Tflite,
        _ if starts(b"\x1f\x8b") => Format::Gzip,
        _ if starts(b"BZh") && at(4, b"1AY&SY") => Format::Bzip2,
        _ if starts(b"\xfd7zXZ\0") => Format::Xz,
        _ if starts(b"\x28\xb5\x2f\xfd") => Format::Zstd,
        _ if starts(b"\x04\x22\x4d\x18") => Format::Lz4,
        _ if starts(b"7z\xbc\xaf\x27\x1c") => Format::SevenZip,
        _ if at(257, b"ustar") => Format::Tar,
        _ if starts(b"\x7fELF") => Format::Elf,
        _ if starts(b"MZqFpD=") => Format::Llamafile,
        _ if starts(b"MZ") && len > 64 => Format::Pe,
        _ if starts(b"\xcf\xfa\xed\xfe") || starts(b"\xfe\xed\xfa\xcf") || starts(b"\xca\xfe\xba\xbe") => Format::MachO,
        _ if starts(b"\x89PNG") || starts(b"\xff\xd8\xff") || starts(b"GIF8") || (starts(b"RIFF") && at(8, b"WEBP")) => Format::Image,
        _ if starts(b"%PDF-") => Format::Pdf,
        _ if starts(b"PAR1") || starts(b"PARE") => Format::Parquet,
        _ if rdata::start(head).is_some() => Format::RData,
        _ if starts(b"#!") => Format::Script,
        _ if safetensors(head, len) => Format::Safetensors,
        _ if starts(&[0x5d, 0, 0]) && at(12, &[0]) || starts(&[0x5d, 0, 0]) && at(5, &[0xff; 8]) => Format::LzmaAlone,
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Format::Zlib,
        [_, magic @ 0x0c..=0x0f, 0x0d, 0x0a, ..] if len > 20 && (head.get(4..8).is_some_and(|flags| matches!(flags, [0..=3, 0, 0, 0])) || *magic == 0x0d) => {
            Format::PythonBytecode
        }
        [_, _, 0x0d, 0x0a, 0..=3, 0, 0, 0, ..] if len > 20 => Format::PythonBytecode,
        _ => return None,
    })
}

/// Opcodes that a pickler writes behind the protocol, and those that an attacker can.
fn pickle_start(next: u8) -> bool {
    matches!(next, 0x80..=0x98 | b'(' | b')' | b'.' | b'0'..=b'2' | b'B'..=b'X' | b'a'..=b'u' | b']' | b'}')
}

/// Eight bytes of header length, then a JSON object, possibly behind spaces.
fn safetensors(head: &[u8], len: u64) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    let length = u64::from_le_bytes(*length);
    // A header longer than the file is still one to the reader who believes it; above 2^48 it is not plausible even as a lie.
    let json = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    json && (2..1 << 48).contains(&length) && (length <= len.saturating_sub(8) || length < 1 << 32)
}

/// Protocols 0 and 1 have no magic: bytes that run to STOP, or that import something before they break.
fn python_pickle(scan: &mut Scan<'_>, source: &dyn Source, head: &[u8]) -> bool {
    let plausible = head.first().is_some_and(|first| pickle_start(*first) || matches!(first, b'F' | b'I' | b'c' | b'('));
    if !plausible {
        return false;
    }
    let seen = pickle::probe(scan, source);
    (seen.complete && seen.exact && seen.opcodes > 2) || seen.imports > 0
}

/// A name that promises a harmless format over content that runs code, or a model over a program.
pub(crate) fn compare_name(scan: &mut Scan<'_>, place: &Place, format: Format) {
    let Some((_, extension)) = place.name.rsplit_once('.') else { return };
    let extension = extension.to_ascii_lowercase();
    let program = format.is_program() && format != Format::Llamafile;
    if program && MODEL_EXTENSIONS.contains(&extension.as_str()) {
        let explanation = format!("{} is named like a model and is a program ({format}).", place.name);
        scan.add(Finding::new(&rules::EXECUTABLE_AS_MODEL, &place.member, explanation).at(place.base));
        return;
    }
    let Some((_, promised)) = PROMISES.iter().find(|(known, _)| *known == extension) else { return };
    let kept = promised.contains(&format) || matches!(format, Format::Empty | Format::Unknown);
    if !kept {
        let explanation =
            format!("{} is named like {}, but its content is {format}.", place.name, promised.first().map_or("another format", |format| format.name()));
        scan.add(Finding::new(&rules::NAME_DISAGREES, &place.member, explanation).at(place.base));
    }
}

/// True where a file of this format, in which nothing was found, would have been judged the same under any name with the same ending: the ending is that of
/// a model, and of the name nothing else is looked at.
pub(crate) fn name_counts_by_ending(name: &str, format: Format) -> bool {
    use Format::{Gguf, Hdf5, Joblib, KerasH5, KerasV3, Npy, Npz, Onnx, Pickle, PytorchLegacy, PytorchZip, Safetensors, Tflite, TorchScript};
    let judged_by_content = matches!(
        format,
        Gguf | Hdf5 | Joblib | KerasH5 | KerasV3 | Npy | Npz | Onnx | Pickle | PytorchLegacy | PytorchZip | Safetensors | Tflite | TorchScript
    );
    let model = |extension: &str| MODEL_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str());
    judged_by_content && name.rsplit_once('.').is_some_and(|(_, extension)| model(extension))
}

const MODEL_EXTENSIONS: &[&str] = &[
    "bin",
    "pt",
    "pth",
    "ckpt",
    "safetensors",
    "gguf",
    "ggml",
    "onnx",
    "pkl",
    "pickle",
    "h5",
    "hdf5",
    "keras",
    "tflite",
    "npy",
    "npz",
    "joblib",
    "pb",
    "model",
    "weights",
    "msgpack",
];

/// Extensions whose readers know one format only.
const PROMISES: &[(&str, &[Format])] = &[
    ("safetensors", &[Format::Safetensors]),
    ("gguf", &[Format::Gguf]),
    ("npy", &[Format::Npy]),
    ("npz", &[Format::Npz, Format::Zip]),
    ("h5", &[Format::Hdf5, Format::KerasH5]),
    ("hdf5", &[Format::Hdf5, Format::KerasH5]),
    ("tflite", &[Format::Tflite]),
    ("keras", &[Format::KerasV3, Format::Hdf5, Format::KerasH5]),
    ("json", &[Format::Json, Format::Text, Format::Skops, Format::Notebook]),
    ("png", &[Format::Image]),
    ("jpg", &[Format::Image]),
    ("pt", &[Format::PytorchZip, Format::TorchScript, Format::PytorchLegacy, Format::PytorchTar, Format::Pickle, Format::Zip, Format::Tar]),
];
