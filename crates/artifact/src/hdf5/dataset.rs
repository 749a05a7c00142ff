//! What the messages of one object say about a data set (File Format Specification 3.0, IV.A.2.b, d, e, f, i and l).

use super::datatype::{Content, Datatype, datatype};
use super::parser::{UNDEFINED, sized};
use crate::tensors::{Chunk, ChunkFilter};
use picket_bounded::{BoundedError, Codec, Reader};

/// A data set's type, extent and place.
#[derive(Clone, Debug, Default)]
pub(super) struct Dataset {
    pub(super) path: String,
    pub(super) dtype: Option<(String, u64)>,
    pub(super) content: Content,
    pub(super) shape: Option<Vec<u64>>,
    /// How far it may grow along each dimension; unlimited is [`UNDEFINED`].
    pub(super) shape_max: Vec<u64>,
    pub(super) layout: Option<Layout>,
    /// In the order in which a writer applies them.
    pub(super) filters: Vec<ChunkFilter>,
    /// Bytes of an element that was never written.
    pub(super) fill: Vec<u8>,
    pub(super) chunks: Vec<Chunk>,
    /// Why the chunks are not known.
    pub(super) unlisted: Option<String>,
}

/// How its elements are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One behind another at this address; none while nothing was written.
    Contiguous(Option<u64>),
    /// In the object header.
    Compact(Vec<u8>),
    /// In boxes of so many elements along each dimension.
    Chunked {
        chunk: Vec<u64>,
        element: u64,
        index: Index,
    },
    /// Put together from other data sets, which a heap's object names.
    Virtual {
        heap: u64,
        object: u32,
    },
    Other,
}

/// What lists the chunks. The address is [`UNDEFINED`] while nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// The first version of B-trees.
    Tree1(u64),
    /// One chunk; of its packed size and the filters left out, where it has filters.
    Single(u64, Option<(u64, u32)>),
    /// All chunks one behind another.
    Implicit(u64),
    FixedArray(u64),
    ExtensibleArray(u64),
    /// The second version of B-trees.
    Tree2(u64),
}

/// More dimensions than the format allows.
const RANK_MAX: u8 = 33;
/// Filters of one data set: the library's own limit.
const FILTERS_MAX: u16 = 32;

/// `address` and `length` are the widths from the superblock.
pub(super) fn message(dataset: &mut Dataset, kind: u16, body: &[u8], address: u8, length: u8) -> Result<(), BoundedError> {
    let mut reader = Reader::new(body);
    match kind {
        0x01 => {
            let (version, rank, flags) = (reader.u8()?, reader.u8()?, reader.u8()?);
            // The second version tells a space without any element from one of a single element.
            let empty = version > 1 && reader.u8()? == 2;
            reader.skip(if version == 1 { 5 } else { 0 })?;
            let mut dimensions = || (0..rank).map(|_| sized(&mut reader, length)).collect::<Result<Vec<_>, _>>();
            dataset.shape = Some(if empty { vec![0] } else { dimensions()? });
            dataset.shape_max = if flags & 1 != 0 { dimensions()? } else { dataset.shape.clone().unwrap_or_default() };
        }
        0x03 => {
            let Datatype { name, size, content } = datatype(&mut reader)?;
            (dataset.dtype, dataset.content) = (Some((name, size.into())), content);
        }
        // The older form is the newer one's value alone.
        0x04 => {
            let size = reader.u32_le()?;
            dataset.fill = reader.take(size.into())?.to_vec();
        }
        0x05 => fill(dataset, &mut reader)?,
        0x08 => dataset.layout = Some(layout(&mut reader, address, length)?),
        0x0b => dataset.filters = filters(&mut reader)?,
        _ => {}
    }
    Ok(())
}

fn fill(dataset: &mut Dataset, reader: &mut Reader<'_>) -> Result<(), BoundedError> {
    let version = reader.u8()?;
    let defined = if version < 3 {
        reader.skip(2)?;
        // The first version has a size, which may be zero, whatever it says here.
        reader.u8()? != 0 || version == 1
    } else {
        reader.u8()? & 0x20 != 0
    };
    if defined {
        let size = reader.u32_le()?;
        dataset.fill = reader.take(size.into())?.to_vec();
    }
    Ok(())
}

