//! The parts of a TFLite flatbuffer that decide what runs: operator codes, subgraphs, buffers.

use picket_bounded::{BoundedError, Budget, Cursor, Source, read_range};

/// Elements of one vector; models have some thousand tensors.
const ELEMENTS_MAX: u32 = 4_000_000;
/// A custom operator's name.
const NAME_BYTES_MAX: u64 = 4096;

pub(super) type Parsed<T> = Result<T, BoundedError>;

/// An operator code: a built-in by number, or a custom one by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) builtin: i32,
    pub(super) custom: Option<String>,
    pub(super) at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) operators: Vec<Operator>,
    /// Uses of each operator code, by index, that lie outside the list.
    pub(super) dangling: u64,
    /// Buffers that reach past the end.
    pub(super) outside: u64,
    /// Where the last byte that the model names stands.
    pub(super) end: u64,
}

/// A table: where it is and where its field offsets are.
struct Table {
    at: u64,
    fields: Vec<u16>,
}

struct Parser<'p, 's> {
    cursor: Cursor<'s>,
    source: &'s dyn Source,
    budget: &'p mut Budget,
}

pub(super) fn parse(source: &dyn Source, budget: &mut Budget) -> Parsed<Model> {
    let mut parser = Parser { cursor: Cursor::new(source), source, budget };
    let mut model = Model::default();
    let root = parser.u32_at(0)?;
    let root = parser.table(root.into())?;
    // Model: operator_codes 1, subgraphs 2, buffers 4.
    for at in parser.tables(&root, 1)? {
        let code = parser.table(at)?;
        let operator = parser.operator(&code)?;
        model.operators.push(operator);
    }
    for at in parser.tables(&root, 2)? {
        parser.subgraph(at, &mut model)?;
    }
    for at in parser.tables(&root, 4)? {
        parser.buffer(at, &mut model)?;
    }
    Ok(model)
}

impl Parser<'_, '_> {
    fn u32_at(&mut self, at: u64) -> Parsed<u32> {
        self.budget.spend_steps(1)?;
        self.cursor.seek(at);
        self.cursor.u32_le()
    }

    /// Follows an offset that is relative to its own place.
    fn follow(&mut self, at: u64) -> Parsed<u64> {
        let offset = self.u32_at(at)?;
        at.checked_add(offset.into()).filter(|to| *to < self.source.len()).ok_or(BoundedError::Malformed("an offset leads outside the file"))
    }

    fn table(&mut self, at: u64) -> Parsed<Table> {
        self.budget.spend_steps(1)?;
        self.cursor.seek(at);
        let back = i64::from(self.cursor.i32_le()?);
        let vtable =
            at.checked_add_signed(-back).filter(|vtable| *vtable < self.source.len()).ok_or(BoundedError::Malformed("a table leads outside the file"))?;
        self.cursor.seek(vtable);
        let length = self.cursor.u16_le()?;
        self.cursor.u16_le()?;
        let mut fields = Vec::new();
        for _ in 0..length.saturating_sub(4) / 2 {
            fields.push(self.cursor.u16_le()?);
        }
        Ok(Table { at, fields })
    }

    /// Where a field's value stands, nothing when it has its default.
    fn field(table: &Table, index: usize) -> Option<u64> {
        let offset = table.fields.get(index).copied().filter(|offset| *offset != 0)?;
        table.at.checked_add(offset.into())
    }

    /// Start and length of a vector.
    fn vector(&mut self, table: &Table, index: usize) -> Parsed<Option<(u64, u32)>> {
        let Some(at) = Self::field(table, index) else { return Ok(None) };
        let start = self.follow(at)?;
        let length = self.u32_at(start)?;
        Ok(Some((start.saturating_add(4), length)))
    }

    fn tables(&mut self, table: &Table, index: usize) -> Parsed<Vec<u64>> {
        let Some((start, length)) = self.vector(table, index)? else { return Ok(Vec::new()) };
        if length > ELEMENTS_MAX || u64::from(length) > self.source.len() / 4 {
            return Err(BoundedError::Malformed("a vector is longer than the file"));
        }
        (0..u64::from(length)).map(|number| self.follow(start.saturating_add(4 * number))).collect()
    }

    /// OperatorCode: deprecated_builtin_code 0 (byte), custom_code 1, version 2, builtin_code 3 (int).
    fn operator(&mut self, code: &Table) -> Parsed<Operator> {
        let mut builtin = 0;
        if let Some(at) = Self::field(code, 0) {
            self.cursor.seek(at);
            builtin = i32::from(self.cursor.u8()?);
        }
        if let Some(at) = Self::field(code, 3) {
            self.cursor.seek(at);
            builtin = builtin.max(self.cursor.i32_le()?);
        }
        let custom = match self.vector(code, 1)? {
            Some((start, length)) => {
                let name = read_range(self.source, start, length.into(), NAME_BYTES_MAX)?;
                Some(String::from_utf8_lossy(&name).into_owned())
            }
            None => None,
        };
        Ok(Operator { builtin, custom, at: code.at })
    }

    /// SubGraph: operators 3. Operator: opcode_index 0.
    fn subgraph(&mut self, at: u64, model: &mut Model) -> Parsed<()> {
        let graph = self.table(at)?;
        for at in self.tables(&graph, 3)? {
            let operator = self.table(at)?;
            let index = match Self::field(&operator, 0) {
                Some(at) => self.u32_at(at)?,
                None => 0,
            };
            model.dangling += u64::from(u64::from(index) >= model.operators.len() as u64);
        }
        Ok(())
    }

    /// Buffer: data 0, and offset 1 with size 2 for data behind the flatbuffer.
    fn buffer(&mut self, at: u64, model: &mut Model) -> Parsed<()> {
        let buffer = self.table(at)?;
        let mut end = None;
        if let Some((start, length)) = self.vector(&buffer, 0)? {
            end = start.checked_add(length.into());
        }
        if let (Some(offset), Some(size)) = (Self::field(&buffer, 1), Self::field(&buffer, 2)) {
            self.cursor.seek(offset);
            let offset = self.cursor.u64_le()?;
            self.cursor.seek(size);
            end = offset.checked_add(self.cursor.u64_le()?).or(Some(u64::MAX));
        }
        let Some(end) = end else { return Ok(()) };
        model.outside += u64::from(end > self.source.len());
        model.end = model.end.max(end);
        Ok(())
    }
}
