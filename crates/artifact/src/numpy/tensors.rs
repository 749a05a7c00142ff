//! Arrays of `.npy` files as tensors.

use super::ARRAYS_MAX;
use super::parser::{self, Element, HeaderError};
use crate::tensors::{Data, Table, Tensor};
use picket_bounded::{Source, Window};

/// Adds the array, and those that follow it in the same file.
pub(crate) fn tensors(source: &dyn Source, table: &mut Table) {
    let mut at = 0;
    for count in 0..ARRAYS_MAX {
        if at >= source.len() {
            return;
        }
        let rest = Window::new(source, at, source.len() - at);
        let name = if count == 0 { "array".to_owned() } else { format!("array[{count}]") };
        match first(&rest) {
            Ok((tensor, Some(end))) => {
                let Data::Runs(runs) = tensor.data else { return };
                let runs = runs.into_iter().map(|run| crate::tensors::Run { offset: run.offset + at, ..run }).collect();
                table.add(Tensor { name, data: Data::Runs(runs), ..tensor });
                at += end;
            }
            Ok((_, None)) => return table.incomplete("an array of Python objects has no elements to place"),
            // What is no array behind the first is judged as trailing data.
            Err(_) if count > 0 => return,
            Err(why) => return table.incomplete(&why),
        }
    }
    table.incomplete("more arrays than the limit");
}

/// The array at the front, without a name, and where it ends; an array of objects has no end that its header tells.
pub(crate) fn first(source: &dyn Source) -> Result<(Tensor, Option<u64>), String> {
    let header = parser::header(source).map_err(|error| match error {
        HeaderError::Malformed(why) => why,
        HeaderError::Read(error) => error.to_string(),
    })?;
    let Element::Bytes(size) = header.element else {
        let data = Data::Runs(Vec::new());
        return Ok((Tensor { name: String::new(), dtype: header.dtype, shape: header.shape, stride: Vec::new(), data }, None));
    };
    let len = header.shape.iter().try_fold(size, |product, length| product.checked_mul(*length));
    let end = len.and_then(|len| header.data.checked_add(len));
    let (Some(len), Some(end)) = (len, end) else { return Err("the shape times the element size does not fit 64 bits".to_owned()) };
    let tensor = Tensor { name: String::new(), dtype: header.dtype, shape: header.shape, stride: Vec::new(), data: Data::run(header.data, len) };
    Ok((tensor, Some(end)))
}
