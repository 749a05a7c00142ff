//! TensorFlow checkpoints: the index is a sorted table of names (LevelDB's format), each with a place in a shard; the shards
//! are elements alone.

mod limits;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use limits::{BLOCK_BYTES_MAX, BLOCKS_MAX, KEY_BYTES_MAX};
use picket_bounded::{BoundedError, Reader, Source, read_range};

/// The last eight bytes of a table.
const MAGIC: [u8; 8] = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
const FOOTER_BYTES: u64 = 48;

type Read<T> = Result<T, BoundedError>;

pub(crate) fn is_index(source: &dyn Source) -> bool {
    source.len() >= FOOTER_BYTES && read_range(source, source.len() - 8, 8, 8).is_ok_and(|tail| tail == MAGIC)
}

pub(crate) fn examine_index(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    match table(scan, source) {
        Ok(0) => scan.incomplete(place, "the index names no variable"),
        Ok(_) => {}
        Err(error) => {
            if matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }) {
                let explanation = format!("The checkpoint's index is broken: {error}.");
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base));
            }
            scan.failed(place, &error);
        }
    }
    Claim { format: Format::TensorflowCheckpoint, end: source.len() }
}

/// Walks the index block and the blocks that it names; returns how many entries they have.
fn table(scan: &mut Scan<'_>, source: &dyn Source) -> Read<u64> {
    let start = source.len().checked_sub(FOOTER_BYTES).ok_or(BoundedError::Malformed("a table shorter than its footer"))?;
    let footer = read_range(source, start, FOOTER_BYTES, FOOTER_BYTES)?;
    let mut reader = Reader::new(&footer);
    handle(&mut reader)?;
    let index = handle(&mut reader)?;
    let mut blocks = Vec::new();
    entries(scan, &block(source, index)?, &mut |_, value| {
        if blocks.len() >= BLOCKS_MAX {
            return Err(BoundedError::LimitExceeded { what: "blocks of a table", limit: BLOCKS_MAX as u64 });
        }
        blocks.push(handle(&mut Reader::new(value))?);
        Ok(())
    })?;
    let mut count = 0;
    for handle in blocks {
        scan.budget.spend_steps(1 + handle.1 / 64)?;
        entries(scan, &block(source, handle)?, &mut |_, _| {
            count += 1;
            Ok(())
        })?;
    }
    Ok(count)
}

/// Offset and size of a block.
fn handle(reader: &mut Reader<'_>) -> Read<(u64, u64)> {
    Ok((reader.varint()?, reader.varint()?))
}

fn block(source: &dyn Source, (offset, size): (u64, u64)) -> Read<Vec<u8>> {
    let end = offset.checked_add(size).and_then(|end| end.checked_add(5)).ok_or(BoundedError::Malformed("a block beyond what 64 bits can address"))?;
    if end > source.len() {
        return Err(BoundedError::Malformed("a block reaches past the end of the file"));
    }
    // One byte says how the block is packed; TensorFlow's writer does not pack.
    if read_range(source, offset + size, 1, 1)? != [0] {
        return Err(BoundedError::Unsupported("a packed block of a table"));
    }
    read_range(source, offset, size, BLOCK_BYTES_MAX)
}

/// Gets each key and its value.
type Look<'l> = dyn FnMut(&[u8], &[u8]) -> Read<()> + 'l;

/// Keys share their beginning with the one before; restart points stand behind them.
fn entries(scan: &mut Scan<'_>, block: &[u8], look: &mut Look<'_>) -> Read<()> {
    let mut tail = Reader::new(block);
    tail.seek((block.len() as u64).checked_sub(4).ok_or(BoundedError::Malformed("a block without its restart points"))?)?;
    let restarts = u64::from(tail.u32_le()?);
    let end = (block.len() as u64 - 4).checked_sub(restarts * 4).ok_or(BoundedError::Malformed("a block with more restart points than bytes"))?;
    let mut reader = Reader::new(Reader::new(block).take(end)?);
    let mut key: Vec<u8> = Vec::new();
    while !reader.is_empty() {
        scan.budget.spend_steps(1)?;
        let (shared, rest, length) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let shared = usize::try_from(shared).ok().filter(|shared| *shared <= key.len()).ok_or(BoundedError::Malformed("a key shares more than there is"))?;
        let more = reader.take(rest)?;
        if shared + more.len() > KEY_BYTES_MAX {
            return Err(BoundedError::LimitExceeded { what: "bytes of a key", limit: KEY_BYTES_MAX as u64 });
        }
        key.truncate(shared);
        key.extend_from_slice(more);
        look(&key, reader.take(length)?)?;
    }
    Ok(())
}

/// The text file `checkpoint` names the newest one; its loader opens what stands there.
pub(crate) fn examine_state(scan: &mut Scan<'_>, place: &Place, text: &str) {
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let target = value.trim().trim_matches('"');
        if key.trim().ends_with("model_checkpoint_path") && target.split('/').any(|part| part == "..") {
            let explanation = format!("The newest checkpoint is said to be {target}, outside this folder.");
            scan.add(Finding::new(&rules::EXTERNAL_PATH, &place.member, explanation).key(key.trim()).value(target));
        }
    }
}
