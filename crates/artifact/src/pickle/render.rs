//! Shows a symbolic object as Python would print it, cut short.

use super::value::{CallKind, Heap, Node, Value};
use picket_bounded::Source;

/// Levels shown; deeper is `…`.
const DEPTH_MAX: u32 = 4;
/// Items shown of one container.
const ITEMS_MAX: usize = 6;
/// Bytes of one string read to be shown.
const STRING_BYTES_MAX: u64 = 160;
/// Length after which nothing is added.
const OUT_BYTES_MAX: usize = 400;

/// One line for evidence.
pub(super) fn show(heap: &Heap, source: &dyn Source, value: Value) -> String {
    let mut out = String::new();
    write(&mut out, heap, source, value, DEPTH_MAX);
    out
}

fn write(out: &mut String, heap: &Heap, source: &dyn Source, value: Value, depth: u32) {
    if depth == 0 || out.len() > OUT_BYTES_MAX {
        out.push('…');
        return;
    }
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&number.to_string()),
        Value::Opaque | Value::Unknown => out.push('?'),
        Value::Text(text) | Value::Bytes(text) => {
            if matches!(value, Value::Bytes(_)) {
                out.push('b');
            }
            let cut = super::value::Text { len: text.len.min(STRING_BYTES_MAX), ..text };
            out.push('\'');
            out.push_str(&cut.resolve(source, STRING_BYTES_MAX).unwrap_or_default());
            if text.len > STRING_BYTES_MAX {
                out.push('…');
            }
            out.push('\'');
        }
        Value::Global(_) => match heap.named(value) {
            Some(global) => out.push_str(&global.to_string()),
            None => out.push('?'),
        },
        Value::Node(_) => write_node(out, heap, source, value, depth),
    }
}

fn write_node(out: &mut String, heap: &Heap, source: &dyn Source, value: Value, depth: u32) {
    let list = |out: &mut String, open: char, items: &[Value], close: char| {
        out.push(open);
        for (number, item) in items.iter().take(ITEMS_MAX).enumerate() {
            if number > 0 {
                out.push_str(", ");
            }
            write(out, heap, source, *item, depth - 1);
        }
        if items.len() > ITEMS_MAX {
            out.push_str(", …");
        }
        out.push(close);
    };
    match heap.get(value) {
        Some(Node::Tuple { .. }) => list(out, '(', heap.items(value), ')'),
        Some(Node::List { items, .. }) => list(out, '[', items, ']'),
        Some(Node::Dict { pairs, .. }) => {
            out.push('{');
            for (number, (key, value)) in pairs.iter().take(ITEMS_MAX).enumerate() {
                if number > 0 {
                    out.push_str(", ");
                }
                write(out, heap, source, *key, depth - 1);
                out.push_str(": ");
                write(out, heap, source, *value, depth - 1);
            }
            out.push('}');
        }
        Some(Node::Call { callable, arguments, kind, .. }) => {
            write(out, heap, source, *callable, depth - 1);
            if *kind == CallKind::New {
                out.push_str(".__new__");
            }
            match heap.get(*arguments) {
                Some(Node::Tuple { .. }) => list(out, '(', heap.items(*arguments), ')'),
                _ => write(out, heap, source, *arguments, depth - 1),
            }
        }
        Some(Node::Persistent(id)) => {
            out.push_str("persistent ");
            write(out, heap, source, *id, depth - 1);
        }
        None => out.push('?'),
    }
}
