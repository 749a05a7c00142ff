//! Initialisers and constants of ONNX graphs, with their elements here or in another file.

use super::{DEPTH_MAX, NAME_BYTES_MAX};
use crate::path;
use crate::protobuf::{Content, Message};
use crate::scan::Scan;
use crate::tensors::{Data, Run, Table, Tensor};
use picket_bounded::{BoundedError, Cursor, Source};

/// Runs of one tensor. Writers pack elements into one; unpacked ones are a run an element.
const RUNS_MAX: usize = 4096;

struct Walker<'w, 's, 'o> {
    scan: &'w mut Scan<'o>,
    source: &'s dyn Source,
    cursor: Cursor<'s>,
    table: &'w mut Table,
}

/// Adds every tensor of the model's graphs and functions.
pub(crate) fn tensors(scan: &mut Scan<'_>, source: &dyn Source, table: &mut Table) {
    let mut walker = Walker { cursor: Cursor::new(source), scan, source, table };
    if let Err(error) = walker.fields(Message::new(0, source.len()), DEPTH_MAX, Kind::Model, "") {
        table.failed(&error);
    }
}

/// Messages on the way to tensors.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Training,
    Graph,
    Function,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

/// What a field of a message is, where it leads to tensors (onnx.proto3).
fn leads_to(kind: Kind, number: u64) -> Option<Kind> {
    Some(match (kind, number) {
        (Kind::Model, 7) | (Kind::Training, 1 | 2) | (Kind::Attribute, 6 | 11) => Kind::Graph,
        (Kind::Model, 20) => Kind::Training,
        (Kind::Model, 25) => Kind::Function,
        (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
        (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Kind::Tensor,
        (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::Sparse,
        (Kind::Node, 5) | (Kind::Function, 11) => Kind::Attribute,
        _ => return None,
    })
}

impl Walker<'_, '_, '_> {
    fn fields(&mut self, mut message: Message, depth: u32, kind: Kind, path: &str) -> Result<(), BoundedError> {
        let Some(depth) = depth.checked_sub(1) else {
            self.table.incomplete("graphs stand inside one another deeper than is looked");
            return Ok(());
        };
        // A node's or an attribute's own name tells apart the constants inside.
        let path = match self.name(message, kind)? {
            Some(name) if path.is_empty() => name,
            Some(name) => format!("{path}/{name}"),
            None => path.to_owned(),
        };
        while let Some(field) = message.next_field(&mut self.cursor)? {
            self.scan.budget.spend_steps(1)?;
            match (field.content, leads_to(kind, field.number)) {
                (Content::Run(inner), Some(Kind::Tensor)) => self.tensor(inner, &path)?,
                (Content::Run(inner), Some(next)) => self.fields(inner, depth, next, &path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn name(&mut self, mut message: Message, kind: Kind) -> Result<Option<String>, BoundedError> {
        let wanted = match kind {
            Kind::Node => 3,
            Kind::Attribute => 1,
            _ => return Ok(None),
        };
        while let Some(field) = message.next_field(&mut self.cursor)? {
            self.scan.budget.spend_steps(1)?;
            if let (Content::Run(text), true) = (field.content, field.number == wanted) {
                return Ok(Some(text.text(self.source, NAME_BYTES_MAX)));
            }
        }
        Ok(None)
    }

    /// TensorProto: dims 1, data_type 2, typed elements 4 to 7, 10 and 11, name 8, raw_data 9, external_data 13, data_location 14.
    fn tensor(&mut self, mut message: Message, path: &str) -> Result<(), BoundedError> {
        let (mut name, mut dtype, mut shape, mut runs) = (String::new(), 0, Vec::new(), Vec::new());
        let (mut external, mut elsewhere) = (External::default(), false);
        let whole = message;
        while let Some(field) = message.next_field(&mut self.cursor)? {
            self.scan.budget.spend_steps(1)?;
            match (field.number, field.content) {
                (1, Content::Varint(length)) => shape.push(length),
                (1, Content::Run(packed)) => self.packed(packed, &mut shape)?,
                (2, Content::Varint(kind)) => dtype = kind,
                (8, Content::Run(text)) => name = text.text(self.source, NAME_BYTES_MAX),
                (4..=7 | 9..=11, Content::Run(data)) if runs.len() <= RUNS_MAX => runs.push(Run { offset: data.start, len: data.len() }),
                (13, Content::Run(entry)) => self.external(entry, &mut external)?,
                (14, Content::Varint(location)) => elsewhere = location == 1,
                // Elements that are not packed stand between their own tags.
                (4..=7 | 10 | 11, _) => runs.resize(RUNS_MAX + 1, Run { offset: whole.start, len: 0 }),
                _ => {}
            }
        }
        if name.is_empty() || !path.is_empty() {
            let own = if name.is_empty() { "value" } else { &name };
            name = if path.is_empty() { own.to_owned() } else { format!("{path}/{own}") };
        }
        if runs.len() > RUNS_MAX {
            runs = vec![Run { offset: whole.start, len: whole.len() }];
        }
        let data = if elsewhere || !external.location.is_empty() {
            if external.location.is_empty() || path::escapes(&external.location) {
                self.table.incomplete(&format!("the tensor {name} is read from {}, outside the model's folder", external.location));
                return Ok(());
            }
            Data::External { location: external.location, offset: external.offset, len: external.len }
        } else {
            Data::Runs(runs)
        };
        self.table.add(Tensor { name, dtype: type_name(dtype), shape, stride: Vec::new(), data });
        Ok(())
    }

    fn packed(&mut self, packed: Message, shape: &mut Vec<u64>) -> Result<(), BoundedError> {
        let bytes = picket_bounded::read_range(self.source, packed.start, packed.len(), 4096)?;
        let mut reader = picket_bounded::Reader::new(&bytes);
        while !reader.is_empty() {
            shape.push(reader.varint()?);
        }
        Ok(())
    }

    fn external(&mut self, mut entry: Message, external: &mut External) -> Result<(), BoundedError> {
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(field) = entry.next_field(&mut self.cursor)? {
            match (field.number, field.content) {
                (1, Content::Run(text)) => key = text.text(self.source, NAME_BYTES_MAX),
                (2, Content::Run(text)) => value = text.text(self.source, NAME_BYTES_MAX),
                _ => {}
            }
        }
        match key.as_str() {
            "location" => external.location = value,
            "offset" => external.offset = value.parse().unwrap_or(0),
            "length" => external.len = value.parse().ok(),
            _ => {}
        }
        Ok(())
    }
}

#[derive(Default)]
struct External {
    location: String,
    offset: u64,
    len: Option<u64>,
}

/// `TensorProto.DataType`.
fn type_name(kind: u64) -> String {
    let known = match kind {
        1 => "FLOAT",
        2 => "UINT8",
        3 => "INT8",
        4 => "UINT16",
        5 => "INT16",
        6 => "INT32",
        7 => "INT64",
        8 => "STRING",
        9 => "BOOL",
        10 => "FLOAT16",
        11 => "DOUBLE",
        12 => "UINT32",
        13 => "UINT64",
        14 => "COMPLEX64",
        15 => "COMPLEX128",
        16 => "BFLOAT16",
        17 => "FLOAT8E4M3FN",
        18 => "FLOAT8E4M3FNUZ",
        19 => "FLOAT8E5M2",
        20 => "FLOAT8E5M2FNUZ",
        21 => "UINT4",
        22 => "INT4",
        23 => "FLOAT4E2M1",
        other => return format!("type {other}"),
    };
    known.to_owned()
}
