//! TFLite: the operators by their codes. A model runs in an interpreter without files or network, unless it asks for
//! TensorFlow's own operators (`Flex…`) or for a native library's.

mod parser;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use parser::Operator;
use picket_bounded::{BoundedError, Source};

/// BuiltinOperator CUSTOM.
const CUSTOM: i32 = 32;
/// Custom operators that the interpreter brings itself.
const KNOWN: &[&str] = &[
    "TFLite_Detection_PostProcess",
    "AudioSpectrogram",
    "Mfcc",
    "NumericVerify",
    "MaxPoolWithArgmax2D",
    "MaxUnpooling2D",
    "Convolution2DTransposeBias",
    "TransposeConv2DBias",
    "DEQUANTIZE_COMPRESSED",
    "edgetpu-custom-op",
];
/// TensorFlow operators that write files or call Python, behind the prefix.
const DANGEROUS: &[&str] = &["WriteFile", "PyFunc", "EagerPyFunc", "PyFuncStateless", "DebugIdentityV2"];
const RISKY: &[&str] = &["ReadFile", "MatchingFiles", "WholeFileReaderV2", "TextLineReaderV2", "SaveV2", "RestoreV2", "LoadDataset", "SaveDataset", "RpcCall"];

pub(crate) fn examine_tflite(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let claim = Claim { format: Format::Tflite, end: source.len() };
    let model = match parser::parse(source, &mut scan.budget) {
        Ok(model) => model,
        Err(error) => {
            if !matches!(error, BoundedError::Io(_) | BoundedError::LimitExceeded { .. }) {
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, format!("The flatbuffer is broken: {error}.")).at(place.base));
            }
            scan.failed(place, &error);
            return claim;
        }
    };
    for operator in &model.operators {
        custom(scan, place, operator);
    }
    if model.dangling > 0 {
        let explanation = format!("{} operators have an index outside the list of codes, which an interpreter that trusts it reads past.", model.dangling);
        scan.add(Finding::new(&rules::STRUCTURE_OVERFLOW, &place.member, explanation).key("opcode_index"));
    }
    if model.outside > 0 {
        let explanation = format!("{} buffers reach past the end of the file.", model.outside);
        scan.add(Finding::new(&rules::STRUCTURE_OVERFLOW, &place.member, explanation).key("buffers"));
    }
    claim
}

fn custom(scan: &mut Scan<'_>, place: &Place, operator: &Operator) {
    let Some(name) = operator.custom.as_deref().filter(|name| !name.is_empty() && (operator.builtin == CUSTOM || name.starts_with("Flex"))) else { return };
    let flex = name.strip_prefix("Flex");
    let (rule, why) = match flex {
        Some(inner) if DANGEROUS.contains(&inner) => (&rules::GRAPH_DANGEROUS_OP, "writes files or calls Python while the model runs"),
        Some(inner) if RISKY.contains(&inner) => (&rules::GRAPH_RISKY_OP, "reads or writes files while the model runs"),
        // The rest of TensorFlow's operators compute.
        Some(_) => return,
        None if KNOWN.contains(&name) => return,
        None => (&rules::GRAPH_CUSTOM_OP, "comes from a native library that the user is to load"),
    };
    scan.add(Finding::new(rule, &place.member, format!("The operator {name} {why}.")).at(place.base.saturating_add(operator.at)).opcode(name));
}
