//! Turns what the machine does into findings.

use super::limits::{CALLS_SHOWN_MAX, NESTED_MAX, STORAGES_MAX};
use super::opcodes;
use super::policy::{self, Known, Special, Tier};
use super::render::show;
use super::value::{CallKind, Heap, NAME_BYTES_MAX, Node, Text, Value};
use super::{array, limits};
use crate::report::Finding;
use crate::rules::{self, Rule};
use picket_bounded::{Source, read_range};
use std::collections::HashMap;

/// The opcode that is being executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) offset: u64,
    pub(super) code: u8,
}

/// What stands in the stream behind an object that was just built.
pub(super) enum Follows {
    Opcodes,
    /// The bytes of an array, behind a padding byte and its padding where `aligned`.
    Array {
        aligned: bool,
        bytes: u64,
    },
    /// A pickle of the array's objects.
    Pickle,
    /// An array whose size cannot be told.
    Unknown(String),
}

/// A tensor storage as a persistent id names it.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) class: String,
    pub(super) key: String,
    pub(super) elements: u64,
}

/// A constant that holds a file of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nested {
    pub(super) text: Text,
    pub(super) at: At,
    /// Loaded by this pickle, not only kept in it.
    pub(super) loaded: bool,
}

/// Findings of all pickles of one stream.
pub(super) struct Judge<'s> {
    source: &'s dyn Source,
    member: &'s str,
    base: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) nested: Vec<Nested>,
    pub(super) storages: Vec<Storage>,
    pub(super) arrays: u64,
    pub(super) imports: u64,
    pub(super) inline_depth: u32,
    call_depth: u32,
    extensions: HashMap<u32, (String, String)>,
}

impl<'s> Judge<'s> {
    /// `base` is where `source` begins inside the member.
    pub(super) fn new(source: &'s dyn Source, member: &'s str, base: u64) -> Self {
        Self {
            source,
            member,
            base,
            findings: Vec::new(),
            nested: Vec::new(),
            storages: Vec::new(),
            arrays: 0,
            imports: 0,
            inline_depth: 0,
            call_depth: 0,
            extensions: HashMap::new(),
        }
    }

    pub(super) fn finding(&mut self, rule: &'static Rule, at: At, value: Option<String>, explanation: impl AsRef<str>) {
        // Repeats are merged by the report; here a file must not make us hold them all.
        if self.findings.len() >= 10_000 {
            return;
        }
        let finding = Finding::new(rule, self.member, explanation).at(self.base.saturating_add(at.offset)).opcode(opcodes::name(at.code));
        self.findings.push(match value {
            Some(value) => finding.value(value),
            None => finding,
        });
    }

    pub(super) fn frame(&mut self, at: At, why: &str) {
        self.finding(&rules::PICKLE_FRAMES, at, None, format!("Here {why}: one unpickler runs the bytes inside the frame, another the bytes behind it."));
    }

    pub(super) fn computed(&mut self, heap: &Heap, module: Value, name: Value, at: At) {
        let value = format!("{}.{}", show(heap, self.source, module), show(heap, self.source, name));
        self.finding(
            &rules::PICKLE_COMPUTED,
            at,
            Some(value),
            "The module or the name to import is the result of another step, which only hides what is imported.",
        );
    }

    pub(super) fn imported(&mut self, heap: &mut Heap, value: Value, at: At) {
        let Some(global) = heap.named_mut(value) else { return };
        global.first.get_or_insert(at);
        self.imports += u64::from(global.plausible);
    }

    /// The import that an extension code stands for.
    pub(super) fn extension(&mut self, heap: &mut Heap, key: u32, at: At) -> Value {
        let Some((module, name)) = self.extensions.get(&key).cloned() else {
            self.finding(
                &rules::PICKLE_EXTENSION,
                at,
                Some(key.to_string()),
                format!("Extension code {key} stands for an import that only the loading process knows."),
            );
            return Value::Unknown;
        };
        heap.global(&module, &name)
    }