fn layout(reader: &mut Reader<'_>, address: u8, length: u8) -> Result<Layout, BoundedError> {
    let version = reader.u8()?;
    if version < 3 {
        return first_layout(reader, address);
    }
    let class = reader.u8()?;
    Ok(match class {
        0 => {
            let size = reader.u16_le()?;
            Layout::Compact(reader.take(size.into())?.to_vec())
        }
        1 => contiguous(sized(reader, address)?),
        2 if version == 3 => {
            let rank = rank(reader.u8()?)?;
            let index = Index::Tree1(sized(reader, address)?);
            chunked(boxes(reader, rank, 4)?, index)?
        }
        2 if matches!(version, 4 | 5) => {
            let (flags, rank, width) = (reader.u8()?, rank(reader.u8()?)?, reader.u8()?);
            if width == 0 || width > 8 {
                return Err(BoundedError::Malformed("chunks with sizes of an impossible width"));
            }
            let sizes = boxes(reader, rank, width)?;
            chunked(sizes, index(reader, flags, address, length)?)?
        }
        3 if matches!(version, 4 | 5) => Layout::Virtual { heap: sized(reader, address)?, object: reader.u32_le()? },
        _ => Layout::Other,
    })
}

/// Versions 1 and 2: the rank first, then the class.
fn first_layout(reader: &mut Reader<'_>, address: u8) -> Result<Layout, BoundedError> {
    let rank = rank(reader.u8()?)?;
    let class = reader.u8()?;
    reader.skip(5)?;
    Ok(match class {
        0 => {
            boxes(reader, rank, 4)?;
            let size = reader.u32_le()?;
            Layout::Compact(reader.take(size.into())?.to_vec())
        }
        1 => contiguous(sized(reader, address)?),
        2 => {
            let index = Index::Tree1(sized(reader, address)?);
            chunked(boxes(reader, rank, 4)?, index)?
        }
        _ => Layout::Other,
    })
}

fn contiguous(at: u64) -> Layout {
    Layout::Contiguous(Some(at).filter(|at| *at != UNDEFINED))
}

fn rank(rank: u8) -> Result<u8, BoundedError> {
    if rank > RANK_MAX { Err(BoundedError::Malformed("a data set of too many dimensions")) } else { Ok(rank) }
}

fn boxes(reader: &mut Reader<'_>, rank: u8, width: u8) -> Result<Vec<u64>, BoundedError> {
    (0..rank).map(|_| sized(reader, width)).collect()
}

/// The last of the sizes is that of an element.
fn chunked(mut sizes: Vec<u64>, index: Index) -> Result<Layout, BoundedError> {
    let element = sizes.pop().unwrap_or(0);
    if element == 0 || sizes.is_empty() || sizes.contains(&0) {
        return Err(BoundedError::Malformed("chunks without elements"));
    }
    Ok(Layout::Chunked { chunk: sizes, element, index })
}

fn index(reader: &mut Reader<'_>, flags: u8, address: u8, length: u8) -> Result<Index, BoundedError> {
    Ok(match reader.u8()? {
        1 => {
            let packed = if flags & 2 != 0 { Some((sized(reader, length)?, reader.u32_le()?)) } else { None };
            Index::Single(sized(reader, address)?, packed)
        }
        2 => Index::Implicit(sized(reader, address)?),
        // What was chosen for the index stands in its own header again.
        3 => {
            reader.skip(1)?;
            Index::FixedArray(sized(reader, address)?)
        }
        4 => {
            reader.skip(5)?;
            Index::ExtensibleArray(sized(reader, address)?)
        }
        5 => {
            reader.skip(6)?;
            Index::Tree2(sized(reader, address)?)
        }
        _ => return Err(BoundedError::Unsupported("an index of chunks of an unknown kind")),
    })
}

fn filters(reader: &mut Reader<'_>) -> Result<Vec<ChunkFilter>, BoundedError> {
    let (version, count) = (reader.u8()?, reader.u8()?);
    if u16::from(count) > FILTERS_MAX {
        return Err(BoundedError::Malformed("more filters than the format allows"));
    }
    reader.skip(if version == 1 { 6 } else { 0 })?;
    let mut filters = Vec::new();
    for _ in 0..count {
        let id = reader.u16_le()?;
        let named = version == 1 || id >= 256;
        let name = if named { u64::from(reader.u16_le()?) } else { 0 };
        reader.skip(2)?;
        let values = u64::from(reader.u16_le()?);
        reader.skip(if version == 1 { name.next_multiple_of(8) } else { name })?;
        let first = if values > 0 { u64::from(reader.u32_le()?) } else { 0 };
        let odd = version == 1 && values % 2 == 1;
        reader.skip(values.saturating_sub(1) * 4 + if odd { 4 } else { 0 })?;
        filters.push(match id {
            1 => ChunkFilter::Packed(Codec::Zlib),
            2 => ChunkFilter::Shuffle(first),
            3 => ChunkFilter::Fletcher32,
            // By the HDF Group's registry of filters: h5py's own, and zstd.
            32_000 => ChunkFilter::Packed(Codec::Lzf),
            32_015 => ChunkFilter::Packed(Codec::Zstd),
            other => ChunkFilter::Unread(other),
        });
    }
    Ok(filters)
}
