//! What an element is: the datatype message, with the fields of records and the elements of arrays (File Format Specification 3.0, IV.A.2.d).

use super::parser::{padded, sized};
use picket_bounded::{BoundedError, Reader};

/// Types within types.
const DEPTH_MAX: u8 = 16;
/// Fields of one element that hold something else than numbers, those of records within records and of arrays included.
const FIELDS_MAX: usize = 4096;

/// What elements can hold beside numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Content {
    #[default]
    Numbers,
    /// Single bytes, which make a text or a file together.
    Bytes,
    /// A text each.
    Text,
    /// Bytes that no type is told of, a run each.
    Opaque,
    /// Texts or runs of bytes of any length, in a heap, which counts in units of so many bytes.
    Sequences(u32),
    /// Several of the above side by side; numbers between them are left out.
    Record(Vec<Field>),
    /// Something that is not read and may be more than numbers, and why.
    Unread(&'static str),
}

/// Where a part of an element stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) content: Content,
}

/// The type of an element.
#[derive(Clone, Debug)]
pub(super) struct Datatype {
    pub(super) name: String,
    pub(super) size: u32,
    pub(super) content: Content,
}

/// The first eight bytes of a type.
struct Head {
    version: u8,
    class: u8,
    bits: u32,
    size: u32,
}

impl Head {
    fn read(reader: &mut Reader<'_>) -> Result<Self, BoundedError> {
        let head = reader.u8()?;
        let bits = reader.take(3)?.iter().rev().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        Ok(Self { version: head >> 4, class: head & 15, bits, size: reader.u32_le()? })
    }
}

/// Where what stands behind the head cannot be read, the elements are said not to be.
pub(super) fn datatype(reader: &mut Reader<'_>) -> Result<Datatype, BoundedError> {
    let head = Head::read(reader)?;
    let wide = u64::from(head.size).saturating_mul(8);
    let name = match head.class {
        0 if head.bits & 8 != 0 => format!("i{wide}"),
        0 => format!("u{wide}"),
        1 => format!("f{wide}"),
        3 => format!("text[{}]", head.size),
        other => format!("class {other} of {} bytes", head.size),
    };
    let content = match content(reader, &head, DEPTH_MAX) {
        // Fields side by side are never more than their record.
        Ok(Content::Record(fields)) if fields.iter().fold(0_u64, |sum, field| sum.saturating_add(field.size)) > head.size.into() => {
            Content::Unread("its records have fields that overlap")
        }
        Ok(content) => content,
        Err(BoundedError::LimitExceeded { .. }) => Content::Unread("its records have more fields, or types within types, than the limit"),
        Err(_) => Content::Unread("its type cannot be read"),
    };
    Ok(Datatype { name, size: head.size, content })
}

/// An element of a type within another one.
struct Part {
    size: u32,
    content: Content,
}

fn part(reader: &mut Reader<'_>, depth: u8) -> Result<Part, BoundedError> {
    let Some(depth) = depth.checked_sub(1) else { return Err(BoundedError::LimitExceeded { what: "types within types", limit: DEPTH_MAX.into() }) };
    let head = Head::read(reader)?;
    Ok(Part { content: content(reader, &head, depth)?, size: head.size })
}

fn content(reader: &mut Reader<'_>, head: &Head, depth: u8) -> Result<Content, BoundedError> {
    let Head { version, class, bits, size } = *head;
    Ok(match class {
        // Their properties say how wide and where their bits are.
        0 | 4 => {
            reader.skip(4)?;
            if class == 0 && size == 1 { Content::Bytes } else { Content::Numbers }
        }
        1 => skipped(reader, 12)?,
        2 => skipped(reader, 2)?,
        3 => Content::Text,
        5 => {
            reader.skip(u64::from(bits & 0xff))?;
            Content::Opaque
        }
        6 => record(reader, version, bits & 0xffff, size, depth)?,
        7 => Content::Numbers,
        8 => enumeration(reader, version, bits & 0xffff, depth)?,
        9 => sequence(reader, bits & 15 == 1, depth)?,
        10 => array(reader, version, depth)?,
        11 => {
            part(reader, depth)?;
            Content::Numbers
        }
        _ => Content::Unread("its type is of an unknown class"),
    })
}

fn skipped(reader: &mut Reader<'_>, bytes: u64) -> Result<Content, BoundedError> {
    reader.skip(bytes)?;
    Ok(Content::Numbers)
}

