//! The protobuf wire format, walked in place: unknown fields are skipped as every runtime does, nothing is copied, and nested
//! messages are ranges of the source.

#[cfg(test)]
mod tests;
mod walker;

pub(crate) use walker::{Walked, Walker};

use crate::Format;
use picket_bounded::{BoundedError, Cursor, Reader, Source, read_range};

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Varint(u64),
    /// Fixed 32 or 64 bits.
    Fixed,
    /// A string, bytes, a message, or packed numbers.
    Run(Message),
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) content: Content,
}

/// A range of the source that may be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: u64,
    pub(crate) end: u64,
    at: u64,
}

impl Message {
    pub(crate) fn new(start: u64, end: u64) -> Self {
        Self { start, end, at: start }
    }

    pub(crate) fn len(self) -> u64 {
        self.end - self.start
    }

    /// The next field, nothing at the end.
    pub(crate) fn next_field(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Field>, BoundedError> {
        if self.at >= self.end {
            return Ok(None);
        }
        cursor.seek(self.at);
        let tag = varint(cursor)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(BoundedError::Malformed("a field has the number zero"));
        }
        let content = match tag & 7 {
            0 => Content::Varint(varint(cursor)?),
            1 => {
                cursor.skip(8)?;
                Content::Fixed
            }
            2 => {
                let length = varint(cursor)?;
                let start = cursor.position();
                let end = start.checked_add(length).filter(|end| *end <= self.end).ok_or(BoundedError::Truncated { offset: start, wanted: length })?;
                cursor.seek(end);
                Content::Run(Self::new(start, end))
            }
            5 => {
                cursor.skip(4)?;
                Content::Fixed
            }
            // Groups were withdrawn long before any of these formats.
            _ => return Err(BoundedError::Malformed("a field has a wire type that is none")),
        };
        self.at = cursor.position();
        if self.at > self.end {
            return Err(BoundedError::Malformed("a field crosses the end of its message"));
        }
        Ok(Some(Field { number, content }))
    }

    /// Its bytes as text, at most `cap`.
    pub(crate) fn text(self, source: &dyn Source, cap: u64) -> String {
        read_range(source, self.start, self.len().min(cap), cap).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

fn varint(cursor: &mut Cursor<'_>) -> Result<u64, BoundedError> {
    let mut bytes = [0_u8; 10];
    for (count, slot) in bytes.iter_mut().enumerate() {
        *slot = cursor.u8()?;
        if *slot & 0x80 == 0 {
            return Reader::new(bytes.get(..=count).unwrap_or_default()).varint();
        }
    }
    Err(BoundedError::Malformed("varint longer than ten bytes"))
}

/// Fields looked at to tell what a message is.
const LOOKED_AT: usize = 200;

/// The formats that are protobuf without a magic number, told by the kinds of their fields.
pub(crate) fn classify(source: &dyn Source) -> Option<Format> {
    let mut cursor = Cursor::new(source);
    let whole = Message::new(0, source.len());
    let fields = fields(whole, &mut cursor)?;
    let has = |number: u64, varint: bool| fields.iter().any(|field| field.number == number && matches!(field.content, Content::Varint(_)) == varint);
    let run = |number: u64| {
        fields.iter().find_map(|field| match field.content {
            Content::Run(message) if field.number == number => Some(message),
            _ => None,
        })
    };
    let only = |known: &[u64]| fields.iter().all(|field| known.contains(&field.number));
    if has(7, false)
        && (has(1, true) || has(8, false))
        && only(&[1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26])
        && run(7).is_some_and(|graph| is_onnx_graph(graph, &mut cursor))
    {
        return Some(Format::Onnx);
    }
    if has(1, true) && only(&[1, 2]) && run(2).is_some_and(|meta| is_meta_graph(meta, &mut cursor)) {
        return Some(Format::TensorflowSavedModel);
    }
    if has(1, true) && run(2).is_some() && is_coreml(&fields) {
        return Some(Format::CoreMl);
    }
    if has(1, false) && only(&[1, 4, 5]) && has(4, false) && run(1).is_some_and(|block| is_paddle_block(block, &mut cursor)) {
        return Some(Format::PaddleProgram);
    }
    if run(1).is_some_and(|piece| is_piece(piece, source, &mut cursor)) && only(&[1, 2, 3, 4, 5]) {
        return Some(Format::SentencePiece);
    }
    if run(1).is_some_and(|node| is_keras_node(node, source, &mut cursor)) && only(&[1]) {
        return Some(Format::KerasMetadata);
    }
    if is_graph(whole, &mut cursor, source) {
        return Some(Format::TensorflowGraph);
    }
    is_meta_graph(whole, &mut cursor).then_some(Format::TensorflowMetaGraph)
}

/// The first fields, if the message is sound so far and has any.
fn fields(mut message: Message, cursor: &mut Cursor<'_>) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while fields.len() < LOOKED_AT {
        match message.next_field(cursor) {
            Ok(Some(field)) => fields.push(field),
            Ok(None) => break,
            Err(_) => return None,
        }
    }
    (!fields.is_empty()).then_some(fields)
}

fn is_onnx_graph(graph: Message, cursor: &mut Cursor<'_>) -> bool {
    fields(graph, cursor)
        .is_some_and(|fields| fields.iter().all(|field| matches!(field.number, 1 | 2 | 5 | 10..=16) && matches!(field.content, Content::Run(_))))
}

fn is_meta_graph(meta: Message, cursor: &mut Cursor<'_>) -> bool {
    let Some(parts) = fields(meta, cursor) else { return false };
    let known = parts.iter().all(|field| matches!(field.number, 1..=7) && matches!(field.content, Content::Run(_)));
    let graph = parts.iter().find_map(|field| match field.content {
        Content::Run(graph) if field.number == 2 => Some(graph),
        _ => None,
    });
    known && graph.is_some_and(|graph| is_graph_shape(graph, cursor))
}

/// A GraphDef: nodes with a name and an operator.
pub(crate) fn is_graph(graph: Message, cursor: &mut Cursor<'_>, source: &dyn Source) -> bool {
    let Some(node) = first_run(graph, cursor, 1) else { return false };
    let (Some(name), Some(operator)) = (first_run(node, cursor, 1), first_run(node, cursor, 2)) else { return false };
    let operator = operator.text(source, 128);
    let named = !operator.is_empty() && operator.len() < 128 && operator.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '>'));
    named && name.len() < 4096 && is_graph_shape(graph, cursor)
}

