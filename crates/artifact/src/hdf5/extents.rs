//! Where data sets say that their elements stand: inside the file, and each byte for one of them.

use super::dataset::{Dataset, Layout};
use super::parser::File;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use picket_bounded::Source;

/// Findings of one kind.
const SHOWN_MAX: usize = 20;

/// Reports what reaches past the end, overlaps, or claims the same place of its data set.
pub(super) fn examine_extents(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, file: &File) {
    let mut extents: Vec<(u64, u64, &str)> = Vec::new();
    for dataset in &file.datasets {
        if let Some(why) = &dataset.unlisted {
            scan.incomplete(place, &format!("the chunks of {} are not known: {why}", dataset.path));
        }
        let before = extents.len();
        collect(dataset, file.heaps.base, &mut extents);
        let beyond =
            extents.get(before..).unwrap_or_default().iter().find(|(offset, length, _)| offset.checked_add(*length).is_none_or(|end| end > source.len()));
        if let Some((offset, length, path)) = beyond {
            let explanation = format!("{path} has {length} bytes at {offset}, which is past the end of the file.");
            scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base.saturating_add(*offset)).key(path));
            scan.incomplete(place, &format!("{path} reaches past the end of the file"));
        }
        if let Some([first, _]) = dataset.chunks.array_windows().find(|[one, other]| one.index == other.index) {
            let explanation = format!("{} has two chunks for the same elements: which one counts depends on the reader.", dataset.path);
            let at = place.base.saturating_add(first.run.offset);
            scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(at).key(&dataset.path));
        }
    }
    overlaps(scan, place, extents);
}

fn collect<'d>(dataset: &'d Dataset, base: u64, extents: &mut Vec<(u64, u64, &'d str)>) {
    let mut add = |offset: u64, length: u64| {
        if length > 0 {
            extents.push((offset, length, dataset.path.as_str()));
        }
    };
    if let (Some(Layout::Contiguous(Some(at))), Some(shape), Some((_, size))) = (&dataset.layout, &dataset.shape, &dataset.dtype) {
        add(base.saturating_add(*at), shape.iter().fold(*size, |product, length| product.saturating_mul(*length)));
    }
    for chunk in &dataset.chunks {
        add(chunk.run.offset, chunk.run.len);
    }
}

fn overlaps(scan: &mut Scan<'_>, place: &Place, mut extents: Vec<(u64, u64, &str)>) {
    extents.sort_unstable();
    let mut shown = 0;
    for [(offset, length, path), (next, _, other)] in extents.array_windows() {
        if offset.saturating_add(*length) > *next && shown < SHOWN_MAX {
            shown += 1;
            let explanation = format!("{path} and {other} share bytes at {next}: what is written to one changes the other.");
            scan.add(Finding::new(&rules::TENSOR_OVERLAP, &place.member, explanation).at(place.base.saturating_add(*next)).key(path).value(other));
        }
    }
}
