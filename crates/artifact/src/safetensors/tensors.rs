//! The tensor table of a safetensors file is its header.

use super::{HEADER_BYTES_MAX, parser};
use crate::tensors::{Data, Table, Tensor};
use picket_bounded::{Cursor, Source};

/// Adds every tensor of the header.
pub(crate) fn tensors(source: &dyn Source, table: &mut Table) {
    let mut cursor = Cursor::new(source);
    let header = match cursor.u64_le().and_then(|length| cursor.take(length, HEADER_BYTES_MAX)) {
        Ok(header) => header,
        Err(error) => return table.failed(&error),
    };
    let data = cursor.position();
    let parsed = match parser::parse(&header) {
        Ok(parsed) => parsed,
        Err(error) => return table.incomplete(&format!("the header is not what the format allows: {error}")),
    };
    for tensor in parsed.tensors {
        let place = tensor.end.checked_sub(tensor.start).zip(data.checked_add(tensor.start));
        match place {
            Some((len, offset)) => {
                table.add(Tensor { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, stride: Vec::new(), data: Data::run(offset, len) })
            }
            None => table.incomplete(&format!("the tensor {} has no possible place", tensor.name)),
        }
    }
}
