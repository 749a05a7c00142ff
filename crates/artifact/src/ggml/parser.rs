//! GGML, GGMF and GGJT (llama.cpp before August 2023): seven numbers, a vocabulary, and tensors one behind the other.

use super::limits::{DIMENSIONS_MAX, NAME_BYTES_MAX, WORDS_MAX};
use picket_bounded::{BoundedError, Budget, Cursor, Source};

/// Where the walk ended, and why not at the end of the file.
#[derive(Debug)]
pub(super) enum Walked {
    Whole,
    /// A count or length that the file cannot hold.
    Impossible(u64, String),
    /// Other numbers than those of the one layout that is known.
    OtherLayout,
}

type Read<T> = Result<T, BoundedError>;

pub(super) fn parse(source: &dyn Source, budget: &mut Budget) -> Read<Walked> {
    let mut cursor = Cursor::new(source);
    let magic: [u8; 4] = cursor.array()?;
    let (scores, aligned) = (magic != *b"lmgg", magic == *b"tjgg");
    if scores {
        let version = cursor.u32_le()?;
        if version > 3 {
            return Ok(Walked::OtherLayout);
        }
    }
    let words = cursor.u32_le()?;
    // Each word needs at least its length; a careless reader takes the count for a size.
    if u64::from(words).saturating_mul(4) > source.len() {
        return Ok(Walked::Impossible(cursor.position() - 4, format!("The vocabulary of {words} words is larger than the file.")));
    }
    cursor.skip(6 * 4)?;
    if words > WORDS_MAX || !vocabulary(&mut cursor, words, scores, budget)? {
        return Ok(Walked::OtherLayout);
    }
    while cursor.remaining() > 0 {
        budget.spend_steps(1)?;
        let at = cursor.position();
        match tensor(&mut cursor, aligned)? {
            Tensor::Sound => {}
            Tensor::Unknown => return Ok(Walked::OtherLayout),
            Tensor::Impossible(why) => return Ok(Walked::Impossible(at, why)),
        }
    }
    Ok(Walked::Whole)
}

/// False when a word is longer than any: the file has another layout.
fn vocabulary(cursor: &mut Cursor<'_>, words: u32, scores: bool, budget: &mut Budget) -> Read<bool> {
    for _ in 0..words {
        budget.spend_steps(1)?;
        let length = cursor.u32_le()?;
        if length > NAME_BYTES_MAX || u64::from(length) > cursor.remaining() {
            return Ok(false);
        }
        cursor.skip(length.into())?;
        cursor.skip(if scores { 4 } else { 0 })?;
    }
    Ok(true)
}

enum Tensor {
    Sound,
    Unknown,
    Impossible(String),
}

fn tensor(cursor: &mut Cursor<'_>, aligned: bool) -> Read<Tensor> {
    let (dimensions, length, kind) = (cursor.u32_le()?, cursor.u32_le()?, cursor.u32_le()?);
    if dimensions > DIMENSIONS_MAX || length > NAME_BYTES_MAX {
        return Ok(Tensor::Unknown);
    }
    let mut elements = 1_u64;
    for _ in 0..dimensions {
        let Some(product) = elements.checked_mul(cursor.u32_le()?.into()) else {
            return Ok(Tensor::Impossible("A tensor has more elements than 64 bits can count.".to_owned()));
        };
        elements = product;
    }
    let name = String::from_utf8_lossy(&cursor.take(length.into(), NAME_BYTES_MAX.into())?).into_owned();
    let Some((block, bytes)) = block(kind) else { return Ok(Tensor::Unknown) };
    if aligned {
        cursor.seek(cursor.position().next_multiple_of(32));
    }
    let size = elements.div_ceil(block).checked_mul(bytes);
    match size {
        Some(size) if size <= cursor.remaining() => {
            cursor.skip(size)?;
            Ok(Tensor::Sound)
        }
        _ => Ok(Tensor::Impossible(format!("The tensor {name} with {elements} elements reaches past the end of the file."))),
    }
}

/// Elements and bytes of a block, by the type numbers that GGUF kept.
fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),
        1 => (1, 2),
        2 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        10 => (256, 84),
        11 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        _ => return None,
    })
}
