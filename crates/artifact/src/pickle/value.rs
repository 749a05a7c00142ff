//! What the symbolic machine knows about an object, without ever making it.

use super::judge::At;
use super::limits::GLOBALS_MAX;
use super::policy::{self, Known};
use picket_bounded::{Source, read_range};
use std::collections::HashMap;

/// Values kept over all tuples, lists and dictionaries of one pickle: 32 bytes each, so 64 MiB. Beyond it containers are
/// unknown; calls of plain imports are still judged, calls of unknown values are findings.
const VALUES_MAX: usize = 2 << 20;
/// Nodes kept: the same reason, 4 times fewer because each is larger.
const NODES_MAX: usize = 1 << 20;
/// Items remembered of one list, set or dictionary. Arguments that matter are short; a list of a million token ids is not kept.
const ITEMS_KEPT: usize = 64;
/// Longest name of a module or attribute. CPython has no limit; nobody has a longer one.
pub(super) const NAME_BYTES_MAX: u64 = 4096;

/// An object on the stack or in the memo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer beyond 64 bits, a buffer: nothing that judgement needs.
    Opaque,
    Text(Text),
    Bytes(Text),
    /// An import, by index into [`Heap::globals`].
    Global(u32),
    /// A container or the result of a call, by index into the heap.
    Node(u32),
    /// Its origin is lost.
    Unknown,
}

/// A string or bytes constant, left where it is in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Text {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) form: Form,
    /// May begin with two underscores.
    pub(super) dunder: bool,
}

/// How its bytes stand in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Raw,
    /// `S'…'\n` with Python's backslash escapes.
    Quoted,
    /// `V…\n` with `\uXXXX`.
    UnicodeEscape,
}

/// How a call came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// The callable is called with arguments of the file's choice.
    Call,
    /// `cls.__new__(cls, …)`: no constructor runs.
    New,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// `start..start + len` of the value pool.
    Tuple {
        start: u32,
        len: u32,
    },
    List {
        items: Vec<Value>,
        len: u64,
    },
    Dict {
        pairs: Vec<(Value, Value)>,
        len: u64,
    },
    Call {
        callable: Value,
        arguments: Value,
        kind: CallKind,
        state: Value,
    },
    Persistent(Value),
}

/// An import, what the policy says about it, and how this pickle uses it.
pub(super) struct Global {
    pub(super) module: String,
    pub(super) name: String,
    pub(super) known: Known,
    /// Both names can be names: text that happens to begin with `c` is no import.
    pub(super) plausible: bool,
    /// Where it is first imported.
    pub(super) first: Option<At>,
    /// A call of it was reported.
    pub(super) calls_reported: u32,
}

impl std::fmt::Display for Global {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.module, self.name)
    }
}

/// Everything one pickle made.
#[derive(Default)]
pub(super) struct Heap {
    values: Vec<Value>,
    nodes: Vec<Node>,
    kept: usize,
    pub(super) globals: Vec<Global>,
    /// By the length of the module's name, that name, and the other.
    index: HashMap<Vec<u8>, u32>,
    key: Vec<u8>,
}

impl Heap {
    pub(super) fn tuple(&mut self, items: &[Value]) -> Value {
        let (Ok(start), Ok(len)) = (u32::try_from(self.values.len()), u32::try_from(items.len())) else { return Value::Unknown };
        if self.values.len() + items.len() > VALUES_MAX {
            return Value::Unknown;
        }
        self.values.extend_from_slice(items);
        self.node(Node::Tuple { start, len })
    }

    pub(super) fn node(&mut self, node: Node) -> Value {
        match u32::try_from(self.nodes.len()) {
            Ok(index) if self.nodes.len() < NODES_MAX => {
                self.nodes.push(node);
                Value::Node(index)
            }
            _ => Value::Unknown,
        }
    }

    pub(super) fn get(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(usize::try_from(index).ok()?),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, value: Value) -> Option<&mut Node> {
        match value {
            Value::Node(index) => self.nodes.get_mut(usize::try_from(index).ok()?),
            _ => None,
        }
    }

    /// Items of a tuple or list.
    pub(super) fn items(&self, value: Value) -> &[Value] {
        match self.get(value) {
            Some(Node::Tuple { start, len }) => {
                let range =
                    usize::try_from(*start).ok().zip(usize::try_from(*len).ok()).and_then(|(start, len)| self.values.get(start..start.checked_add(len)?));
                range.unwrap_or_default()
            }
            Some(Node::List { items, .. }) => items,
            _ => &[],
        }
    }

    /// Keeps the first items of a growing list.
    pub(super) fn extend(&mut self, list: Value, added: &[Value]) {
        let room = VALUES_MAX.saturating_sub(self.kept);
        let mut kept = 0;
        if let Some(Node::List { items, len }) = self.get_mut(list) {
            *len = len.saturating_add(added.len() as u64);
            let count = ITEMS_KEPT.saturating_sub(items.len()).min(added.len()).min(room);
            items.extend_from_slice(added.get(..count).unwrap_or_default());
            kept = count;
        }
        self.kept += kept;
    }

