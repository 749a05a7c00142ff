//! TensorFlow graphs (SavedModel, MetaGraph, GraphDef): every operator of every graph and function, and graphs that are kept
//! as data of another.

#[cfg(test)]
mod tests;

use crate::Format;
use crate::json;
use crate::protobuf::{Content, Message, is_graph};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use picket_bounded::{BoundedError, Cursor, Source};

/// Graphs as data inside graphs as data; data sets nest one or two.
const DEPTH_MAX: u32 = 8;
/// Lists and functions inside attributes.
const ATTRIBUTE_DEPTH_MAX: u32 = 16;
const NAME_BYTES_MAX: u64 = 1024;
/// A constant shorter than this holds no graph.
const GRAPH_BYTES_MIN: u64 = 24;

/// Operators that write files or call Python while the graph runs.
const DANGEROUS: &[&str] = &[
    "WriteFile",
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "PyFuncV2",
    "DebugIdentity",
    "DebugIdentityV2",
    "DebugIdentityV3",
    "DumpTensor",
    "WriteRawProtoSummary",
    "CreateSummaryFileWriter",
    "CreateSummaryDbWriter",
];
/// Operators that read files of the graph's choice or talk to the network.
const RISKY: &[&str] = &[
    "ReadFile",
    "MatchingFiles",
    "MatchingFilesDataset",
    "WholeFileReader",
    "WholeFileReaderV2",
    "TextLineReader",
    "TextLineReaderV2",
    "TFRecordReader",
    "TFRecordReaderV2",
    "FixedLengthRecordReader",
    "FixedLengthRecordReaderV2",
    "LMDBReader",
    "FixedLengthRecordDataset",
    "TextLineDataset",
    "TFRecordDataset",
    "SqlDataset",
    "RpcClient",
    "RpcCall",
    "RpcServer",
    "DataServiceDataset",
    "DataServiceDatasetV2",
    "DataServiceDatasetV3",
    "DataServiceDatasetV4",
    "RegisterDataset",
    "RegisterDatasetV2",
    "BigQueryReader",
    "CloudBigtableClient",
    "LoadDataset",
    "SaveDataset",
    "SaveDatasetV2",
    "SnapshotDataset",
    "SnapshotDatasetV2",
    "DatasetFromGraph",
    "ImmutableConst",
];

struct Walker<'w, 's, 'o> {
    scan: &'w mut Scan<'o>,
    source: &'s dyn Source,
    cursor: Cursor<'s>,
    place: &'w Place,
    depth: u32,
}

pub(crate) fn examine_graph(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, format: Format) -> Claim {
    let mut walker = Walker { cursor: Cursor::new(source), scan, source, place, depth: DEPTH_MAX };
    let whole = Message::new(0, source.len());
    let outcome = match format {
        // SavedModel: meta_graphs 2.
        Format::TensorflowSavedModel => walker.each(whole, &mut |walker, number, inner| if number == 2 { walker.meta_graph(inner) } else { Ok(()) }),
        Format::TensorflowMetaGraph => walker.meta_graph(whole),
        _ => walker.graph(whole),
    };
    if let Err(error) = outcome {
        match error {
            BoundedError::Io(_) | BoundedError::LimitExceeded { .. } => scan.failed(place, &error),
            _ => {
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, format!("The graph's structure is broken: {error}.")).at(place.base));
                scan.incomplete(place, "the graph was not read to its end");
            }
        }
    }
    Claim { format, end: source.len() }
}

/// One object's metadata; architectures of large models have some megabytes.
const METADATA_BYTES_MAX: u64 = 32 << 20;

/// `keras_metadata.pb` beside a SavedModel: nodes 1, each with a path 3 and its configuration as JSON 5.
pub(crate) fn examine_keras_metadata(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut texts = Vec::new();
    let mut walker = Walker { cursor: Cursor::new(source), scan, source, place, depth: DEPTH_MAX };
    let outcome = walker.each(Message::new(0, source.len()), &mut |walker, number, node| {
        if number != 1 {
            return Ok(());
        }
        let (mut path, mut metadata) = (String::new(), None);
        walker.each(node, &mut |walker, number, inner| {
            match number {
                3 => path = inner.text(walker.source, NAME_BYTES_MAX),
                5 => metadata = Some(inner),
                _ => {}
            }
            Ok(())
        })?;
        texts.extend(metadata.map(|metadata| (path, metadata)));
        Ok(())
    });
    if let Err(error) = outcome {
        scan.failed(place, &error);
    }
    for (path, metadata) in texts {
        if metadata.len() > METADATA_BYTES_MAX {
            scan.incomplete(place, "the metadata of one object is larger than the limit");
            continue;
        }
        match json::parse(&metadata.text(source, METADATA_BYTES_MAX)) {
            Ok(document) => {
                json::examine_json(scan, &place.inside(&path), &document);
            }
            Err(_) => scan.incomplete(place, &format!("the metadata of {path} cannot be parsed")),
        }
    }
    Claim { format: Format::KerasMetadata, end: source.len() }
}