fn is_graph_shape(graph: Message, cursor: &mut Cursor<'_>) -> bool {
    fields(graph, cursor).is_some_and(|fields| {
        fields.iter().all(|field| match field.content {
            Content::Run(_) => matches!(field.number, 1 | 2 | 4 | 5),
            Content::Varint(_) => field.number == 3,
            Content::Fixed => false,
        })
    })
}

/// A Core ML Model: a small version, a description, and one kind of model by a number of three digits.
fn is_coreml(fields: &[Field]) -> bool {
    let kinds = fields.iter().filter(|field| matches!(field.number, 200..=3000)).count();
    let rest = fields.iter().all(|field| matches!(field.number, 1 | 2 | 10 | 200..=3000));
    let version = fields.iter().any(|field| field.number == 1 && matches!(field.content, Content::Varint(1..=64)));
    kinds == 1 && rest && version
}

/// A Paddle BlockDesc: its number, its parent, variables, operators.
fn is_paddle_block(block: Message, cursor: &mut Cursor<'_>) -> bool {
    fields(block, cursor).is_some_and(|fields| {
        fields.iter().all(|field| match field.content {
            Content::Varint(_) => matches!(field.number, 1 | 2 | 5),
            Content::Run(_) => matches!(field.number, 3 | 4),
            Content::Fixed => false,
        }) && fields.iter().any(|field| field.number == 2)
    })
}

/// A SavedObject of `keras_metadata.pb`: path 3, identifier 4, metadata 5.
fn is_keras_node(node: Message, source: &dyn Source, cursor: &mut Cursor<'_>) -> bool {
    let identifier = first_run(node, cursor, 4).map(|identifier| identifier.text(source, 64)).unwrap_or_default();
    identifier.starts_with("_tf_keras") && first_run(node, cursor, 5).is_some()
}

/// A sentence piece: text, then a score of 32 bits.
fn is_piece(piece: Message, source: &dyn Source, cursor: &mut Cursor<'_>) -> bool {
    let Some(parts) = fields(piece, cursor) else { return false };
    let scored = parts.iter().any(|field| field.number == 2 && field.content == Content::Fixed);
    scored && parts.iter().all(|field| matches!(field.number, 1..=3)) && first_run(piece, cursor, 1).is_some_and(|text| !text.text(source, 64).is_empty())
}

fn first_run(mut message: Message, cursor: &mut Cursor<'_>, number: u64) -> Option<Message> {
    for _ in 0..LOOKED_AT {
        match message.next_field(cursor) {
            Ok(Some(Field { number: found, content: Content::Run(inner) })) if found == number => return Some(inner),
            Ok(Some(_)) => {}
            _ => return None,
        }
    }
    None
}
