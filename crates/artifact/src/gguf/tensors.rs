//! The tensor table of a GGUF file.

use super::parser::{self, Model};
use crate::scan::Scan;
use crate::tensors::{Data, Table, Tensor};
use picket_bounded::Source;

/// Adds every tensor; the dimensions are in ggml's order, the fastest first.
pub(crate) fn tensors(scan: &mut Scan<'_>, source: &dyn Source, table: &mut Table) {
    let mut model = Model::default();
    let data = match parser::parse(source, &mut model, &mut scan.budget) {
        Ok(data) => data,
        Err(fault) => return table.incomplete(&format!("the tensor table was not read to its end: {}", fault.explanation)),
    };
    for tensor in model.tensors {
        let (dtype, Some(len), Some(offset)) = (type_name(tensor.kind), tensor.bytes, data.checked_add(tensor.offset)) else {
            table.incomplete(&format!("the tensor {} has an unknown type or place", tensor.name));
            continue;
        };
        table.add(Tensor { name: tensor.name, dtype, shape: tensor.shape, stride: Vec::new(), data: Data::run(offset, len) });
    }
}

/// ggml's name of an element type.
fn type_name(kind: u32) -> String {
    let known = match kind {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        other => return format!("type {other}"),
    };
    known.to_owned()
}
