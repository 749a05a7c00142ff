//! Data sets of an HDF5 file as tensors, where their elements stand one behind another.

use super::dataset::{Dataset, Layout};
use super::parser;
use crate::scan::Scan;
use crate::tensors::{Data, Table, Tensor};
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
        if let Err(why) = place(dataset, file.base, table) {
            table.incomplete(&format!("{path}: {why}"));
        }
    }
}

fn place(dataset: Dataset, base: u64, table: &mut Table) -> Result<(), &'static str> {
    let (Some((dtype, size)), Some(shape), Some(layout)) = (dataset.dtype, dataset.shape, dataset.layout) else {
        return Err("the data set's type or extent is not told");
    };
    let len = shape.iter().try_fold(size, |product, length| product.checked_mul(*length)).ok_or("the data set's size does not fit 64 bits")?;
    let offset = match layout {
        Layout::Contiguous(Some(address)) => base.checked_add(address).ok_or("the data set's address does not fit 64 bits")?,
        Layout::Contiguous(None) if len == 0 => 0,
        Layout::Contiguous(None) => return Err("nothing was written to the data set yet"),
        Layout::Compact => return Err("the data set stands in its header and is covered by the file's digest alone"),
        Layout::Chunked => return Err("the data set is kept in chunks and is covered by the file's digest alone"),
        Layout::Other => return Err("the data set's layout is not read"),
    };
    let name = dataset.path.trim_start_matches('/').to_owned();
    table.add(Tensor { name, dtype, shape, stride: Vec::new(), data: Data::run(offset, len) });
    Ok(())
}