type Walked = Result<(), BoundedError>;

impl Walker<'_, '_, '_> {
    fn each(&mut self, mut message: Message, look: &mut dyn FnMut(&mut Self, u64, Message) -> Walked) -> Walked {
        while let Some(field) = message.next_field(&mut self.cursor)? {
            self.scan.budget.spend_steps(1)?;
            if let Content::Run(inner) = field.content {
                look(self, field.number, inner)?;
            }
        }
        Ok(())
    }

    /// MetaGraphDef: graph_def 2.
    fn meta_graph(&mut self, meta: Message) -> Walked {
        self.each(meta, &mut |walker, number, inner| if number == 2 { walker.graph(inner) } else { Ok(()) })
    }

    /// GraphDef: node 1, library 2 (function 1: node_def 3).
    fn graph(&mut self, graph: Message) -> Walked {
        self.each(graph, &mut |walker, number, inner| match number {
            1 => walker.node(inner),
            2 => walker.each(inner, &mut |walker, number, function| if number == 1 { walker.function(function) } else { Ok(()) }),
            _ => Ok(()),
        })
    }

    fn function(&mut self, function: Message) -> Walked {
        self.each(function, &mut |walker, number, inner| if number == 3 { walker.node(inner) } else { Ok(()) })
    }

    /// NodeDef: name 1, op 2, attr 5 (key 1, value 2).
    fn node(&mut self, node: Message) -> Walked {
        let (mut name, mut operator) = (String::new(), String::new());
        self.each(node, &mut |walker, number, inner| {
            match number {
                1 => name = inner.text(walker.source, NAME_BYTES_MAX),
                2 => operator = inner.text(walker.source, NAME_BYTES_MAX),
                5 => walker.each(inner, &mut |walker, number, value| if number == 2 { walker.attribute(value, ATTRIBUTE_DEPTH_MAX) } else { Ok(()) })?,
                _ => {}
            }
            Ok(())
        })?;
        let (rule, what) = if DANGEROUS.contains(&operator.as_str()) {
            (&rules::GRAPH_DANGEROUS_OP, "writes files or calls Python while the graph runs")
        } else if RISKY.contains(&operator.as_str()) {
            (&rules::GRAPH_RISKY_OP, "reads files or talks to the network while the graph runs")
        } else {
            return Ok(());
        };
        let finding = Finding::new(rule, &self.place.member, format!("The operator {operator} {what}."));
        self.scan.add(finding.at(self.place.base.saturating_add(node.start)).opcode(operator).key(name));
        Ok(())
    }

    /// AttrValue: list 1, s 2, tensor 8, func 10.
    fn attribute(&mut self, value: Message, depth: u32) -> Walked {
        let depth = depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "attributes inside one another", limit: ATTRIBUTE_DEPTH_MAX.into() })?;
        self.each(value, &mut |walker, number, inner| match number {
            // ListValue: s 2, tensor 8, func 9.
            1 => walker.each(inner, &mut |walker, number, item| match number {
                2 => walker.data(item),
                8 => walker.tensor(item),
                _ => Ok(()),
            }),
            2 => walker.data(inner),
            8 => walker.tensor(inner),
            // NameAttrList: attr 2 (key 1, value 2).
            10 => walker.each(inner, &mut |walker, number, pair| match number {
                2 => walker.each(pair, &mut |walker, number, value| if number == 2 { walker.attribute(value, depth) } else { Ok(()) }),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })
    }

    /// TensorProto: string_val 8, tensor_content 4.
    fn tensor(&mut self, tensor: Message) -> Walked {
        self.each(tensor, &mut |walker, number, inner| if matches!(number, 4 | 8) { walker.data(inner) } else { Ok(()) })
    }

    /// Bytes that are a graph are one to whoever builds a data set from them.
    fn data(&mut self, data: Message) -> Walked {
        if data.len() < GRAPH_BYTES_MIN || !is_graph(data, &mut self.cursor, self.source) {
            return Ok(());
        }
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(BoundedError::LimitExceeded { what: "graphs inside one another", limit: DEPTH_MAX.into() });
        };
        let explanation = "A constant of this graph is itself a graph, which runs where a data set is built from it.";
        self.scan.add(Finding::new(&rules::GRAPH_NESTED, &self.place.member, explanation).at(self.place.base.saturating_add(data.start)));
        let outer = std::mem::replace(&mut self.depth, depth);
        let walked = self.graph(data);
        self.depth = outer;
        walked
    }
}
