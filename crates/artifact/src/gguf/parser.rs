//! GGUF versions 1 to 3, both byte orders (ggml `docs/gguf.md`).

use picket_bounded::{BoundedError, Budget, Cursor, Source};
use std::collections::HashSet;

/// Longest key (the specification's limit).
const KEY_BYTES_MAX: u64 = 65_535;
/// Longest string kept; vocabularies are skipped, templates have some kilobytes.
const TEMPLATE_BYTES_MAX: u64 = 4 << 20;
/// Templates of one model; named ones are one a purpose.
const TEMPLATES_MAX: usize = 64;
/// ggml's own limit.
const DIMENSIONS_MAX: u32 = 4;
/// Names are held; ggml's limit is 64 bytes.
const NAME_BYTES_MAX: u64 = 256;
/// Arrays inside arrays: no writer makes one, readers recurse without a limit.
const ARRAY_DEPTH_MAX: u32 = 4;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) templates: Vec<(String, String)>,
    pub(super) tensors: Vec<Tensor>,
    pub(super) duplicates: Vec<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) alignment: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self { templates: Vec::new(), tensors: Vec::new(), duplicates: Vec::new(), faults: Vec::new(), alignment: 32 }
    }
}

#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// ggml's number of the element type.
    pub(super) kind: u32,
    pub(super) shape: Vec<u64>,
    pub(super) offset: u64,
    /// Nothing when the type is unknown.
    pub(super) bytes: Option<u64>,
    /// Where it is described.
    pub(super) at: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    Overflow,
    Malformed,
    NotRead,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) kind: FaultKind,
    pub(super) explanation: String,
}

impl Fault {
    pub(super) fn overflow(offset: u64, explanation: String) -> Self {
        Self { offset, kind: FaultKind::Overflow, explanation }
    }

    pub(super) fn malformed(offset: u64, explanation: String) -> Self {
        Self { offset, kind: FaultKind::Malformed, explanation }
    }
}

struct Parser<'c, 's> {
    cursor: Cursor<'s>,
    big: bool,
    version: u32,
    budget: &'c mut Budget,
}

/// Reads everything before the tensor data into `model`; returns where the data begins.
pub(super) fn parse(source: &dyn Source, model: &mut Model, budget: &mut Budget) -> Result<u64, Fault> {
    let mut parser = Parser { cursor: Cursor::new(source), big: false, version: 0, budget };
    let (tensors, pairs) = parser.header()?;
    let mut seen = HashSet::new();
    for _ in 0..pairs {
        parser.pair(model, &mut seen)?;
    }
    seen.clear();
    for _ in 0..tensors {
        let tensor = parser.tensor(model)?;
        if !seen.insert(tensor.name.clone()) {
            model.duplicates.push(tensor.name.clone());
        }
        model.tensors.push(tensor);
    }
    let at = parser.cursor.position();
    at.checked_next_multiple_of(model.alignment).ok_or_else(|| Fault::overflow(at, "The data begins beyond what 64 bits can address.".to_owned()))
}

impl Parser<'_, '_> {
    fn fault(&self, error: BoundedError) -> Fault {
        let offset = self.cursor.position();
        match error {
            BoundedError::Truncated { offset, wanted } => Fault::overflow(offset, format!("A length or count asks for {wanted} bytes where the file ends.")),
            BoundedError::LimitExceeded { .. } | BoundedError::Io(_) => Fault { offset, kind: FaultKind::NotRead, explanation: error.to_string() },
            _ => Fault::malformed(offset, error.to_string()),
        }
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let value = if self.big { self.cursor.u32_be() } else { self.cursor.u32_le() };
        value.map_err(|error| self.fault(error))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        let value = if self.big { self.cursor.u64_be() } else { self.cursor.u64_le() };
        value.map_err(|error| self.fault(error))
    }

    /// Counts and lengths have 32 bits in version 1.
    fn size(&mut self) -> Result<u64, Fault> {
        if self.version == 1 { self.u32().map(u64::from) } else { self.u64() }
    }

    fn header(&mut self) -> Result<(u64, u64), Fault> {
        self.cursor.skip(4).map_err(|error| self.fault(error))?;
        self.version = self.u32()?;
        if self.version.swap_bytes() <= 3 && self.version > 3 {
            self.big = true;
            self.version = self.version.swap_bytes();
        }
        if !(1..=3).contains(&self.version) {
            return Err(Fault { offset: 4, kind: FaultKind::NotRead, explanation: format!("GGUF version {} is not read", self.version) });
        }
        let (tensors, pairs) = (self.size()?, self.size()?);
        let left = self.cursor.remaining();
        // The smallest pair: an empty key, its type, one byte. The smallest tensor: an empty name, no dimensions, type, offset.
        let length_bytes = if self.version == 1 { 4 } else { 8 };
        let needed = pairs.checked_mul(length_bytes + 5).zip(tensors.checked_mul(length_bytes + 16)).and_then(|(pairs, tensors)| pairs.checked_add(tensors));
        if needed.is_none_or(|needed| needed > left) {
            return Err(Fault::overflow(8, format!("{tensors} tensors and {pairs} keys are announced, for which the file has no room.")));
        }
        Ok((tensors, pairs))
    }

