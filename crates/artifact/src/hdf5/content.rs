//! Data sets that hold something else than numbers: texts, pickles and files that a program stores as elements. Numbers are not read.

use super::attribute::trimmed;
use super::dataset::{Dataset, Layout};
use super::datatype::{Content, Field};
use super::heap::Heaps;
use super::parser::{UNDEFINED, sized};
use super::tensors::chunked;
use crate::Format;
use crate::detect;
use crate::handlers;
use crate::pickle;
use crate::region;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan, examine};
use crate::tensors::ChunkLimits;
use picket_bounded::{BoundedError, MemorySource, Reader, Source, Window, read_range};

/// Bytes of one data set that are looked at, or of one element in a heap. What is stored as text beside weights is a configuration,
/// a vocabulary or a list of names; what lies behind is said not to be read.
const CONTENT_BYTES_MAX: u64 = 8 << 20;
/// Elements of one data set that are judged as files of their own.
const FILES_MAX: u32 = 1024;
/// A pickle that imports and calls, or a configuration that names a class, is longer.
const FILE_BYTES_MIN: usize = 16;
const LIMITS: ChunkLimits = ChunkLimits { chunk_bytes: 16 << 20, band_bytes: 16 << 20 };

/// Judges what the data sets of a file hold.
pub(super) fn examine_contents(scan: &mut Scan<'_>, source: &dyn Source, place: &Place, datasets: Vec<Dataset>, heaps: &mut Heaps) {
    for mut dataset in datasets {
        let content = std::mem::take(&mut dataset.content);
        if content == Content::Numbers {
            continue;
        }
        let size = dataset.dtype.as_ref().and_then(|(_, size)| usize::try_from(*size).ok()).filter(|size| *size > 0).unwrap_or(usize::MAX);
        let mut elements = Elements {
            scan,
            source,
            place: place.inside(dataset.path.trim_start_matches('/')),
            heaps,
            text: Vec::new(),
            files: 0,
            left: CONTENT_BYTES_MAX,
            broken: false,
            full: false,
        };
        match elements.read(&content, dataset) {
            Ok(Some(bytes)) => elements.each(&content, size, &bytes),
            Ok(None) => {}
            Err(Unread { why, broken }) => elements.unread(&why, broken),
        }
        elements.judge_text();
    }
}

/// Judges the bytes of one attribute or element as a file of its own where they are one; returns whether they are.
pub(super) fn examine_bytes(scan: &mut Scan<'_>, place: &Place, bytes: &[u8]) -> bool {
    if bytes.len() < FILE_BYTES_MIN {
        return false;
    }
    let body = MemorySource::new(bytes);
    let Ok(sniffed) = detect::sniff(scan, &body, place) else { return false };
    // Pictures are what such elements usually are, and nothing runs in them.
    if matches!(sniffed.format, Format::Unknown | Format::Text | Format::Empty | Format::Image) && sniffed.appended_zip.is_none() {
        return false;
    }
    examine(scan, &body, place);
    true
}

/// Why a data set was not read.
struct Unread {
    why: String,
    broken: bool,
}

impl From<BoundedError> for Unread {
    fn from(error: BoundedError) -> Self {
        Self { broken: matches!(error, BoundedError::Malformed(_) | BoundedError::Truncated { .. }), why: error.to_string() }
    }
}

struct Elements<'e, 'o> {
    scan: &'e mut Scan<'o>,
    source: &'e dyn Source,
    place: Place,
    heaps: &'e mut Heaps,
    /// Elements that are no files of their own, a line each.
    text: Vec<u8>,
    files: u32,
    /// Bytes that may still be read from heaps.
    left: u64,
    /// Some of it could not be read, which was said.
    broken: bool,
    /// Not all of it was looked at, which was said.
    full: bool,
}

impl Elements<'_, '_> {
    /// The first bytes of all elements; nothing where none is in this file, or where they were judged in place.
    fn read(&mut self, content: &Content, dataset: Dataset) -> Result<Option<Vec<u8>>, Unread> {
        let (Some(shape), Some((_, size))) = (&dataset.shape, &dataset.dtype) else { return Ok(None) };
        // Single bytes in several dimensions are pictures.
        if *content == Content::Bytes && shape.len() > 1 {
            return Ok(None);
        }
        if let Content::Unread(why) = content {
            return Err(Unread { why: (*why).to_owned(), broken: false });
        }
        let length = shape.iter().fold(*size, |product, length| product.saturating_mul(*length));
        match &dataset.layout {
            Some(Layout::Compact(bytes)) => Ok(Some(bytes.clone())),
            Some(Layout::Contiguous(Some(at))) => {
                let start = self.heaps.base.saturating_add(*at);
                let window = Window::new(self.source, start, length);
                if *content == Content::Bytes {
                    self.run(&window);
                    return Ok(None);
                }
                let wanted = self.wanted(length).min(window.len());
                self.scan.budget.spend_steps(1 + wanted / 64)?;
                Ok(Some(read_range(&window, 0, wanted, CONTENT_BYTES_MAX)?))
            }
            Some(Layout::Chunked { .. }) => {
                let chunked = chunked(dataset).map_err(|why| Unread { why, broken: false })?;
                let (mut bytes, wanted) = (Vec::new(), self.wanted(length));
                let budget = &mut self.scan.budget;
                let outcome = chunked.rows(self.source, LIMITS, &mut |bytes| budget.spend_steps(1 + bytes / 64).is_ok(), &mut |band| {
                    let left = usize::try_from(wanted.saturating_sub(bytes.len() as u64)).unwrap_or(0);
                    bytes.extend_from_slice(band.get(..left).unwrap_or(band));
                    (bytes.len() as u64) < wanted
                });
                outcome.map_err(|error| Unread { why: error.why, broken: error.broken })?;
                Ok(Some(bytes))
            }
            Some(Layout::Virtual { .. }) => Err(Unread { why: "it is put together from others".to_owned(), broken: false }),
            Some(Layout::Other) => Err(Unread { why: "its layout is not read".to_owned(), broken: false }),
            Some(Layout::Contiguous(None)) | None => Ok(None),
        }
    }

