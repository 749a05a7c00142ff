//! Arrays that joblib writes into the stream behind the object that describes them.

use super::judge::Follows;
use super::value::{Heap, Node, Value};
use picket_bounded::Source;

/// What joblib's unpickler reads from the stream after building `instance`.
pub(super) fn follows(heap: &Heap, source: &dyn Source, instance: Value, state: Value) -> Follows {
    let wrapper = heap.class_of(instance).is_some_and(|class| class.name == "NumpyArrayWrapper" && class.module.ends_with("numpy_pickle"));
    if !wrapper {
        return Follows::Opcodes;
    }
    let Some(Node::Dict { pairs, .. }) = heap.get(state) else { return Follows::Unknown("an array wrapper without a state".to_owned()) };
    let field = |wanted: &str| {
        let text = |value: &Value| matches!(value, Value::Text(text) if text.resolve(source, 64).as_deref() == Some(wanted));
        pairs.iter().rev().find(|(key, _)| text(key)).map(|(_, value)| *value)
    };
    let aligned = matches!(field("numpy_array_alignment_bytes"), Some(Value::Int(_)));
    let Some(element) = field("dtype").and_then(|dtype| element(heap, source, dtype)) else {
        return Follows::Unknown("an array of an unknown element type".to_owned());
    };
    let size = match element {
        Element::Object => return Follows::Pickle,
        Element::Bytes(size) => size,
    };
    let mut bytes = size;
    for length in field("shape").map(|shape| heap.items(shape)).unwrap_or_default() {
        let Some(product) = (match length {
            Value::Int(length) => u64::try_from(*length).ok().and_then(|length| bytes.checked_mul(length)),
            _ => None,
        }) else {
            return Follows::Unknown("an array of an impossible shape".to_owned());
        };
        bytes = product;
    }
    Follows::Array { aligned, bytes }
}

enum Element {
    Bytes(u64),
    Object,
}

/// The element of `numpy.dtype(text, False, True)` with its state.
fn element(heap: &Heap, source: &dyn Source, dtype: Value) -> Option<Element> {
    let Some(Node::Call { arguments, state, .. }) = heap.get(dtype) else { return None };
    let Some(Value::Text(text)) = heap.items(*arguments).first() else { return None };
    let text = text.resolve(source, 64)?;
    let described = text.trim_start_matches(['<', '>', '|', '=']);
    let state = heap.items(*state);
    // State: (version, byte order, subarray, names, fields, item size, alignment, flags[, metadata]); flag 1 counts references.
    let (item_size, flags) = (state.get(5), state.get(7));
    if described.starts_with('O') || matches!(flags, Some(Value::Int(flags)) if flags & 1 != 0) {
        return Some(Element::Object);
    }
    if let Some(Value::Int(size)) = item_size
        && let Ok(size) = u64::try_from(*size)
    {
        return Some(Element::Bytes(size));
    }
    let mut characters = described.chars();
    let kind = characters.next()?;
    let size: u64 = characters.take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
    // Unicode counts characters of four bytes.
    Some(Element::Bytes(if kind == 'U' { size.checked_mul(4)? } else { size }))
}
