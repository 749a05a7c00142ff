//! Virtual data sets: which files they are put together from (File Format Specification 3.0, III.E, VII.C).

use super::dataset::{Dataset, Layout};
use super::parser::{Parsed, Parser, sized};
use picket_bounded::{BoundedError, Reader};
use std::collections::BTreeSet;

/// The list of one data set. A mapping has some hundred bytes.
const LIST_BYTES_MAX: u64 = 4 << 20;

impl Parser<'_, '_> {
    /// Names the files that a virtual data set opens when it is read.
    pub(super) fn list_sources(&mut self, dataset: &Dataset) -> Parsed<()> {
        let Some(Layout::Virtual { heap, object }) = dataset.layout else { return Ok(()) };
        let bytes = self.heaps().object(self.source, self.budget, heap, object, LIST_BYTES_MAX, LIST_BYTES_MAX)?;
        let mut reader = Reader::new(&bytes);
        let version = reader.u8()?;
        if version > 1 {
            return Err(BoundedError::Unsupported("a list of sources of an unknown version"));
        }
        let mut names = BTreeSet::new();
        for _ in 0..sized(&mut reader, self.length)? {
            self.budget.spend_steps(1)?;
            let flags = if version == 1 { reader.u8()? } else { 0 };
            // A name that another mapping has is told by that one's number; 4 is this file itself.
            if flags & 1 != 0 {
                sized(&mut reader, self.length)?;
            } else if flags & 4 == 0 {
                names.insert(String::from_utf8_lossy(text(&mut reader)?).into_owned());
            }
            if flags & 2 != 0 {
                sized(&mut reader, self.length)?;
            } else {
                text(&mut reader)?;
            }
            selection(&mut reader)?;
            selection(&mut reader)?;
        }
        let elsewhere = names.into_iter().filter(|name| name != ".");
        self.file.external_data.extend(elsewhere.map(|name| (dataset.path.clone(), name)));
        Ok(())
    }
}

fn text<'b>(reader: &mut Reader<'b>) -> Parsed<&'b [u8]> {
    let end = reader.rest().iter().position(|byte| *byte == 0).ok_or(BoundedError::Malformed("a name without end"))?;
    let name = reader.take(end as u64)?;
    reader.skip(1)?;
    Ok(name)
}

/// Moves over the description of which elements are meant (`H5S_select_serialize`).
fn selection(reader: &mut Reader<'_>) -> Parsed<()> {
    let large = || BoundedError::Malformed("a selection larger than 64 bits can address");
    let (kind, version) = (reader.u32_le()?, reader.u32_le()?);
    match (kind, version) {
        // None and all.
        (0 | 3, 1) => reader.skip(8),
        (1 | 2, 1) => {
            reader.skip(4)?;
            let length = reader.u32_le()?;
            reader.skip(length.into())
        }
        (2, 2) => {
            reader.skip(1)?;
            let length = reader.u32_le()?;
            reader.skip(length.into())
        }
        // Points, and blocks at regular steps or in a list, with numbers of a width of their own.
        (1, 2) | (2, 3) => {
            let regular = kind == 2 && reader.u8()? & 1 != 0;
            let (width, rank) = (reader.u8()?, u64::from(reader.u32_le()?));
            if !matches!(width, 2 | 4 | 8) {
                return Err(BoundedError::Malformed("a selection with numbers of an impossible width"));
            }
            let count = if regular { 4 } else { sized(reader, width)?.checked_mul(u64::from(kind)).ok_or_else(large)? };
            reader.skip(count.checked_mul(rank).and_then(|count| count.checked_mul(width.into())).ok_or_else(large)?)
        }
        _ => Err(BoundedError::Unsupported("a selection of an unknown version")),
    }
}