fn record(reader: &mut Reader<'_>, version: u8, members: u32, size: u32, depth: u8) -> Result<Content, BoundedError> {
    let width = if version < 3 { 4 } else { bytes_for(size) };
    let mut fields = Vec::new();
    for _ in 0..members {
        name(reader, version)?;
        let at = sized(reader, width)?;
        // The first version has no type of its own for arrays.
        let count = if version == 1 {
            let rank = reader.u8()?;
            reader.skip(11)?;
            let lengths = (0..4).map(|_| reader.u32_le()).collect::<Result<Vec<_>, _>>()?;
            lengths.iter().take(rank.into()).fold(1_u64, |product, length| product.saturating_mul(u64::from(*length)))
        } else {
            1
        };
        let kind = part(reader, depth)?;
        // One number among others, of one byte.
        if kind.content != Content::Bytes || count > 1 {
            repeat(&kind, at, count, &mut fields)?;
        }
    }
    Ok(if fields.is_empty() { Content::Numbers } else { Content::Record(fields) })
}

/// `count` elements side by side from `at` on.
fn repeat(kind: &Part, at: u64, count: u64, fields: &mut Vec<Field>) -> Result<(), BoundedError> {
    let size = u64::from(kind.size);
    let too_many = BoundedError::LimitExceeded { what: "fields of a record", limit: FIELDS_MAX as u64 };
    let one = match &kind.content {
        Content::Numbers => return Ok(()),
        _ if size == 0 || count == 0 => return Ok(()),
        Content::Bytes => {
            let size = size.saturating_mul(count);
            let run = Field { at, size, content: Content::Opaque };
            if fields.len() >= FIELDS_MAX {
                return Err(too_many);
            }
            fields.push(run);
            return Ok(());
        }
        Content::Record(inner) => inner.clone(),
        other => vec![Field { at: 0, size, content: other.clone() }],
    };
    for number in 0..count {
        if fields.len().saturating_add(one.len()) > FIELDS_MAX {
            return Err(too_many);
        }
        let start = at.saturating_add(number.saturating_mul(size));
        fields.extend(one.iter().map(|field| Field { at: start.saturating_add(field.at), ..field.clone() }));
    }
    Ok(())
}

fn enumeration(reader: &mut Reader<'_>, version: u8, members: u32, depth: u8) -> Result<Content, BoundedError> {
    let base = part(reader, depth)?;
    for _ in 0..members {
        name(reader, version)?;
    }
    skipped(reader, u64::from(members).saturating_mul(base.size.into()))
}

fn sequence(reader: &mut Reader<'_>, text: bool, depth: u8) -> Result<Content, BoundedError> {
    let base = part(reader, depth)?;
    Ok(match base.content {
        _ if text => Content::Sequences(1),
        Content::Numbers => Content::Numbers,
        Content::Bytes | Content::Text | Content::Opaque => Content::Sequences(base.size),
        Content::Record(fields) if fields.iter().all(|field| matches!(field.content, Content::Text | Content::Opaque)) => Content::Sequences(base.size),
        Content::Sequences(_) | Content::Record(_) => Content::Unread("it has sequences of sequences"),
        Content::Unread(why) => Content::Unread(why),
    })
}

fn array(reader: &mut Reader<'_>, version: u8, depth: u8) -> Result<Content, BoundedError> {
    let rank = u64::from(reader.u8()?);
    reader.skip(if version < 3 { 3 } else { 0 })?;
    let mut count = 1_u64;
    for _ in 0..rank {
        count = count.saturating_mul(reader.u32_le()?.into());
    }
    reader.skip(if version < 3 { 4 * rank } else { 0 })?;
    let mut fields = Vec::new();
    repeat(&part(reader, depth)?, 0, count, &mut fields)?;
    Ok(if fields.is_empty() { Content::Numbers } else { Content::Record(fields) })
}

/// A name with the zero that ends it; before the third version filled up to eight bytes.
fn name(reader: &mut Reader<'_>, version: u8) -> Result<(), BoundedError> {
    let mut length = 1;
    while reader.u8()? != 0 {
        length += 1;
    }
    reader.skip(if version < 3 { padded(length) - length } else { 0 })
}

/// How many bytes a number up to `limit` takes.
fn bytes_for(limit: u32) -> u8 {
    limit.checked_ilog2().map_or(1, |log| u8::try_from(log / 8 + 1).unwrap_or(4))
}
