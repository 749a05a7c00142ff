//! What the messages of one object say about a data set (File Format Specification 3.0, IV.A.2.b, d and i).

use picket_bounded::{BoundedError, Reader};

/// A data set's type, extent and place.
#[derive(Clone, Debug, Default)]
pub(super) struct Dataset {
    pub(super) path: String,
    pub(super) dtype: Option<(String, u64)>,
    pub(super) shape: Option<Vec<u64>>,
    pub(super) layout: Option<Layout>,
}

/// How its elements are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One behind another at this address; none while nothing was written.
    Contiguous(Option<u64>),
    /// In the object header.
    Compact,
    /// In chunks under an index, packed as a rule.
    Chunked,
    Other,
}

/// `address` and `length` are the widths from the superblock.
pub(super) fn message(dataset: &mut Dataset, kind: u16, body: &[u8], address: u8, length: u8) -> Result<(), BoundedError> {
    let mut reader = Reader::new(body);
    match kind {
        0x01 => {
            let (version, rank) = (reader.u8()?, reader.u8()?);
            reader.skip(if version == 1 { 6 } else { 2 })?;
            let mut shape = Vec::new();
            for _ in 0..rank {
                shape.push(number(&mut reader, length)?);
            }
            dataset.shape = Some(shape);
        }
        0x03 => {
            let (class, bits) = (reader.u8()? & 15, reader.u8()?);
            reader.skip(2)?;
            let size = u64::from(reader.u32_le()?);
            let name = match class {
                0 if bits & 8 != 0 => format!("i{}", size.saturating_mul(8)),
                0 => format!("u{}", size.saturating_mul(8)),
                1 => format!("f{}", size.saturating_mul(8)),
                3 => format!("text[{size}]"),
                other => format!("class {other} of {size} bytes"),
            };
            dataset.dtype = Some((name, size));
        }
        0x08 => dataset.layout = Some(layout(&mut reader, address)?),
        _ => {}
    }
    Ok(())
}

fn layout(reader: &mut Reader<'_>, address: u8) -> Result<Layout, BoundedError> {
    let version = reader.u8()?;
    let class = if version < 3 {
        reader.skip(1)?;
        let class = reader.u8()?;
        reader.skip(5)?;
        class
    } else {
        reader.u8()?
    };
    Ok(match class {
        0 => Layout::Compact,
        1 => {
            let bytes = reader.clone().take(address.into())?;
            let undefined = bytes.iter().all(|byte| *byte == 0xff);
            Layout::Contiguous(if undefined { None } else { Some(number(reader, address)?) })
        }
        2 => Layout::Chunked,
        _ => Layout::Other,
    })
}

fn number(reader: &mut Reader<'_>, width: u8) -> Result<u64, BoundedError> {
    Ok(reader.take(width.into())?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
