//! ONNX: every operator, and every tensor that may be read from another file, in graphs, attributes, functions and training
//! information alike.

mod tensors;
#[cfg(test)]
mod tests;

use crate::Format;
use crate::path;
use crate::protobuf::{Content, Message};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use picket_bounded::{BoundedError, Cursor, Source};
use std::collections::HashSet;
pub(crate) use tensors::tensors;

/// Graphs inside attributes inside graphs; loops and conditions nest a few.
const DEPTH_MAX: u32 = 32;
/// Names read to be compared and shown.
const NAME_BYTES_MAX: u64 = 1024;

/// Domains that runtimes bring themselves.
const KNOWN_DOMAINS: &[&str] = &[
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
    "com.microsoft.experimental",
    "org.pytorch.aten",
    "pkg.onnxscript.torch_lib",
    "pkg.onnxscript.torch_lib.common",
    "pkg.torch",
    "pytorch",
];

struct Walker<'w, 's, 'o> {
    scan: &'w mut Scan<'o>,
    source: &'s dyn Source,
    cursor: Cursor<'s>,
    place: &'w Place,
    /// Domains of functions that the model defines itself.
    own: HashSet<String>,
}

pub(crate) fn examine_onnx(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut walker = Walker { cursor: Cursor::new(source), scan, source, place, own: HashSet::new() };
    let whole = Message::new(0, source.len());
    let outcome = walker.functions(whole).and_then(|()| walker.model(whole));
    if let Err(error) = outcome {
        match error {
            BoundedError::Io(_) | BoundedError::LimitExceeded { .. } => scan.failed(place, &error),
            _ => {
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, format!("The model's structure is broken: {error}.")).at(place.base));
                scan.incomplete(place, "the model was not read to its end");
            }
        }
    }
    Claim { format: Format::Onnx, end: source.len() }
}

type Walked = Result<(), BoundedError>;

impl Walker<'_, '_, '_> {
    /// Calls `look` for each nested run of a message.
    fn each(&mut self, mut message: Message, look: &mut dyn FnMut(&mut Self, u64, Message) -> Walked) -> Walked {
        while let Some(field) = message.next_field(&mut self.cursor)? {
            self.scan.budget.spend_steps(1)?;
            if let Content::Run(inner) = field.content {
                look(self, field.number, inner)?;
            }
        }
        Ok(())
    }

    fn text(&self, message: Message) -> String {
        message.text(self.source, NAME_BYTES_MAX)
    }

    fn functions(&mut self, model: Message) -> Walked {
        self.each(model, &mut |walker, number, function| match number {
            25 => walker.each(function, &mut |walker, number, inner| {
                if number == 10 {
                    let domain = walker.text(inner);
                    walker.own.insert(domain);
                }
                Ok(())
            }),
            _ => Ok(()),
        })
    }

    /// ModelProto: graph 7, training_info 20, functions 25.
    fn model(&mut self, model: Message) -> Walked {
        self.each(model, &mut |walker, number, inner| match number {
            7 => walker.graph(inner, DEPTH_MAX),
            20 => walker.each(inner, &mut |walker, number, graph| if matches!(number, 1 | 2) { walker.graph(graph, DEPTH_MAX) } else { Ok(()) }),
            25 => walker.function(inner),
            _ => Ok(()),
        })
    }

    /// FunctionProto: node 7, attribute_proto 11.
    fn function(&mut self, function: Message) -> Walked {
        self.each(function, &mut |walker, number, inner| match number {
            7 => walker.node(inner, DEPTH_MAX),
            11 => walker.attribute(inner, DEPTH_MAX),
            _ => Ok(()),
        })
    }

    /// GraphProto: node 1, initializer 5, sparse_initializer 15.
    fn graph(&mut self, graph: Message, depth: u32) -> Walked {
        let depth = depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "graphs inside one another", limit: DEPTH_MAX.into() })?;
        self.each(graph, &mut |walker, number, inner| match number {
            1 => walker.node(inner, depth),
            5 => walker.tensor(inner),
            15 => walker.sparse(inner),
            _ => Ok(()),
        })
    }

    /// NodeProto: name 3, op_type 4, attribute 5, domain 7.
    fn node(&mut self, node: Message, depth: u32) -> Walked {
        let (mut name, mut operator, mut domain) = (String::new(), String::new(), String::new());
        self.each(node, &mut |walker, number, inner| {
            match number {
                3 => name = walker.text(inner),
                4 => operator = walker.text(inner),
                5 => walker.attribute(inner, depth)?,
                7 => domain = walker.text(inner),
                _ => {}
            }
            Ok(())
        })?;
        let (rule, explanation) = if matches!(operator.as_str(), "PyOp" | "PyCustomOp" | "PythonOp" | "PythonOpGrad") {
            (&rules::GRAPH_DANGEROUS_OP, format!("The operator {operator} calls Python code while the model runs."))
        } else if !KNOWN_DOMAINS.contains(&domain.as_str()) && !self.own.contains(&domain) {
            (&rules::GRAPH_CUSTOM_OP, format!("The operator {operator} of the domain {domain} comes from a native library that the user is to load."))
        } else {
            return Ok(());
        };
        self.scan.add(
            Finding::new(rule, &self.place.member, explanation).at(self.place.base.saturating_add(node.start)).opcode(format!("{domain}:{operator}")).key(name),
        );
        Ok(())
    }

    /// AttributeProto: tensor 5, graph 6, tensors 10, graphs 11, sparse 22 and 23.
    fn attribute(&mut self, attribute: Message, depth: u32) -> Walked {
        self.each(attribute, &mut |walker, number, inner| match number {
            5 | 10 => walker.tensor(inner),
            6 | 11 => walker.graph(inner, depth),
            22 | 23 => walker.sparse(inner),
            _ => Ok(()),
        })
    }

    fn sparse(&mut self, sparse: Message) -> Walked {
        self.each(sparse, &mut |walker, number, inner| if matches!(number, 1 | 2) { walker.tensor(inner) } else { Ok(()) })
    }

    /// TensorProto: name 8, external_data 13 (pairs of key and value).
    fn tensor(&mut self, tensor: Message) -> Walked {
        let (mut name, mut location) = (String::new(), None);
        self.each(tensor, &mut |walker, number, inner| {
            match number {
                8 => name = walker.text(inner),
                13 => {
                    let (mut key, mut value) = (String::new(), String::new());
                    walker.each(inner, &mut |walker, number, text| {
                        match number {
                            1 => key = walker.text(text),
                            2 => value = walker.text(text),
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if key == "location" {
                        location = Some(value);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let Some(location) = location.filter(|location| path::escapes(location)) else { return Ok(()) };
        let explanation = format!("The tensor {name} is read from {location}, outside the model's folder.");
        let finding = Finding::new(&rules::EXTERNAL_PATH, &self.place.member, explanation).at(self.place.base.saturating_add(tensor.start));
        self.scan.add(finding.key(format!("{name}.external_data.location")).value(location));
        Ok(())
    }
}
