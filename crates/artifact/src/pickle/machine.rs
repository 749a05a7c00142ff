//! A symbolic unpickler: every opcode moves the same stack, marks and memo that CPython's would, and nothing is ever made.

use super::judge::{At, Follows, Judge};
use super::limits::{INLINE_DEPTH_MAX, LINE_BYTES_MAX, MEMO_MAX, STACK_MAX};
use super::opcodes::{self as op};
use super::value::{CallKind, Heap, NAME_BYTES_MAX, Node, Value};
use picket_bounded::{BoundedError, Budget, Cursor};
use std::collections::HashMap;

/// Steps taken between two looks at the clock.
const STEPS_PER_CHECK: u64 = 1 << 16;

/// How a pickle ended.
#[derive(Debug)]
pub(super) enum End {
    /// At STOP.
    Stop,
    /// An unpickler would raise here.
    Broken(String),
    /// We would not go on.
    Limit(String),
}

/// Why a step failed.
pub(super) enum Fault {
    Broken(String),
    Limit(String),
    Stop,
}

impl From<BoundedError> for Fault {
    fn from(error: BoundedError) -> Self {
        match error {
            BoundedError::LimitExceeded { .. } | BoundedError::Io(_) => Self::Limit(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

pub(super) fn broken<T>(why: &str) -> Result<T, Fault> {
    Err(Fault::Broken(why.to_owned()))
}

/// One run over one pickle.
pub(super) struct Machine<'c, 's> {
    pub(super) cursor: &'c mut Cursor<'s>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value, Fast>,
    pub(super) heap: Heap,
    frame_end: Option<u64>,
    opcodes: u64,
    /// What was put into containers, in full, where the caller asked for it; the heap keeps only what judgement needs.
    pub(super) filled: Option<Filled>,
    /// What STOP hands over.
    pub(super) result: Option<Value>,
}

/// Items put into objects, by the object's index in the heap.
#[derive(Default)]
pub(super) struct Filled {
    items: HashMap<u32, Vec<Value>>,
    count: usize,
    /// More was put than is kept.
    pub(super) cut: bool,
}

impl Filled {
    /// Items kept of one pickle, 32 bytes each: a checkpoint has some ten thousand tensors, a vocabulary a million words.
    const ITEMS_MAX: usize = 2 << 20;

    /// Everything put into `target`, keys and values in turn for a dictionary.
    pub(super) fn of(&self, target: Value) -> &[Value] {
        match target {
            Value::Node(index) => self.items.get(&index).map(Vec::as_slice).unwrap_or_default(),
            _ => &[],
        }
    }

    fn add(&mut self, target: Value, items: &[Value]) {
        let Value::Node(index) = target else { return };
        if self.count + items.len() > Self::ITEMS_MAX {
            self.cut = true;
            return;
        }
        self.count += items.len();
        self.items.entry(index).or_default().extend_from_slice(items);
    }
}

/// Memo keys are small and dense; the default hash costs more than the rest of a step. Keys chosen to collide cost at most
/// [`MEMO_MAX`] entries, and the step budget looks at the clock.
#[derive(Clone, Copy, Default)]
pub(super) struct Fast;

pub(super) struct FastHasher(u64);

impl std::hash::BuildHasher for Fast {
    type Hasher = FastHasher;
    fn build_hasher(&self) -> FastHasher {
        FastHasher(0)
    }
}

impl std::hash::Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl<'c, 's> Machine<'c, 's> {
    pub(super) fn new(cursor: &'c mut Cursor<'s>) -> Self {
        Self {
            cursor,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::default(),
            heap: Heap::default(),
            frame_end: None,
            opcodes: 0,
            filled: None,
            result: None,
        }
    }

    /// Opcodes executed.
    pub(super) fn opcodes(&self) -> u64 {
        self.opcodes
    }

    /// Runs to STOP, to an error, or to a limit; what was judged so far stays in the judge.
    pub(super) fn run(&mut self, judge: &mut Judge<'_>, budget: &mut Budget) -> End {
        loop {
            if self.opcodes.is_multiple_of(STEPS_PER_CHECK)
                && let Err(error) = budget.spend_steps(STEPS_PER_CHECK)
            {
                return End::Limit(error.to_string());
            }
            self.opcodes += 1;
            let offset = self.cursor.position();
            let step = self.cursor.u8().map_err(Fault::from).and_then(|code| {
                self.step(code, At { offset, code }, judge, budget)?;
                self.check_frame(At { offset, code }, judge);
                Ok(())
            });
            match step {
                Ok(()) => {}
                Err(Fault::Stop) => return End::Stop,
                Err(Fault::Broken(why)) => return End::Broken(why),
                Err(Fault::Limit(why)) => return End::Limit(why),
            }
        }
    }

    /// No conforming pickler lets an opcode cross the end of its frame; unpicklers disagree about what such a file says.
    fn check_frame(&mut self, at: At, judge: &mut Judge<'_>) {
        let Some(end) = self.frame_end else { return };
        if self.cursor.position() > end {
            judge.frame(at, "an opcode crosses the end of its frame");
        }
        if self.cursor.position() >= end {
            self.frame_end = None;
        }
    }

    fn step(&mut self, code: u8, at: At, judge: &mut Judge<'_>, budget: &mut Budget) -> Result<(), Fault> {
        match code {
            op::NONE => self.push(Value::None),
            op::NEWTRUE => self.push(Value::Bool(true)),
            op::NEWFALSE => self.push(Value::Bool(false)),
            op::BININT | op::BININT1 | op::BININT2 | op::INT | op::LONG | op::LONG1 | op::LONG4 | op::FLOAT | op::BINFLOAT => self.numbers(code),
            op::STRING
            | op::BINSTRING
            | op::SHORT_BINSTRING
            | op::UNICODE
            | op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8
            | op::BINBYTES
            | op::SHORT_BINBYTES
            | op::BINBYTES8
            | op::BYTEARRAY8 => self.constants(code, at, judge),
            op::NEXT_BUFFER => self.push(Value::Opaque),
            op::READONLY_BUFFER => self.top().map(|_| ()),
            op::MARK => {
                if self.marks.len() >= STACK_MAX {
                    return Err(Fault::Limit("marks nested deeper than the limit".to_owned()));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::POP => self.pop_or_mark(),
            op::POP_MARK => self.pop_mark().map(|_| ()),
            op::DUP => self.top().and_then(|top| self.push(top)),
            op::STOP => {
                self.result = Some(self.pop()?);
                Err(Fault::Stop)
            }
            op::PROTO => match self.cursor.u8()? {
                0..=5 => Ok(()),
                _ => broken("the protocol is above 5"),
            },
            op::FRAME => self.frame(at, judge),
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE | op::GET | op::BINGET | op::LONG_BINGET => self.memo(code),
            op::EMPTY_TUPLE
            | op::TUPLE
            | op::TUPLE1
            | op::TUPLE2
            | op::TUPLE3
            | op::EMPTY_LIST
            | op::LIST
            | op::EMPTY_DICT
            | op::DICT
            | op::EMPTY_SET
            | op::FROZENSET => self.containers(code),
            op::APPEND | op::APPENDS | op::ADDITEMS | op::SETITEM | op::SETITEMS => self.fill(code, at, judge),
            op::GLOBAL | op::STACK_GLOBAL | op::EXT1 | op::EXT2 | op::EXT4 => self.import(code, at, judge),
            op::PERSID => {
                let id = self.line_text()?;
                self.persistent(Value::Text(id), judge)
            }
            op::BINPERSID => {
                let id = self.pop()?;
                self.persistent(id, judge)
            }
            op::REDUCE | op::NEWOBJ | op::NEWOBJ_EX | op::INST | op::OBJ => self.call(code, at, judge),
            op::BUILD => self.build(at, judge, budget),
            _ => broken("an opcode that no protocol has"),
        }
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), Fault> {
        if self.stack.len() >= STACK_MAX {
            return Err(Fault::Limit("the stack is larger than the limit".to_owned()));
        }
        self.stack.push(value);
        Ok(())
    }

    /// The stack below the last mark is out of reach of everything but the mark itself.
    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value, Fault> {
        if self.stack.len() <= self.fence() {
            return broken("the stack is empty");
        }
        self.stack.pop().map_or_else(|| broken("the stack is empty"), Ok)
    }

    fn top(&self) -> Result<Value, Fault> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.fence() => Ok(*value),
            _ => broken("the stack is empty"),
        }
    }

    fn pop_or_mark(&mut self) -> Result<(), Fault> {
        if self.stack.len() > self.fence() {
            self.stack.pop();
            return Ok(());
        }
        self.marks.pop().map_or_else(|| broken("the stack is empty"), |_| Ok(()))
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, Fault> {
        let mark = self.marks.pop().map_or_else(|| broken("there is no mark"), Ok)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn frame(&mut self, at: At, judge: &mut Judge<'_>) -> Result<(), Fault> {
        let len = self.cursor.u64_le()?;
        if self.frame_end.is_some_and(|end| self.cursor.position() < end) {
            judge.frame(at, "a frame begins inside another");
        }
        if len > self.cursor.remaining() {
            return broken("a frame is longer than the file");
        }
        self.frame_end = Some(self.cursor.position() + len);
        Ok(())
    }

    fn memo(&mut self, code: u8) -> Result<(), Fault> {
        let key = match code {
            op::MEMOIZE => self.memo.len() as u64,
            op::BINPUT | op::BINGET => self.cursor.u8()?.into(),
            op::LONG_BINPUT | op::LONG_BINGET => self.cursor.u32_le()?.into(),
            _ => {
                let line = self.cursor.line(LINE_BYTES_MAX)?;
                match std::str::from_utf8(&line).ok().and_then(|text| text.trim().parse().ok()) {
                    Some(key) => key,
                    None => return broken("a memo key that is no number"),
                }
            }
        };
        if matches!(code, op::GET | op::BINGET | op::LONG_BINGET) {
            let value = self.memo.get(&key).copied();
            return value.map_or_else(|| broken("a memo entry that was never stored"), |value| self.push(value));
        }
        let top = self.top()?;
        if self.memo.len() >= MEMO_MAX && !self.memo.contains_key(&key) {
            return Err(Fault::Limit("the memo is larger than the limit".to_owned()));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn containers(&mut self, code: u8) -> Result<(), Fault> {
        let count = match code {
            op::TUPLE1 => 1,
            op::TUPLE2 => 2,
            op::TUPLE3 => 3,
            _ => 0,
        };
        let items = match code {
            op::TUPLE | op::LIST | op::DICT | op::FROZENSET => self.pop_mark()?,
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                if self.stack.len() < self.fence() + count {
                    return broken("the stack is empty");
                }
                self.stack.split_off(self.stack.len() - count)
            }
            _ => Vec::new(),
        };
        let value = match code {
            op::EMPTY_LIST | op::LIST | op::EMPTY_SET | op::FROZENSET => {
                let list = self.heap.node(Node::List { items: Vec::new(), len: 0 });
                self.heap.extend(list, &items);
                list
            }
            op::EMPTY_DICT | op::DICT => {
                let dict = self.heap.node(Node::Dict { pairs: Vec::new(), len: 0 });
                self.heap.insert(dict, &items);
                dict
            }
            _ => self.heap.tuple(&items),
        };
        if let (Some(filled), op::LIST | op::DICT) = (&mut self.filled, code) {
            filled.add(value, &items);
        }
        self.push(value)
    }

    fn fill(&mut self, code: u8, at: At, judge: &mut Judge<'_>) -> Result<(), Fault> {
        let items = match code {
            op::APPEND => vec![self.pop()?],
            op::SETITEM => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let target = self.top()?;
        if let Some(filled) = &mut self.filled {
            filled.add(target, &items);
        }
        if matches!(code, op::SETITEM | op::SETITEMS) {
            if items.len() % 2 != 0 {
                return broken("a key without a value");
            }
            self.heap.insert(target, &items);
        } else {
            self.heap.extend(target, &items);
        }
        judge.filled(&self.heap, target, at);
        Ok(())
    }

    fn import(&mut self, code: u8, at: At, judge: &mut Judge<'_>) -> Result<(), Fault> {
        let value = match code {
            op::GLOBAL => {
                let (module, name) = (self.name_line()?, self.name_line()?);
                self.heap.global(&module, &name)
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.constant_name(module), self.constant_name(name)) {
                    (Some(module), Some(name)) => self.heap.global(&module, &name),
                    _ => {
                        judge.computed(&self.heap, module, name, at);
                        return self.push(Value::Unknown);
                    }
                }
            }
            _ => {
                let key = match code {
                    op::EXT1 => self.cursor.u8()?.into(),
                    op::EXT2 => self.cursor.u16_le()?.into(),
                    _ => self.cursor.u32_le()?,
                };
                judge.extension(&mut self.heap, key, at)
            }
        };
        judge.imported(&mut self.heap, value, at);
        self.push(value)
    }

    fn constant_name(&self, value: Value) -> Option<String> {
        match value {
            Value::Text(text) => text.resolve(self.cursor.source(), NAME_BYTES_MAX),
            _ => None,
        }
    }

    fn name_line(&mut self) -> Result<String, Fault> {
        let line = self.cursor.line(NAME_BYTES_MAX)?;
        String::from_utf8(line).map_or_else(|_| broken("a name that is not text"), Ok)
    }

    fn persistent(&mut self, id: Value, judge: &mut Judge<'_>) -> Result<(), Fault> {
        judge.persistent(&self.heap, id);
        let node = self.heap.node(Node::Persistent(id));
        self.push(node)
    }

    fn call(&mut self, code: u8, at: At, judge: &mut Judge<'_>) -> Result<(), Fault> {
        let (callable, arguments, kind) = match code {
            op::REDUCE => {
                let arguments = self.pop()?;
                (self.pop()?, arguments, CallKind::Call)
            }
            op::NEWOBJ => {
                let arguments = self.pop()?;
                (self.pop()?, arguments, CallKind::New)
            }
            op::NEWOBJ_EX => {
                let (named, arguments) = (self.pop()?, self.pop()?);
                let both = self.heap.tuple(&[arguments, named]);
                (self.pop()?, both, CallKind::New)
            }
            op::INST => {
                let (module, name) = (self.name_line()?, self.name_line()?);
                let items = self.pop_mark()?;
                let callable = self.heap.global(&module, &name);
                judge.imported(&mut self.heap, callable, at);
                (callable, self.heap.tuple(&items), CallKind::Call)
            }
            _ => {
                let items = self.pop_mark()?;
                let Some((callable, items)) = items.split_first() else { return broken("an object without a class") };
                (*callable, self.heap.tuple(items), CallKind::Call)
            }
        };
        let result = judge.called(&mut self.heap, callable, arguments, kind, at);
        self.push(result)
    }

    fn build(&mut self, at: At, judge: &mut Judge<'_>, budget: &mut Budget) -> Result<(), Fault> {
        let state = self.pop()?;
        let instance = self.top()?;
        let follows = judge.built(&mut self.heap, instance, state, at);
        if let (Some(end), false) = (self.frame_end, matches!(follows, Follows::Opcodes)) {
            // joblib closes the frame before it writes an array; its reader would take the array from behind the frame.
            if self.cursor.position() < end {
                judge.frame(at, "an array stands inside a frame");
            }
            self.frame_end = None;
        }
        match follows {
            Follows::Opcodes => Ok(()),
            Follows::Array { aligned, bytes } => {
                if aligned {
                    let padding = self.cursor.u8()?;
                    self.cursor.skip(padding.into())?;
                }
                Ok(self.cursor.skip(bytes)?)
            }
            Follows::Pickle => {
                if judge.inline_depth >= INLINE_DEPTH_MAX {
                    return Err(Fault::Limit("arrays of objects are nested deeper than the limit".to_owned()));
                }
                judge.inline_depth += 1;
                let mut inner = Machine::new(self.cursor);
                let end = inner.run(judge, budget);
                judge.finish(&inner.heap);
                judge.inline_depth -= 1;
                match end {
                    End::Stop => Ok(()),
                    End::Broken(why) => Err(Fault::Broken(why)),
                    End::Limit(why) => Err(Fault::Limit(why)),
                }
            }
            Follows::Unknown(why) => Err(Fault::Limit(why)),
        }
    }
}