    fn text(&mut self, cap: u64) -> Result<String, Fault> {
        let length = self.size()?;
        if length > self.cursor.remaining() {
            return Err(Fault::overflow(self.cursor.position(), format!("A text of {length} bytes is announced, more than the file has.")));
        }
        let bytes = self.cursor.take(length, cap).map_err(|error| self.fault(error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn pair(&mut self, model: &mut Model, seen: &mut HashSet<String>) -> Result<(), Fault> {
        self.budget.spend_steps(1).map_err(|error| Fault { offset: 0, kind: FaultKind::NotRead, explanation: error.to_string() })?;
        let key = self.text(KEY_BYTES_MAX)?;
        let kind = self.u32()?;
        if !seen.insert(key.clone()) {
            model.duplicates.push(key.clone());
        }
        if key == "general.alignment" && kind == 4 {
            let at = self.cursor.position();
            let alignment = u64::from(self.u32()?);
            if !alignment.is_power_of_two() {
                return Err(Fault::malformed(at, format!("The alignment {alignment} is no power of two.")));
            }
            model.alignment = alignment;
            return Ok(());
        }
        if is_template(&key) && kind == 8 {
            if model.templates.len() >= TEMPLATES_MAX {
                return Err(Fault { offset: self.cursor.position(), kind: FaultKind::NotRead, explanation: "more chat templates than the limit".to_owned() });
            }
            let template = self.text(TEMPLATE_BYTES_MAX)?;
            model.templates.push((key, template));
            return Ok(());
        }
        self.skip(kind, ARRAY_DEPTH_MAX)
    }

    fn skip(&mut self, kind: u32, depth: u32) -> Result<(), Fault> {
        let bytes = match (kind, width(kind)) {
            (_, Some(bytes)) => bytes,
            (8, _) => self.size()?,
            (9, _) => return self.skip_array(depth),
            _ => return Err(Fault::malformed(self.cursor.position(), format!("A value has the unknown type {kind}."))),
        };
        self.cursor.skip(bytes).map_err(|error| self.fault(error))
    }

    fn skip_array(&mut self, depth: u32) -> Result<(), Fault> {
        let at = self.cursor.position();
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Fault::malformed(at, "Arrays stand inside one another deeper than any writer makes them.".to_owned()));
        };
        let (kind, count) = (self.u32()?, self.size()?);
        if let Some(bytes) = width(kind) {
            let Some(bytes) = count.checked_mul(bytes) else { return Err(Fault::overflow(at, format!("An array of {count} values does not fit 64 bits."))) };
            return self.cursor.skip(bytes).map_err(|error| self.fault(error));
        }
        // Each further value has at least a length.
        if count > self.cursor.remaining() / 4 {
            return Err(Fault::overflow(at, format!("An array of {count} values is announced, for which the file has no room.")));
        }
        self.budget.spend_steps(count).map_err(|error| Fault { offset: at, kind: FaultKind::NotRead, explanation: error.to_string() })?;
        for _ in 0..count {
            self.skip(kind, depth)?;
        }
        Ok(())
    }

    fn tensor(&mut self, model: &mut Model) -> Result<Tensor, Fault> {
        let at = self.cursor.position();
        self.budget.spend_steps(1).map_err(|error| Fault { offset: at, kind: FaultKind::NotRead, explanation: error.to_string() })?;
        let name = self.text(NAME_BYTES_MAX)?;
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS_MAX {
            return Err(Fault::overflow(at, format!("The tensor {name} has {dimensions} dimensions; readers reserve room for {DIMENSIONS_MAX}.")));
        }
        let mut elements = Some(1_u64);
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let length = self.size()?;
            shape.push(length);
            elements = elements.and_then(|elements| elements.checked_mul(length));
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        if elements.is_none_or(|elements| i64::try_from(elements).is_err()) {
            model.faults.push(Fault::overflow(at, format!("The shape of {name} does not fit 63 bits.")));
        }
        let bytes = elements.zip(block(kind)).and_then(|(elements, (count, bytes))| elements.div_ceil(count).checked_mul(bytes));
        if elements.is_some() && block(kind).is_some() && bytes.is_none() {
            model.faults.push(Fault::overflow(at, format!("The size of {name} does not fit 64 bits.")));
        }
        Ok(Tensor { name, kind, shape, offset, bytes, at })
    }
}

fn is_template(key: &str) -> bool {
    key.rsplit_once("chat_template").is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
}

/// Bytes of a value of fixed size.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Elements and bytes of a block of each ggml type.
fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),       // F32
        1 | 30 => (1, 2),  // F16, BF16
        2 => (32, 18),     // Q4_0
        3 => (32, 20),     // Q4_1
        6 => (32, 22),     // Q5_0
        7 => (32, 24),     // Q5_1
        8 => (32, 34),     // Q8_0
        9 => (32, 36),     // Q8_1
        10 => (256, 84),   // Q2_K
        11 => (256, 110),  // Q3_K
        12 => (256, 144),  // Q4_K
        13 => (256, 176),  // Q5_K
        14 => (256, 210),  // Q6_K
        15 => (256, 292),  // Q8_K
        16 => (256, 66),   // IQ2_XXS
        17 => (256, 74),   // IQ2_XS
        18 => (256, 98),   // IQ3_XXS
        19 => (256, 50),   // IQ1_S
        20 => (32, 18),    // IQ4_NL
        21 => (256, 110),  // IQ3_S
        22 => (256, 82),   // IQ2_S
        23 => (256, 136),  // IQ4_XS
        24 => (1, 1),      // I8
        25 => (1, 2),      // I16
        26 => (1, 4),      // I32
        27 | 28 => (1, 8), // I64, F64
        29 => (256, 56),   // IQ1_M
        34 => (256, 54),   // TQ1_0
        35 => (256, 66),   // TQ2_0
        39 => (32, 17),    // MXFP4
        _ => return None,
    })
}