    pub(super) fn persistent(&mut self, heap: &Heap, id: Value) {
        let items = heap.items(id);
        let [Value::Text(kind), class, Value::Text(key), _, Value::Int(elements), ..] = items else { return };
        if self.storages.len() >= STORAGES_MAX || kind.resolve(self.source, 16).as_deref() != Some("storage") {
            return;
        }
        if let (Some(class), Some(key), Ok(elements)) = (heap.named(*class), key.resolve(self.source, 256), u64::try_from(*elements)) {
            self.storages.push(Storage { class: class.name.clone(), key, elements });
        }
    }

    /// A bytes constant that begins like a pickle and ends with STOP is looked into afterwards.
    pub(super) fn constant(&mut self, text: Text, head: [u8; 2], at: At) {
        if text.len < 8 || self.nested.len() >= NESTED_MAX || !matches!(head, [0x80, 2..=5]) {
            return;
        }
        let tail = read_range(self.source, text.offset.saturating_add(text.len - 1), 1, 1);
        if matches!(tail.as_deref(), Ok(b".")) {
            self.nested.push(Nested { text, at, loaded: false });
        }
    }

    /// Called, made or instantiated; returns what the result is known to be.
    pub(super) fn called(&mut self, heap: &mut Heap, callable: Value, arguments: Value, kind: CallKind, at: At) -> Value {
        let Some(known) = heap.named(callable).map(|global| global.known) else {
            self.dynamic(heap, callable, arguments, at);
            return heap.node(Node::Call { callable, arguments, kind, state: Value::None });
        };
        // A call that calls its argument can hold a call that calls its argument; the file says how often.
        if known.special != Special::None && self.call_depth < limits::CALL_DEPTH_MAX {
            self.call_depth += 1;
            let result = self.special(heap, known, callable, arguments, at);
            self.call_depth -= 1;
            if let Some(result) = result {
                return result;
            }
        } else if known.special != Special::None {
            self.dynamic(heap, callable, arguments, at);
        }
        self.judge_call(heap, callable, arguments, kind, at);
        heap.node(Node::Call { callable, arguments, kind, state: Value::None })
    }

    fn judge_call(&mut self, heap: &mut Heap, callable: Value, arguments: Value, kind: CallKind, at: At) {
        let Some(global) = heap.named(callable) else { return };
        let (rule, why): (_, &str) = match global.known.tier {
            Tier::Allowed | Tier::Unknown => return,
            Tier::AllowedClass if kind != CallKind::Call => return,
            Tier::AllowedClass => (&rules::PICKLE_UNKNOWN, "is a framework's class called with arguments of the file's choice"),
            Tier::Risky(how) => (&rules::PICKLE_RISKY, how),
            Tier::Executes(how) => (&rules::PICKLE_EXECUTES, how),
        };
        if global.calls_reported >= CALLS_SHOWN_MAX {
            return;
        }
        let shown = format!("{global}{}", self.show_arguments(heap, arguments));
        let explanation = format!("Loading this file calls {global}, which {why}.");
        self.finding(rule, at, Some(shown), explanation);
        if let Some(global) = heap.named_mut(callable) {
            global.calls_reported += 1;
        }
    }

    fn show_arguments(&self, heap: &Heap, arguments: Value) -> String {
        match heap.get(arguments) {
            Some(Node::Tuple { .. }) => show(heap, self.source, arguments),
            _ => format!("(*{})", show(heap, self.source, arguments)),
        }
    }

    fn dynamic(&mut self, heap: &Heap, callable: Value, arguments: Value, at: At) {
        let shown = format!("{}{}", show(heap, self.source, callable), self.show_arguments(heap, arguments));
        self.finding(&rules::PICKLE_DYNAMIC_CALL, at, Some(shown), "What is called here is the result of another step, not an import that can be looked up.");
    }

