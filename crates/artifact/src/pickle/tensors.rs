//! Which part of which storage each tensor of a PyTorch pickle is, and what the checkpoint calls it.

use super::judge::Judge;
use super::machine::{End, Filled, Machine};
use super::value::{Heap, Node, Value};
use super::{TORCH_MAGIC, TORCH_PICKLES, element_size};
use crate::Format;
use crate::scan::Scan;
use crate::tensors::{Data, Run, Table, Tensor};
use picket_bounded::{Cursor, Source};
use std::collections::{HashMap, HashSet};

/// Containers inside one another on the way to a tensor. Models nest some tens of modules.
const DEPTH_MAX: u32 = 128;
/// Longest key that becomes part of a name.
const KEY_BYTES_MAX: u64 = 1024;
/// Dimensions of a tensor; PyTorch allows 64.
const DIMENSIONS_MAX: usize = 64;

/// A tensor as a view of a storage.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    /// Empty where the elements stand one behind another.
    pub(crate) stride: Vec<u64>,
    /// The storage.
    pub(crate) key: String,
    /// The part of the storage that the view touches, in bytes; nothing where it cannot be told.
    pub(crate) part: Option<Run>,
}

impl View {
    /// As a tensor whose storage is at `storage`.
    pub(crate) fn place(self, storage: Run, table: &mut Table) {
        let part = self.part.filter(|part| part.offset.checked_add(part.len).is_some_and(|end| end <= storage.len));
        let Some(part) = part else {
            table.incomplete(&format!("the tensor {} reaches past its storage or has no possible size", self.name));
            return;
        };
        let data = Data::run(storage.offset.saturating_add(part.offset), part.len);
        table.add(Tensor { name: self.name, dtype: self.dtype, shape: self.shape, stride: self.stride, data });
    }
}

/// The tensors of one pickle, and the keys of all storages it names with their sizes in bytes where the class tells them.
pub(crate) fn views(scan: &mut Scan<'_>, source: &dyn Source, table: &mut Table) -> (Vec<View>, Vec<(String, Option<u64>)>) {
    let mut cursor = Cursor::new(source);
    views_at(scan, source, &mut cursor, table)
}

fn views_at(scan: &mut Scan<'_>, source: &dyn Source, cursor: &mut Cursor<'_>, table: &mut Table) -> (Vec<View>, Vec<(String, Option<u64>)>) {
    let mut judge = Judge::new(source, "", 0);
    let mut machine = Machine::new(cursor);
    machine.filled = Some(Filled::default());
    match machine.run(&mut judge, &mut scan.budget) {
        End::Stop => {}
        End::Broken(why) | End::Limit(why) => table.incomplete(&format!("the pickle that names the tensors was not read to its end: {why}")),
    }
    let filled = machine.filled.take().unwrap_or_default();
    if filled.cut {
        table.incomplete("the pickle holds more items than are looked through for tensors");
    }
    let mut walk = Walk { heap: &machine.heap, filled: &filled, source, seen: HashSet::new(), views: Vec::new(), deep: false };
    if let Some(result) = machine.result {
        walk.value(result, "", DEPTH_MAX);
    }
    if walk.deep {
        table.incomplete("tensors stand deeper in the pickle than is looked");
    }
    let mut seen = HashSet::new();
    let storages = judge.storages.iter().filter(|storage| seen.insert(storage.key.clone()));
    let sized = storages.map(|storage| (storage.key.clone(), element_size(&storage.class).and_then(|size| size.checked_mul(storage.elements)))).collect();
    (walk.views, sized)
}

struct Walk<'w> {
    heap: &'w Heap,
    filled: &'w Filled,
    source: &'w dyn Source,
    seen: HashSet<u32>,
    views: Vec<View>,
    deep: bool,
}