    /// Keeps the first pairs of a growing dictionary.
    pub(super) fn insert(&mut self, dict: Value, added: &[Value]) {
        let room = VALUES_MAX.saturating_sub(self.kept) / 2;
        let mut kept = 0;
        if let Some(Node::Dict { pairs, len }) = self.get_mut(dict) {
            *len = len.saturating_add(added.len() as u64 / 2);
            for pair in added.chunks_exact(2).take(ITEMS_KEPT.saturating_sub(pairs.len()).min(room)) {
                if let [key, value] = pair {
                    pairs.push((*key, *value));
                    kept += 2;
                }
            }
        }
        self.kept += kept;
    }

    pub(super) fn global(&mut self, module: &str, name: &str) -> Value {
        self.key.clear();
        self.key.extend_from_slice(&module.len().to_le_bytes());
        self.key.extend_from_slice(module.as_bytes());
        self.key.extend_from_slice(name.as_bytes());
        if let Some(index) = self.index.get(&self.key) {
            return Value::Global(*index);
        }
        let Some(index) = u32::try_from(self.globals.len()).ok().filter(|_| self.globals.len() < GLOBALS_MAX) else { return Value::Unknown };
        let plausible = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        self.globals.push(Global {
            module: module.to_owned(),
            name: name.to_owned(),
            known: policy::judge(module, name),
            plausible: plausible(module) && plausible(name),
            first: None,
            calls_reported: 0,
        });
        self.index.insert(self.key.clone(), index);
        Value::Global(index)
    }

    pub(super) fn named_mut(&mut self, value: Value) -> Option<&mut Global> {
        match value {
            Value::Global(index) => self.globals.get_mut(usize::try_from(index).ok()?),
            _ => None,
        }
    }

    pub(super) fn named(&self, value: Value) -> Option<&Global> {
        match value {
            Value::Global(index) => self.globals.get(usize::try_from(index).ok()?),
            _ => None,
        }
    }

    /// The import an object was made from: itself, or the class that was called for it.
    pub(super) fn class_of(&self, value: Value) -> Option<&Global> {
        let mut value = value;
        // A chain of calls is as deep as the file makes it; eight steps name any honest class.
        for _ in 0..8 {
            match (self.named(value), self.get(value)) {
                (Some(global), _) => return Some(global),
                (None, Some(Node::Call { callable, .. })) => value = *callable,
                _ => return None,
            }
        }
        None
    }
}

impl Text {
    /// Its characters, if it is short enough to be a name or an argument to show.
    pub(super) fn resolve(self, source: &dyn Source, cap: u64) -> Option<String> {
        let bytes = read_range(source, self.offset, self.len, cap).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some(match self.form {
            Form::Raw => text.into_owned(),
            Form::UnicodeEscape => unescape(&text, self.form),
            Form::Quoted => {
                let quoted = text.trim_end();
                let inner = quoted.strip_prefix(['\'', '"']).unwrap_or(quoted);
                unescape(inner.strip_suffix(['\'', '"']).unwrap_or(inner), self.form)
            }
        })
    }
}

/// Python's string escapes as the unpickler undoes them.
fn unescape(text: &str, form: Form) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let Some(kind) = rest.next() else {
            out.push('\\');
            break;
        };
        match (kind, form) {
            ('u', Form::UnicodeEscape) => out.extend(number(&mut rest, 16, 4)),
            ('U', Form::UnicodeEscape) => out.extend(number(&mut rest, 16, 8)),
            ('x', Form::Quoted) => out.extend(number(&mut rest, 16, 2)),
            ('0'..='7', Form::Quoted) => {
                let digits: String = std::iter::once(kind).chain(rest.clone().take(2).take_while(|digit| digit.is_digit(8))).collect();
                for _ in 1..digits.len() {
                    rest.next();
                }
                out.extend(u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32));
            }
            ('n', Form::Quoted) => out.push('\n'),
            ('t', Form::Quoted) => out.push('\t'),
            ('r', Form::Quoted) => out.push('\r'),
            ('\\' | '\'' | '"', Form::Quoted) => out.push(kind),
            _ => out.extend(['\\', kind]),
        }
    }
    out
}

fn number(rest: &mut std::str::Chars<'_>, radix: u32, digits: usize) -> Option<char> {
    let text: String = rest.by_ref().take(digits).collect();
    u32::from_str_radix(&text, radix).ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_as_python_does() {
        assert_eq!(unescape(r"\x6fs", Form::Quoted), "os");
        assert_eq!(unescape(r"\157s", Form::Quoted), "os");
        assert_eq!(unescape(r"\u006fs", Form::UnicodeEscape), "os");
        assert_eq!(unescape(r"\u006fs", Form::Quoted), r"\u006fs");
        assert_eq!(unescape("end\\", Form::Quoted), "end\\");
    }
}