    fn special(&mut self, heap: &mut Heap, known: Known, callable: Value, arguments: Value, at: At) -> Option<Value> {
        // Eight arguments decide every special function.
        let items: Vec<Value> = heap.items(arguments).iter().take(8).copied().collect();
        match (known.special, items.as_slice()) {
            (Special::None, _) => None,
            (Special::Attribute, [object, Value::Text(name), ..]) => Some(self.attribute(heap, *object, *name, callable, arguments, at)),
            (Special::Attribute, _) => {
                self.finding(
                    &rules::PICKLE_COMPUTED,
                    at,
                    Some(self.show_arguments(heap, arguments)),
                    "The attribute to fetch is the result of another step, which only hides what is fetched.",
                );
                Some(Value::Unknown)
            }
            (Special::AddExtension, [Value::Text(module), Value::Text(name), Value::Int(key)]) => {
                let (module, name) = (module.resolve(self.source, NAME_BYTES_MAX)?, name.resolve(self.source, NAME_BYTES_MAX)?);
                let explanation = format!("The file registers {module}.{name} under a number, so that a later opcode imports it without naming it.");
                self.finding(&rules::PICKLE_EXTENSION, at, Some(format!("{module}.{name} = {key}")), explanation);
                self.extensions.insert(u32::try_from(*key).ok()?, (module, name));
                None
            }
            (Special::Reconstruct, [class, rest @ ..]) => {
                let arguments = heap.tuple(rest);
                Some(self.called(heap, *class, arguments, CallKind::New, at))
            }
            (Special::Applies, [function, rest @ ..]) if heap.named(*function).is_some() => {
                let inner = heap.tuple(rest);
                self.called(heap, *function, inner, CallKind::Call, at);
                None
            }
            (Special::AppliesTuple, [function, _, inner, ..]) => {
                self.called(heap, *function, *inner, CallKind::Call, at);
                None
            }
            (Special::LoadsBytes, [Value::Bytes(text), ..]) => {
                self.nested.retain(|nested| nested.text.offset != text.offset);
                self.nested.push(Nested { text: *text, at, loaded: true });
                None
            }
            (Special::LoadsBytes, _) => {
                let shown = self.show_arguments(heap, arguments);
                self.finding(&rules::PICKLE_RISKY, at, Some(shown), "Data that is computed while loading is loaded as a pickle of its own.");
                None
            }
            (Special::Encode, [Value::Text(_), Value::Text(encoding), ..]) => {
                let encoding = encoding.resolve(self.source, 64)?;
                let plain = matches!(
                    encoding.to_ascii_lowercase().replace('_', "-").as_str(),
                    "latin1" | "latin-1" | "iso-8859-1" | "ascii" | "utf-8" | "utf8" | "raw-unicode-escape"
                );
                if !plain {
                    let shown = self.show_arguments(heap, arguments);
                    self.finding(
                        &rules::PICKLE_RISKY,
                        at,
                        Some(shown),
                        format!("Text is transformed by the codec {encoding}, which no pickler does and which hides names."),
                    );
                }
                None
            }
            _ => None,
        }
    }

    /// `getattr` of an import is that import with a dot more.
    fn attribute(&mut self, heap: &mut Heap, object: Value, name: Text, callable: Value, arguments: Value, at: At) -> Value {
        let name = name.resolve(self.source, NAME_BYTES_MAX).unwrap_or_default();
        if let Some((module, outer)) = heap.named(object).map(|global| (global.module.clone(), global.name.clone())) {
            let value = heap.global(&module, &format!("{outer}.{name}"));
            self.imported(heap, value, At { offset: at.offset, code: at.code });
            return value;
        }
        // A bound method of an object that was made here: pickled methods look like this. Special attributes do not.
        if policy::is_dunder(&name) || heap.named(heap_callable(heap, object)).is_none() {
            let shown = format!("getattr{}", self.show_arguments(heap, arguments));
            self.finding(&rules::PICKLE_TAMPERS, at, Some(shown), format!("The attribute {name} is fetched from an object that the file itself computed."));
        } else {
            let shown = format!("getattr{}", self.show_arguments(heap, arguments));
            self.finding(&rules::PICKLE_UNKNOWN, at, Some(shown), format!("The attribute {name} is fetched from an object."));
        }
        heap.node(Node::Call { callable, arguments, kind: CallKind::Call, state: Value::None })
    }