impl Walk<'_> {
    fn value(&mut self, value: Value, path: &str, depth: u32) {
        let Value::Node(index) = value else { return };
        if let Some(view) = self.view(value, path) {
            // The same tensor under two names is two entries; containers are entered once.
            return self.views.push(view);
        }
        if !self.seen.insert(index) {
            return;
        }
        let Some(depth) = depth.checked_sub(1) else {
            self.deep = true;
            return;
        };
        match self.heap.get(value) {
            Some(Node::Dict { .. }) => self.pairs(value, path, depth),
            Some(Node::List { .. }) => self.items(self.filled.of(value).to_vec(), path, depth),
            Some(Node::Tuple { .. }) => self.items(self.heap.items(value).to_vec(), path, depth),
            Some(Node::Call { arguments, state, .. }) => {
                let (arguments, state) = (*arguments, *state);
                match self.heap.class_of(value).map(|class| class.name.as_str()) {
                    Some("_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                        if let Some(data) = self.heap.items(arguments).first().copied() {
                            self.value(data, path, depth);
                        }
                    }
                    _ => {
                        self.pairs(value, path, depth);
                        self.value(state, path, depth);
                        self.items(self.heap.items(arguments).to_vec(), path, depth);
                    }
                }
            }
            _ => {}
        }
    }

    fn pairs(&mut self, target: Value, path: &str, depth: u32) {
        for pair in self.filled.of(target).to_vec().chunks_exact(2) {
            let [key, value] = pair else { continue };
            let key = match key {
                Value::Text(text) => text.resolve(self.source, KEY_BYTES_MAX).unwrap_or_else(|| "?".to_owned()),
                Value::Int(number) => number.to_string(),
                _ => "?".to_owned(),
            };
            // Where whole modules are pickled, these attributes hold what a state dictionary names without them.
            let inner = match key.as_str() {
                "_parameters" | "_buffers" | "_modules" => path.to_owned(),
                _ => join(path, &key),
            };
            self.value(*value, &inner, depth);
        }
    }

    fn items(&mut self, items: Vec<Value>, path: &str, depth: u32) {
        for (position, item) in items.into_iter().enumerate() {
            if matches!(item, Value::Node(_)) {
                self.value(item, &join(path, &position.to_string()), depth);
            }
        }
    }

    /// The view that a call of one of PyTorch's functions makes.
    fn view(&self, value: Value, path: &str) -> Option<View> {
        let Some(Node::Call { callable, arguments, .. }) = self.heap.get(value) else { return None };
        let (mut function, mut arguments) = (*callable, *arguments);
        if self.heap.named(function)?.name == "_rebuild_from_type_v2" {
            let items = self.heap.items(arguments);
            (function, arguments) = (*items.first()?, *items.get(2)?);
        }
        let function = self.heap.named(function)?;
        if !matches!(function.name.as_str(), "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3" | "_rebuild_qtensor") {
            return None;
        }
        let items = self.heap.items(arguments);
        let Some(Node::Persistent(id)) = self.heap.get(*items.first()?) else { return None };
        let [_, class, Value::Text(key), ..] = self.heap.items(*id) else { return None };
        let key = key.resolve(self.source, 256)?;
        let class = self.heap.named(*class)?.name.clone();
        let (dtype, size) = match items.get(6).and_then(|dtype| self.heap.named(*dtype)).filter(|_| function.name == "_rebuild_tensor_v3") {
            Some(dtype) => (dtype.name.clone(), type_size(&dtype.name)),
            None => (class.strip_suffix("Storage").unwrap_or(&class).to_owned(), element_size(&class)),
        };
        let (shape, stride) = (self.numbers(*items.get(2)?)?, self.numbers(*items.get(3)?)?);
        let Some(Value::Int(first)) = items.get(1) else { return None };
        let part = u64::try_from(*first).ok().and_then(|first| part(first, &shape, &stride, size?));
        let stride = if contiguous(&shape, &stride) { Vec::new() } else { stride };
        let name = if path.is_empty() { "tensor".to_owned() } else { path.to_owned() };
        Some(View { name, dtype, shape, stride, key, part })
    }

    fn numbers(&self, tuple: Value) -> Option<Vec<u64>> {
        let items = self.heap.items(tuple);
        if items.len() > DIMENSIONS_MAX {
            return None;
        }
        items.iter().map(|item| if let Value::Int(number) = item { u64::try_from(*number).ok() } else { None }).collect()
    }
}

fn join(path: &str, part: &str) -> String {
    // A hostile nest of long keys would make names that grow with its depth.
    let mut joined = if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    if joined.len() > 4096 {
        joined = joined.chars().take(1024).collect();
    }
    joined
}