    fn wanted(&mut self, length: u64) -> u64 {
        if length > CONTENT_BYTES_MAX {
            self.cut();
        }
        length.min(CONTENT_BYTES_MAX)
    }

    fn cut(&mut self) {
        if !std::mem::replace(&mut self.full, true) {
            self.scan.incomplete(&self.place, &format!("more text or files in a data set than the limit of {CONTENT_BYTES_MAX} bytes or {FILES_MAX} elements"));
        }
    }

    /// Said once: what is wrong with one element is wrong with many.
    fn unread(&mut self, why: &str, broken: bool) {
        if std::mem::replace(&mut self.broken, true) {
            return;
        }
        self.scan.incomplete(&self.place, &format!("the data set was not read: {why}"));
        if broken {
            let explanation = format!("The data set {} contradicts the file: {why}.", self.place.member);
            self.scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &self.place.member, explanation).at(0));
        }
    }

    fn each(&mut self, content: &Content, size: usize, bytes: &[u8]) {
        match content {
            Content::Numbers | Content::Unread(_) => {}
            Content::Bytes => self.run(&MemorySource::new(bytes)),
            Content::Text => {
                for element in bytes.chunks(size) {
                    self.element(trimmed(element, b"\0 "));
                }
            }
            Content::Opaque => {
                for element in bytes.chunks(size) {
                    self.element(element);
                }
            }
            Content::Sequences(unit) => {
                if let Err(error) = self.sequences(bytes, *unit) {
                    let Unread { why, broken } = error.into();
                    self.unread(&why, broken);
                }
            }
            Content::Record(fields) => {
                for record in bytes.chunks(size) {
                    for Field { at, size, content } in fields {
                        let (Ok(at), Ok(size)) = (usize::try_from(*at), usize::try_from(*size)) else { continue };
                        if let Some(part) = record.get(at..).and_then(|rest| rest.get(..size)).filter(|part| !part.is_empty()) {
                            self.each(content, size, part);
                        }
                    }
                }
            }
        }
    }

    /// Texts and runs of bytes that stand in heaps.
    fn sequences(&mut self, bytes: &[u8], unit: u32) -> Result<(), BoundedError> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            if self.left == 0 {
                self.cut();
                break;
            }
            let length = u64::from(reader.u32_le()?) * u64::from(unit);
            let (heap, index) = (sized(&mut reader, self.heaps.address)?, reader.u32_le()?);
            // An element that was never written refers to nothing.
            if length == 0 || heap == 0 || heap == UNDEFINED {
                continue;
            }
            let element = self.heaps.object(self.source, &mut self.scan.budget, heap, index, length, CONTENT_BYTES_MAX)?;
            self.element(&element);
            self.left = self.left.saturating_sub(element.len() as u64);
        }
        Ok(())
    }

    /// One text or run of bytes: a file of its own, or a line of the data set's text.
    fn element(&mut self, bytes: &[u8]) {
        if !may_be_file(bytes) {
            self.text.extend_from_slice(bytes);
            self.text.push(b'\n');
            return;
        }
        if self.files >= FILES_MAX {
            return self.cut();
        }
        if examine_bytes(self.scan, &self.place, bytes) {
            self.files += 1;
        } else {
            self.text.extend_from_slice(bytes);
            self.text.push(b'\n');
        }
    }

    /// Single bytes that are one file or one text together. Numbers of one byte look like anything: only what is surely a file is judged.
    fn run(&mut self, body: &dyn Source) {
        let Ok(sniffed) = detect::sniff(self.scan, body, &self.place) else { return };
        let sure = match sniffed.format {
            Format::Unknown | Format::Empty | Format::Image | Format::Zlib | Format::LzmaAlone | Format::PythonBytecode | Format::Msgpack => false,
            Format::Pickle => {
                let seen = pickle::probe(self.scan, body);
                seen.complete || seen.imports > 0
            }
            _ => true,
        };
        if sure {
            examine(self.scan, body, &self.place);
        }
    }

    /// All that is left is one text: credentials and rules are looked for in it.
    fn judge_text(&mut self) {
        if self.text.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let body = MemorySource::new(std::mem::take(&mut self.text));
        handlers::examine_as(self.scan, &body, &self.place, Format::Text);
        region::apply(self.scan, &body, &self.place, Format::Text);
    }
}

/// A cheap look that spares most names, which are short words, the whole one.
fn may_be_file(bytes: &[u8]) -> bool {
    bytes.len() >= FILE_BYTES_MIN
        && (bytes.len() >= 256
            || matches!(bytes.first(), Some(b'{' | b'[' | b'<' | b'#'))
            || bytes.iter().any(|byte| !byte.is_ascii_graphic() && *byte != b' '))
}
