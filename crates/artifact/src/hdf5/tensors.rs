//! Data sets of an HDF5 file as tensors: where their elements stand, in one run or in chunks.

use super::dataset::{Dataset, Layout};
use super::parser;
use crate::scan::Scan;
use crate::tensors::{Chunked, Data, Table, Tensor};
use picket_bounded::Source;

/// Adds every data set that has a place.
pub(crate) fn tensors(scan: &mut Scan<'_>, source: &dyn Source, table: &mut Table) {
    let file = match parser::parse(source, parser::find(source).unwrap_or(0), &mut scan.budget) {
        Ok(file) => file,
        Err(error) => return table.failed(&error),
    };
    for reason in &file.unread {
        table.incomplete(reason);
    }
    for (path, target) in &file.external_data {
        table.incomplete(&format!("{path} has its elements in {target}"));
    }
    let mut datasets = file.datasets;
    // Groups are visited from the last to the first; a table is read by people.
    datasets.sort_by(|one, other| one.path.cmp(&other.path));
    for dataset in datasets {
        let path = dataset.path.clone();
        if let Err(why) = place(dataset, file.heaps.base, table) {
            table.incomplete(&format!("{path}: {why}"));
        }
    }
}

fn place(dataset: Dataset, base: u64, table: &mut Table) -> Result<(), String> {
    let name = dataset.path.trim_start_matches('/').to_owned();
    let (Some((dtype, size)), Some(shape)) = (dataset.dtype.clone(), dataset.shape.clone()) else {
        return Err("the data set's type or extent is not told".to_owned());
    };
    let len = shape.iter().try_fold(size, |product, length| product.checked_mul(*length)).ok_or("the data set's size does not fit 64 bits")?;
    let data = match dataset.layout {
        Some(Layout::Contiguous(Some(address))) => Data::run(base.checked_add(address).ok_or("the data set's address does not fit 64 bits")?, len),
        Some(Layout::Contiguous(None)) if len == 0 => Data::run(0, 0),
        Some(Layout::Contiguous(None)) => return Err("nothing was written to the data set yet".to_owned()),
        Some(Layout::Compact(_)) => return Err("the data set stands in its header and is covered by the file's digest alone".to_owned()),
        Some(Layout::Chunked { .. }) => Data::Chunked(Box::new(chunked(dataset)?)),
        Some(Layout::Virtual { .. }) => return Err("the data set is put together from others".to_owned()),
        Some(Layout::Other) | None => return Err("the data set's layout is not read".to_owned()),
    };
    table.add(Tensor { name, dtype, shape, stride: Vec::new(), data });
    Ok(())
}

/// The chunks of a data set that is kept in some.
pub(super) fn chunked(dataset: Dataset) -> Result<Chunked, String> {
    let (Some(Layout::Chunked { chunk, element, .. }), Some(shape), Some((_, size))) = (dataset.layout, dataset.shape, dataset.dtype) else {
        return Err("the data set's type or extent is not told".to_owned());
    };
    if let Some(why) = dataset.unlisted {
        return Err(format!("the chunks are not known: {why}"));
    }
    if element != size {
        return Err("the chunks have elements of another size than the data set".to_owned());
    }
    Ok(Chunked { shape, element, chunk, filters: dataset.filters, fill: dataset.fill, chunks: dataset.chunks })
}
