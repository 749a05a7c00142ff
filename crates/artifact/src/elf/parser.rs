//! ELF headers (System V ABI, 32 and 64 bits, both byte orders): what is mapped, and where the file's own content ends.

use super::limits::{HEADERS_MAX, INTERPRETER_BYTES_MAX};
use picket_bounded::{BoundedError, Cursor, Source, read_range};

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const SHT_NOBITS: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Elf {
    /// `ET_EXEC`, `ET_DYN`, …
    pub(super) kind: u16,
    pub(super) segments: u16,
    pub(super) sections: u16,
    /// A segment is writable and executable.
    pub(super) writable_code: bool,
    pub(super) executable_stack: bool,
    pub(super) interpreter: Option<String>,
    /// The entry point lies in no executable segment.
    pub(super) entry_outside: bool,
    /// A segment or section reaches beyond the file.
    pub(super) cut: bool,
    /// Where the last header, segment or section ends.
    pub(super) end: u64,
}

/// Numbers of either width and order.
struct Words<'s> {
    cursor: Cursor<'s>,
    wide: bool,
    big: bool,
}

type Read<T> = Result<T, BoundedError>;

impl Words<'_> {
    fn half(&mut self) -> Read<u16> {
        if self.big { self.cursor.u16_be() } else { self.cursor.u16_le() }
    }
    fn word(&mut self) -> Read<u32> {
        if self.big { self.cursor.u32_be() } else { self.cursor.u32_le() }
    }
    /// An address, offset or size.
    fn long(&mut self) -> Read<u64> {
        match (self.wide, self.big) {
            (false, _) => self.word().map(u64::from),
            (true, true) => self.cursor.u64_be(),
            (true, false) => self.cursor.u64_le(),
        }
    }
}

pub(super) fn parse(source: &dyn Source) -> Read<Elf> {
    let mut cursor = Cursor::new(source);
    let ident: [u8; 16] = cursor.array()?;
    let (class, order) = (ident.get(4).copied(), ident.get(5).copied());
    let (wide, big) = match (class, order) {
        (Some(class @ (1 | 2)), Some(order @ (1 | 2))) => (class == 2, order == 2),
        _ => return Err(BoundedError::Malformed("an ELF class or byte order that is none")),
    };
    let mut words = Words { cursor, wide, big };
    let mut elf = Elf { kind: words.half()?, ..Elf::default() };
    words.cursor.skip(6)?;
    let entry = words.long()?;
    let (program_headers, section_headers) = (words.long()?, words.long()?);
    words.cursor.skip(4)?;
    let header = words.half()?;
    let (program_size, segments) = (words.half()?, words.half()?);
    let (section_size, sections) = (words.half()?, words.half()?);
    (elf.segments, elf.sections) = (segments, sections);
    elf.reaches(source, 0, header.into());
    elf.reaches(source, program_headers, u64::from(program_size) * u64::from(segments));
    elf.reaches(source, section_headers, u64::from(section_size) * u64::from(sections));
    let entered = program(&mut elf, &mut words, source, program_headers, program_size, entry)?;
    elf.entry_outside = elf.kind == 2 && entry != 0 && !entered;
    section(&mut elf, &mut words, source, section_headers, section_size)?;
    Ok(elf)
}

impl Elf {
    fn reaches(&mut self, source: &dyn Source, start: u64, length: u64) {
        let end = start.saturating_add(length);
        if length > 0 && end > source.len() {
            self.cut = true;
        }
        self.end = self.end.max(if length > 0 { end.min(source.len()) } else { 0 });
    }
}

/// Walks the segments; true when one of them holds the entry point and may run.
fn program(elf: &mut Elf, words: &mut Words<'_>, source: &dyn Source, start: u64, size: u16, entry: u64) -> Read<bool> {
    let mut entered = false;
    for number in 0..elf.segments.min(HEADERS_MAX) {
        words.cursor.seek(start.saturating_add(u64::from(number) * u64::from(size)));
        let kind = words.word()?;
        let mut flags = if words.wide { words.word()? } else { 0 };
        let (offset, address) = (words.long()?, words.long()?);
        words.long()?;
        let (in_file, in_memory) = (words.long()?, words.long()?);
        if !words.wide {
            flags = words.word()?;
        }
        elf.reaches(source, offset, in_file);
        match kind {
            PT_LOAD => {
                elf.writable_code |= flags & (EXECUTE | WRITE) == EXECUTE | WRITE;
                entered |= flags & EXECUTE != 0 && entry >= address && entry < address.saturating_add(in_memory);
            }
            PT_GNU_STACK => elf.executable_stack |= flags & EXECUTE != 0,
            PT_INTERP => {
                let bytes = read_range(source, offset, in_file.min(INTERPRETER_BYTES_MAX), INTERPRETER_BYTES_MAX).unwrap_or_default();
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                elf.interpreter = Some(String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned());
            }
            _ => {}
        }
    }
    Ok(entered)
}

fn section(elf: &mut Elf, words: &mut Words<'_>, source: &dyn Source, start: u64, size: u16) -> Read<()> {
    for number in 0..elf.sections.min(HEADERS_MAX) {
        words.cursor.seek(start.saturating_add(u64::from(number) * u64::from(size)));
        words.word()?;
        let kind = words.word()?;
        words.long()?;
        words.long()?;
        let (offset, length) = (words.long()?, words.long()?);
        if kind != SHT_NOBITS {
            elf.reaches(source, offset, length);
        }
    }
    Ok(())
}