/// The bytes between the first and the last element that a view touches.
fn part(first: u64, shape: &[u64], stride: &[u64], size: u64) -> Option<Run> {
    if shape.len() != stride.len() {
        return None;
    }
    let offset = first.checked_mul(size)?;
    if shape.contains(&0) {
        return Some(Run { offset, len: 0 });
    }
    let last = shape.iter().zip(stride).try_fold(0_u64, |sum, (length, step)| sum.checked_add((length - 1).checked_mul(*step)?))?;
    Some(Run { offset, len: last.checked_add(1)?.checked_mul(size)? })
}

fn contiguous(shape: &[u64], stride: &[u64]) -> bool {
    let mut expected = 1_u64;
    for (length, step) in shape.iter().zip(stride).rev() {
        if *length != 1 && *step != expected {
            return false;
        }
        expected = expected.saturating_mul(*length);
    }
    true
}

/// Bytes of a `torch.dtype`.
fn type_size(name: &str) -> Option<u64> {
    Some(match name {
        "bool" | "uint8" | "int8" => 1,
        name if name.starts_with("float8") => 1,
        "float16" | "bfloat16" | "int16" | "uint16" => 2,
        "float32" | "int32" | "uint32" => 4,
        "float64" | "int64" | "uint64" | "complex64" => 8,
        "complex128" => 16,
        _ => return None,
    })
}

/// The tensors of a `torch.save` file from before the zip form: five pickles, then storages in the order the fifth names.
pub(crate) fn legacy_tensors(scan: &mut Scan<'_>, source: &dyn Source, table: &mut Table) -> Format {
    let mut cursor = Cursor::new(source);
    if cursor.array::<15>().map_or(true, |head| head != *TORCH_MAGIC) {
        return Format::Pickle;
    }
    let (mut views, mut sizes, mut order) = (Vec::new(), HashMap::new(), Vec::new());
    for number in 1..TORCH_PICKLES {
        if number == 3 {
            let (found, storages) = views_at(scan, source, &mut cursor, table);
            views = found;
            sizes = storages.into_iter().collect();
            continue;
        }
        let mut machine = Machine::new(&mut cursor);
        machine.filled = Some(Filled::default());
        let end = machine.run(&mut Judge::new(source, "", 0), &mut scan.budget);
        if let End::Broken(why) | End::Limit(why) = end {
            table.incomplete(&format!("a pickle before the tensors was not read to its end: {why}"));
            return Format::PytorchLegacy;
        }
        let keys = machine.result.zip(machine.filled.as_ref()).map(|(result, filled)| filled.of(result).to_vec()).unwrap_or_default();
        order = keys.into_iter().filter_map(|key| if let Value::Text(text) = key { text.resolve(source, 256) } else { None }).collect();
    }
    let mut places = HashMap::new();
    let mut at = cursor.position();
    for key in order {
        let Some(Some(len)) = sizes.get(&key) else {
            table.incomplete(&format!("the storage {key} has no known size; what follows it was not placed"));
            break;
        };
        // Eight bytes of element count stand before the elements.
        let Some(offset) = at.checked_add(8) else { break };
        places.insert(key, Run { offset, len: *len });
        at = offset.saturating_add(*len);
    }
    attach(views, &places, table);
    Format::PytorchLegacy
}

/// Places every view in its storage, and names the storages that no tensor was found for.
pub(crate) fn attach(views: Vec<View>, places: &HashMap<String, Run>, table: &mut Table) {
    let used: HashSet<String> = views.iter().map(|view| view.key.clone()).collect();
    for view in views {
        match places.get(&view.key) {
            Some(storage) => view.place(*storage, table),
            None => table.incomplete(&format!("the storage {} of the tensor {} is not in the file", view.key, view.name)),
        }
    }
    let mut rest: Vec<(&String, &Run)> = places.iter().filter(|(key, _)| !used.contains(*key)).collect();
    rest.sort();
    for (key, run) in rest {
        table.add(Tensor {
            name: format!("storage:{key}"),
            dtype: "bytes".to_owned(),
            shape: vec![run.len],
            stride: Vec::new(),
            data: Data::run(run.offset, run.len),
        });
    }
}
