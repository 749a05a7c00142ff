//! Tensors in archives: PyTorch's by the pickle that names them, the others by the format of each member.

use super::parser::{self, Archive, Entry};
use super::{flavour, text};
use crate::Format;
use crate::detect;
use crate::numpy;
use crate::pickle;
use crate::scan::{Place, Scan};
use crate::tensors::{Data, Run, Table, Tensor, of_format};
use picket_bounded::{Codec, MemorySource, Source, Window, decode, decode_into};
use std::collections::HashMap;

/// Bytes unpacked to see an array's header.
const HEAD_BYTES: u64 = 1 << 20;

/// Adds the tensors of every member; returns what the archive is.
pub(crate) fn tensors(scan: &mut Scan<'_>, source: &dyn Source, table: &mut Table) -> Format {
    let archive = match parser::parse(source, scan.options.limits.members) {
        Ok(archive) => archive,
        Err(error) => {
            table.failed(&error);
            return Format::Zip;
        }
    };
    if archive.cut {
        table.incomplete("the archive has more members than the limit");
    }
    let format = flavour(&archive);
    if matches!(format, Format::PytorchZip | Format::TorchScript) {
        torch(scan, source, &archive, table);
    } else {
        for entry in &archive.entries {
            member(scan, source, entry, table);
        }
    }
    format
}

fn torch(scan: &mut Scan<'_>, source: &dyn Source, archive: &Archive, table: &mut Table) {
    for entry in &archive.entries {
        let name = text(&entry.header.name);
        let (root, folder) = match (name.strip_suffix("data.pkl"), name.strip_suffix("constants.pkl")) {
            (Some(root), _) => (root.to_owned(), "data"),
            (_, Some(root)) => (root.to_owned(), "constants"),
            _ => continue,
        };
        let Some(body) = body(scan, source, entry) else {
            table.incomplete(&format!("{name} is packed in a way that is not read"));
            continue;
        };
        let (views, _) = pickle::views(scan, body.as_ref(), table);
        let prefix = format!("{root}{folder}/");
        let mut places = HashMap::new();
        for entry in &archive.entries {
            let name = text(&entry.header.name);
            let Some(key) = name.strip_prefix(&prefix) else { continue };
            if entry.header.method == 0 {
                places.insert(key.to_owned(), Run { offset: entry.data, len: entry.header.compressed });
            } else {
                table.incomplete(&format!("the storage {name} is packed, which no PyTorch writes"));
            }
        }
        pickle::attach(views, &places, table);
    }
}

fn body<'s>(scan: &mut Scan<'_>, source: &'s dyn Source, entry: &Entry) -> Option<Box<dyn Source + 's>> {
    let packed = Window::new(source, entry.data, entry.header.compressed);
    if entry.header.method == 0 {
        return Some(Box::new(packed));
    }
    Some(Box::new(MemorySource::new(decode(codec(entry)?, &packed, &mut scan.budget).bytes)))
}

fn codec(entry: &Entry) -> Option<Codec> {
    Some(match entry.header.method {
        8 => Codec::Deflate,
        12 => Codec::Bzip2,
        14 => Codec::LzmaZip { size: entry.header.size },
        93 => Codec::Zstd,
        95 => Codec::Xz,
        _ => return None,
    })
}

fn member(scan: &mut Scan<'_>, source: &dyn Source, entry: &Entry, table: &mut Table) {
    let name = text(&entry.header.name);
    if entry.header.size == 0 || entry.header.compressed == 0 {
        return;
    }
    let packed = Window::new(source, entry.data, entry.header.compressed);
    if entry.header.method != 0 {
        return packed_member(&packed, entry, &name, table);
    }
    let place = Place::of_file(&name);
    let Ok(format) = detect::sniff(scan, &packed, &place).map(|sniffed| sniffed.format) else { return };
    // Archives inside archives are not followed: their tensors have no place of their own in the file when they are packed.
    if !matches!(format, Format::Safetensors | Format::Gguf | Format::Npy | Format::Onnx | Format::Hdf5) {
        return;
    }
    let mut inner = Table::default();
    of_format(scan, &packed, format, &mut inner);
    for reason in inner.reasons() {
        table.incomplete(&format!("{name}: {reason}"));
    }
    for tensor in std::mem::take(&mut inner.tensors) {
        let data = match tensor.data {
            Data::Runs(runs) => Data::Runs(runs.into_iter().map(|run| Run { offset: run.offset.saturating_add(entry.data), ..run }).collect()),
            Data::Chunked(mut chunked) => {
                for chunk in &mut chunked.chunks {
                    chunk.run.offset = chunk.run.offset.saturating_add(entry.data);
                }
                Data::Chunked(chunked)
            }
            other => other,
        };
        table.add(Tensor { name: member_name(&name, &tensor.name), data, ..tensor });
    }
}

/// NumPy calls the array `a` of a member `a.npy`.
fn member_name(member: &str, tensor: &str) -> String {
    match member.strip_suffix(".npy").filter(|_| tensor == "array") {
        Some(array) => array.to_owned(),
        None => format!("{member}!{tensor}"),
    }
}

fn packed_member(packed: &Window<'_>, entry: &Entry, name: &str, table: &mut Table) {
    let holds_tensors = [".npy", ".safetensors", ".gguf", ".onnx", ".h5", ".hdf5"].iter().any(|ending| name.ends_with(ending));
    if !holds_tensors {
        return;
    }
    let Some(codec) = codec(entry).filter(|_| name.ends_with(".npy")) else {
        return table.incomplete(&format!("{name} is packed; its tensors have no place in the file"));
    };
    let mut head = Vec::new();
    decode_into(codec, packed, HEAD_BYTES, &mut |bytes| {
        head.extend_from_slice(bytes);
        false
    });
    match numpy::first(&MemorySource::new(head)) {
        Ok((tensor, Some(_))) => {
            let Data::Runs(runs) = &tensor.data else { return };
            let Some(unpacked) = runs.first().copied() else { return };
            let data = Data::Packed { packed: Run { offset: entry.data, len: entry.header.compressed }, codec, unpacked };
            table.add(Tensor { name: member_name(name, "array"), data, ..tensor });
        }
        Ok((_, None)) => table.incomplete(&format!("{name} is an array of Python objects, which has no elements to place")),
        Err(why) => table.incomplete(&format!("{name}: {why}")),
    }
}
