//! MessagePack, walked in place: every container and every run of bytes, nothing copied.

use super::limits::DEPTH_MAX;
use picket_bounded::{BoundedError, Cursor, Source};

/// What a walk reports.
pub(super) enum Event {
    /// Text or bytes: offset, length.
    Run(u64, u64),
    /// An extension: its number, offset.
    Extension(i8, u64),
    Other,
}

/// Why bytes are no MessagePack at all.
const UNUSED: &str = "a value of a kind that MessagePack never uses";

pub(super) type Read<T> = Result<T, BoundedError>;

/// One value; its parts are walked without recursion. `look` ends the walk by an error.
pub(super) fn walk(cursor: &mut Cursor<'_>, look: &mut dyn FnMut(Event) -> Read<()>) -> Read<()> {
    // Values still to come on each level.
    let mut levels: Vec<u64> = vec![1];
    while let Some(left) = levels.last_mut() {
        let Some(rest) = left.checked_sub(1) else {
            levels.pop();
            continue;
        };
        *left = rest;
        let inside = value(cursor, look)?;
        if inside > 0 {
            // Each value takes at least a byte: a count beyond the file is a lie that a careless reader allocates for.
            if inside > cursor.remaining() {
                return Err(BoundedError::Malformed("a container with more values than the file has bytes"));
            }
            if levels.len() as u64 >= u64::from(DEPTH_MAX) {
                return Err(BoundedError::LimitExceeded { what: "containers inside one another", limit: DEPTH_MAX.into() });
            }
            levels.push(inside);
        }
    }
    Ok(())
}

/// One value without its parts; returns how many values are in it.
fn value(cursor: &mut Cursor<'_>, look: &mut dyn FnMut(Event) -> Read<()>) -> Read<u64> {
    let kind = cursor.u8()?;
    let mut run = |cursor: &mut Cursor<'_>, length: u64| {
        let at = cursor.position();
        cursor.skip(length)?;
        look(Event::Run(at, length)).map(|()| 0)
    };
    match kind {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => look(Event::Other).map(|()| 0),
        0x80..=0x8f => Ok(u64::from(kind & 15) * 2),
        0x90..=0x9f => Ok(u64::from(kind & 15)),
        0xa0..=0xbf => run(cursor, u64::from(kind & 31)),
        0xc4 | 0xd9 => {
            let length = cursor.u8()?;
            run(cursor, length.into())
        }
        0xc5 | 0xda => {
            let length = cursor.u16_be()?;
            run(cursor, length.into())
        }
        0xc6 | 0xdb => {
            let length = cursor.u32_be()?;
            run(cursor, length.into())
        }
        0xcc | 0xd0 => cursor.skip(1).map(|()| 0),
        0xcd | 0xd1 => cursor.skip(2).map(|()| 0),
        0xca | 0xce | 0xd2 => cursor.skip(4).map(|()| 0),
        0xcb | 0xcf | 0xd3 => cursor.skip(8).map(|()| 0),
        0xc7..=0xc9 | 0xd4..=0xd8 => {
            let length = match kind {
                0xc7 => cursor.u8()?.into(),
                0xc8 => cursor.u16_be()?.into(),
                0xc9 => cursor.u32_be()?.into(),
                _ => 1_u64 << (kind - 0xd4),
            };
            let number = i8::from_le_bytes(cursor.array()?);
            let at = cursor.position();
            cursor.skip(length)?;
            look(Event::Extension(number, at)).map(|()| 0)
        }
        0xdc => Ok(cursor.u16_be()?.into()),
        0xdd => Ok(cursor.u32_be()?.into()),
        0xde => Ok(u64::from(cursor.u16_be()?) * 2),
        0xdf => Ok(u64::from(cursor.u32_be()?) * 2),
        _ => Err(BoundedError::Malformed(UNUSED)),
    }
}

/// True when the first values are a map with text for keys, as parameters are written.
pub(super) fn is_map(source: &dyn Source, values: u64) -> bool {
    let mut cursor = Cursor::with_buffer(source, 4096);
    let Ok(first) = cursor.peek::<1>() else { return false };
    let pairs = match first {
        [kind @ 0x81..=0x8f] => {
            cursor.seek(1);
            u64::from(kind & 15)
        }
        [0xde] => {
            cursor.seek(1);
            cursor.u16_be().map_or(0, u64::from)
        }
        _ => return false,
    };
    let keyed = is_name(&mut cursor);
    cursor.seek(0);
    let mut seen = 0_u64;
    let outcome = walk(&mut cursor, &mut |_| {
        seen += 1;
        if seen > values { Err(BoundedError::LimitExceeded { what: "values looked at", limit: values }) } else { Ok(()) }
    });
    // Behind a key that is a name, a length or count that the file cannot hold is a broken document, not another format.
    let sound = !matches!(outcome, Err(BoundedError::Malformed(UNUSED) | BoundedError::Io(_)));
    pairs > 0 && keyed && sound && seen > 0
}

/// The first key: short text of printable characters.
fn is_name(cursor: &mut Cursor<'_>) -> bool {
    let length = match cursor.u8() {
        Ok(kind @ 0xa1..=0xbf) => u64::from(kind & 31),
        Ok(0xd9) => cursor.u8().map_or(0, u64::from),
        _ => 0,
    };
    (1..=200).contains(&length) && cursor.take(length, 200).is_ok_and(|name| name.iter().all(|byte| matches!(byte, 0x20..=0x7e)))
}