    /// BUILD: `__setstate__`, or the state becomes the object's attributes.
    pub(super) fn built(&mut self, heap: &mut Heap, instance: Value, state: Value, at: At) -> Follows {
        if heap.named(instance).is_some() || matches!(instance, Value::Unknown) {
            let shown = format!("{} <- {}", show(heap, self.source, instance), show(heap, self.source, state));
            let (rule, why) = if matches!(instance, Value::Unknown) {
                (&rules::PICKLE_DYNAMIC_CALL, "The state of an object whose origin is lost is replaced.")
            } else {
                (&rules::PICKLE_TAMPERS, "Attributes of an imported class, function or module are replaced for the whole process.")
            };
            self.finding(rule, at, Some(shown), why);
        }
        let parts: Vec<Value> = std::iter::once(state).chain(heap.items(state).iter().take(4).copied()).collect();
        for part in parts {
            let keys: Vec<Value> = match heap.get(part) {
                Some(Node::Dict { pairs, .. }) => pairs.iter().map(|(key, _)| *key).collect(),
                _ => continue,
            };
            self.special_keys(heap, instance, &keys, at);
        }
        if let Some(Node::Call { state: kept, .. }) = heap.get_mut(instance) {
            *kept = state;
        }
        let follows = array::follows(heap, self.source, instance, state);
        if !matches!(follows, Follows::Opcodes) {
            self.arrays += 1;
        }
        follows
    }

    fn special_keys(&mut self, heap: &Heap, target: Value, keys: &[Value], at: At) {
        for key in keys {
            let Value::Text(text) = key else { continue };
            // Millions of objects have states; only keys that begin like a special name are read again.
            if !text.dunder {
                continue;
            }
            let Some(name) = text.resolve(self.source, 64).filter(|name| policy::is_dunder(name)) else { continue };
            if !STATE_KEYS.contains(&name.as_str()) {
                let shown = format!("{}.{name}", show(heap, self.source, target));
                self.finding(
                    &rules::PICKLE_TAMPERS,
                    at,
                    Some(shown),
                    format!("The special attribute {name} is set from the file, which changes what the object does when it is used."),
                );
            }
        }
    }

    /// APPEND(S), ADDITEMS, SETITEM(S).
    pub(super) fn filled(&mut self, heap: &Heap, target: Value, at: At) {
        if heap.named(target).is_some() {
            let shown = show(heap, self.source, target);
            self.finding(&rules::PICKLE_TAMPERS, at, Some(shown), "Items of an imported object are replaced for the whole process.");
        }
    }

    /// Reports what was imported, once a pickle has ended.
    pub(super) fn finish(&mut self, heap: &Heap) {
        for global in &heap.globals {
            let Some(at) = global.first.filter(|_| global.calls_reported == 0) else { continue };
            let (rule, why) = match global.known.tier {
                Tier::Allowed | Tier::AllowedClass => continue,
                Tier::Unknown => (&rules::PICKLE_UNKNOWN, "is on no list of what frameworks need".to_owned()),
                Tier::Risky(how) => (&rules::PICKLE_RISKY, how.to_owned()),
                Tier::Executes(how) => (&rules::PICKLE_REFERENCES, how.to_owned()),
            };
            self.finding(rule, at, Some(global.to_string()), format!("Loading this file imports {global}, which {why}."));
        }
        if heap.globals.len() >= limits::GLOBALS_MAX {
            self.finding(&rules::PICKLE_MALFORMED, At { offset: 0, code: opcodes::GLOBAL }, None, "The pickle imports more names than any framework has.");
        }
    }
}

/// What was called to make an object.
fn heap_callable(heap: &Heap, value: Value) -> Value {
    match heap.get(value) {
        Some(Node::Call { callable, .. }) => *callable,
        _ => Value::None,
    }
}

/// Double-underscore keys that honest states have.
const STATE_KEYS: &[&str] = &[
    "__dict__",
    "__fields_set__",
    "__pydantic_fields_set__",
    "__pydantic_extra__",
    "__pydantic_private__",
    "__private_attribute_values__",
    "__orig_class__",
    "__doc__",
    "__version__",
    "__weakref__",
];
