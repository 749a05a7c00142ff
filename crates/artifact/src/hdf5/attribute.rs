//! Attributes: small values that stand in their object's header, or in dense storage (File Format Specification 3.0, IV.A.2.m).

use super::parser::{Parsed, Parser, padded, sized};
use picket_bounded::{BoundedError, Reader};

/// Text of one attribute, and of all that are kept; architectures of large models have some megabytes.
const TEXT_BYTES_MAX: u64 = 32 << 20;

impl Parser<'_, '_> {
    pub(super) fn attribute(&mut self, reader: &mut Reader<'_>, path: &str) -> Parsed<()> {
        let version = reader.u8()?;
        let flags = reader.u8()?;
        let (name_size, type_size, space_size) = (reader.u16_le()?, reader.u16_le()?, reader.u16_le()?);
        reader.skip(if version == 3 { 1 } else { 0 })?;
        let round = |size: u16| if version == 1 { padded(size.into()) } else { u64::from(size) };
        let name = reader.take(round(name_size))?;
        let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
        let kind = reader.take(round(type_size))?;
        let space = reader.take(round(space_size))?;
        if version > 3 || flags & 3 != 0 {
            self.unread(&format!("the attribute {path}/@{name}"));
            return Ok(());
        }
        let count = elements(space)?;
        let Some(text) = self.text(kind, count, reader)? else { return Ok(()) };
        // Only what can be an architecture or a pickle is kept; names of layers and units are not.
        let architecture = matches!(name.as_str(), "model_config" | "training_config" | "config") || text.windows(10).any(|ten| ten == b"class_name");
        if !architecture && !may_be_pickle(&text) {
            return Ok(());
        }
        self.kept = self.kept.saturating_add(text.len() as u64);
        if self.kept > TEXT_BYTES_MAX {
            self.unread("more text in attributes than the limit");
        } else {
            self.file.attributes.push((path.to_owned(), name, text));
        }
        Ok(())
    }

    /// Bytes of an attribute of fixed or variable text, of single bytes or of what no type is told of; others hold no text.
    fn text(&mut self, kind: &[u8], count: u64, reader: &mut Reader<'_>) -> Parsed<Option<Vec<u8>>> {
        let mut kind = Reader::new(kind);
        let (class, bits) = (kind.u8()? & 15, kind.u8()?);
        kind.skip(2)?;
        let size = kind.u32_le()?;
        let mut out = Vec::new();
        match class {
            3 => {
                for _ in 0..count {
                    let bytes = reader.take(size.into())?;
                    out.extend_from_slice(trimmed(bytes, b"\0 "));
                    out.push(b'\n');
                }
            }
            0 | 5 if class == 5 || size == 1 => {
                let length = count.saturating_mul(size.into());
                return Ok(Some(reader.take(length)?.to_vec()));
            }
            9 if bits & 15 == 1 => {
                let mut heaps = self.heaps();
                for _ in 0..count {
                    let length = reader.u32_le()?;
                    let (heap, index) = (sized(reader, self.address)?, reader.u32_le()?);
                    if length > 0 {
                        out.extend(heaps.object(self.source, self.budget, heap, index, length.into(), TEXT_BYTES_MAX)?);
                    }
                    out.push(b'\n');
                    if out.len() as u64 > TEXT_BYTES_MAX {
                        return Err(BoundedError::LimitExceeded { what: "text of an attribute", limit: TEXT_BYTES_MAX });
                    }
                }
            }
            _ => return Ok(None),
        }
        out.truncate(trimmed(&out, b"\n").len());
        Ok(Some(out))
    }
}

/// PyTables keeps values that HDF5 has no type for as pickles, and unpickles them when it reads the attribute.
fn may_be_pickle(bytes: &[u8]) -> bool {
    match bytes {
        [0x80, 0..=5, ..] => true,
        [.., b'.'] => bytes.contains(&b'\n'),
        _ => false,
    }
}

/// Without the filling at the end.
pub(super) fn trimmed<'b>(bytes: &'b [u8], filling: &[u8]) -> &'b [u8] {
    let end = bytes.iter().rposition(|byte| !filling.contains(byte)).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// Elements of a data space, at most what a header can hold.
fn elements(space: &[u8]) -> Parsed<u64> {
    let mut reader = Reader::new(space);
    let (version, rank) = (reader.u8()?, reader.u8()?);
    reader.skip(1)?;
    // The second version tells a space without any element from one of a single element.
    if version > 1 && reader.u8()? == 2 {
        return Ok(0);
    }
    reader.skip(if version == 1 { 5 } else { 0 })?;
    let mut count = 1_u64;
    for _ in 0..rank {
        count = count.saturating_mul(reader.u64_le()?);
    }
    if count > 65_536 { Err(BoundedError::Malformed("an attribute with more elements than it has bytes")) } else { Ok(count) }
}
