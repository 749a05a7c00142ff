//! PaddlePaddle: programs (`.pdmodel`) by their operators, parameters (`.pdiparams`) by their sizes. What `paddle.save` writes
//! is a pickle and judged as one.

mod limits;

use crate::Format;
use crate::path;
use crate::protobuf::{Content, Message, Walked, Walker};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX};
use picket_bounded::{BoundedError, Cursor, Source};

/// Operators that call Python or run what they are given.
const DANGEROUS: &[&str] = &["py_func", "py_layer", "run_program"];
/// Operators that read or write files of the program's choice.
const RISKY: &[&str] = &["save", "save_combine", "load", "load_combine", "create_py_reader", "listen_and_serv", "send", "recv", "fetch_barrier"];

pub(crate) fn examine_program(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut walker = Walker::new(scan, source, place);
    // ProgramDesc: blocks 1. BlockDesc: ops 4.
    let outcome = walker.each(walker.whole(), &mut |walker, number, block| {
        if number != 1 {
            return Ok(());
        }
        walker.each(block, &mut |walker, number, operator| if number == 4 { walker.operator(operator) } else { Ok(()) })
    });
    walker.end(outcome, "The program");
    Claim { format: Format::PaddleProgram, end: source.len() }
}

impl Walker<'_, '_, '_> {
    /// OpDesc: type 3, attrs 4 (name 1, s 5).
    fn operator(&mut self, operator: Message) -> Walked {
        let (mut kind, mut file) = (String::new(), None);
        self.each(operator, &mut |walker, number, inner| {
            match number {
                3 => kind = inner.text(walker.source, NAME_BYTES_MAX),
                4 => {
                    let (mut name, mut text) = (String::new(), String::new());
                    walker.each(inner, &mut |walker, number, value| {
                        match number {
                            1 => name = value.text(walker.source, NAME_BYTES_MAX),
                            5 => text = value.text(walker.source, NAME_BYTES_MAX),
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if name == "file_path" {
                        file = Some(text);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let found =
            |rule, explanation: String| Finding::new(rule, &self.place.member, explanation).at(self.place.base.saturating_add(operator.start)).opcode(&kind);
        if let Some(file) = file.as_deref().filter(|file| path::escapes(file)) {
            self.scan.add(found(&rules::EXTERNAL_PATH, format!("The operator {kind} opens {file}, outside the model's folder.")).value(file));
        } else if DANGEROUS.contains(&kind.as_str()) {
            self.scan.add(found(&rules::GRAPH_DANGEROUS_OP, format!("The operator {kind} calls Python while the program runs.")));
        } else if RISKY.contains(&kind.as_str()) {
            self.scan.add(
                found(&rules::GRAPH_RISKY_OP, format!("The operator {kind} reads or writes files, or talks to the network.")).value(file.unwrap_or_default()),
            );
        }
        Ok(())
    }
}

/// True for a tensor of `.pdiparams`: a version, levels of detail, a version, and a description that says what follows.
pub(crate) fn is_parameters(source: &dyn Source) -> bool {
    let mut cursor = Cursor::with_buffer(source, 4096);
    // Elements that the file does not have are a matter for the judgement; a description must be there.
    source.len() >= 24 && matches!(tensor(&mut cursor), Ok(()) | Err(BoundedError::Truncated { .. }))
}

pub(crate) fn examine_parameters(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut cursor = Cursor::new(source);
    let mut end = 0;
    while cursor.remaining() > 0 {
        if let Err(error) = scan.budget.spend_steps(1).and_then(|()| tensor(&mut cursor)) {
            if matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }) {
                let explanation = format!("The parameters are broken: {error}.");
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base.saturating_add(end)));
            }
            scan.failed(place, &error);
            break;
        }
        end = cursor.position();
    }
    Claim { format: Format::PaddleParameters, end: source.len() }
}

fn tensor(cursor: &mut Cursor<'_>) -> Walked {
    let (version, levels) = (cursor.u32_le()?, cursor.u64_le()?);
    if version != 0 || levels > 8 {
        return Err(BoundedError::Malformed("a tensor of an unknown version"));
    }
    for _ in 0..levels {
        let length = cursor.u64_le()?;
        cursor.skip(length)?;
    }
    if cursor.u32_le()? != 0 {
        return Err(BoundedError::Malformed("a tensor of an unknown version"));
    }
    let length = u64::from(cursor.u32_le()?);
    if length == 0 || length > DESCRIPTION_BYTES_MAX {
        return Err(BoundedError::Malformed("a tensor's description of an impossible length"));
    }
    let description = Message::new(cursor.position(), cursor.position().saturating_add(length));
    let (mut fields, mut kind, mut elements) = (description, None, Some(1_u64));
    // TensorDesc: data_type 1, dims 2, packed or not.
    while let Some(field) = fields.next_field(cursor)? {
        match (field.number, field.content) {
            (1, Content::Varint(value)) => kind = Some(value),
            (2, Content::Varint(value)) => elements = elements.and_then(|elements| elements.checked_mul(value)),
            (2, Content::Run(packed)) => elements = product(packed, cursor, elements)?,
            _ => return Err(BoundedError::Malformed("a tensor's description with a field that is none")),
        }
    }
    let size = kind.and_then(element_bytes).ok_or(BoundedError::Malformed("a tensor of an unknown type"))?;
    let bytes = elements.and_then(|elements| elements.checked_mul(size)).ok_or(BoundedError::Malformed("a tensor larger than 64 bits can address"))?;
    cursor.seek(description.end);
    cursor.skip(bytes)
}

fn product(packed: Message, cursor: &mut Cursor<'_>, start: Option<u64>) -> Result<Option<u64>, BoundedError> {
    let bytes = picket_bounded::read_range(cursor.source(), packed.start, packed.len(), DESCRIPTION_BYTES_MAX)?;
    let mut reader = picket_bounded::Reader::new(&bytes);
    let mut product = start;
    while !reader.is_empty() {
        let length = reader.varint()?;
        product = product.and_then(|product| product.checked_mul(length));
    }
    Ok(product)
}

/// `VarType.Type`.
fn element_bytes(kind: u64) -> Option<u64> {
    Some(match kind {
        0 | 20 | 21 => 1,
        1 | 4 | 22 => 2,
        2 | 5 => 4,
        3 | 6 | 23 => 8,
        24 => 16,
        _ => return None,
    })
}
