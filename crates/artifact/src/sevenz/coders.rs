//! How the coders of a folder are put together to read it: a chain, or a tree where one of them reads several streams.

use super::limits::CODERS_MAX;
use super::parser::{Coder, Folder};
use picket_bounded::{Codec, Filter, Step, Window};

const COPY: u64 = 0;
const AES: u64 = 0x06f1_0701;
const BCJ2: u64 = 0x03_03_01_1b;

/// How a folder is unpacked.
pub(super) enum Way<'w> {
    Stored(Window<'w>),
    Decode(Vec<Step<'w>>),
    Encrypted,
    /// By a coder, or an arrangement of them, that is not read.
    Unread,
}

/// `packed` are the folder's packed streams, in the order of the archive.
pub(super) fn way<'w>(folder: &Folder, packed: &'w [Window<'w>]) -> Way<'w> {
    if folder.coders.iter().any(|coder| coder.id == AES) {
        return Way::Encrypted;
    }
    let mut tree = Tree { folder, packed, steps: Vec::new(), visited: vec![false; folder.coders.len()], stored: None };
    let read = folder.main_output().and_then(|output| tree.output(output, CODERS_MAX));
    match (read, tree.steps.as_slice(), tree.stored) {
        (Some(()), [Step::Stored(_)], Some(window)) => Way::Stored(*window),
        (Some(()), [_, ..], _) => Way::Decode(tree.steps),
        _ => Way::Unread,
    }
}

struct Tree<'f, 'w> {
    folder: &'f Folder,
    packed: &'w [Window<'w>],
    steps: Vec<Step<'w>>,
    /// A coder gives its output once: bonds of a hostile header may lead in a circle, or share what is below them.
    visited: Vec<bool>,
    stored: Option<&'w Window<'w>>,
}

impl<'w> Tree<'_, 'w> {
    /// Adds the steps that give this output; each coder that is read has one.
    fn output(&mut self, output: u64, depth: u64) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let index = usize::try_from(output).ok()?;
        let (coder, size) = (self.folder.coders.get(index)?, *self.folder.sizes.get(index)?);
        if self.folder.sizes.len() != self.folder.coders.len() || std::mem::replace(self.visited.get_mut(index)?, true) {
            return None;
        }
        let before = self.folder.coders.iter().take(index);
        let first: u64 = before.map(|coder| coder.inputs).sum();
        match (coder.id, coder.inputs) {
            (COPY, 1) => self.input(first, depth),
            (BCJ2, 4) => {
                for input in first..first + 4 {
                    self.input(input, depth)?;
                }
                self.steps.push(Step::Bcj2 { size });
                Some(())
            }
            (_, 1) => match (codec(coder, size), filter(coder)) {
                // What unpacks reads from the archive: no writer packs twice.
                (Some(codec), _) => {
                    let packed = self.stream(first)?;
                    self.steps.push(Step::Packed(codec, packed));
                    Some(())
                }
                (None, Some(filter)) => {
                    self.input(first, depth)?;
                    self.steps.push(Step::Filtered(filter));
                    Some(())
                }
                (None, None) => None,
            },
            _ => None,
        }
    }

    fn input(&mut self, input: u64, depth: u64) -> Option<()> {
        if let Some((_, from)) = self.folder.bonds.iter().find(|(to, _)| *to == input) {
            return self.output(*from, depth);
        }
        let packed = self.stream(input)?;
        self.stored = Some(packed);
        self.steps.push(Step::Stored(packed));
        Some(())
    }

    /// The packed stream that goes into this input.
    fn stream(&self, input: u64) -> Option<&'w Window<'w>> {
        let at = self.folder.packed.iter().position(|to| *to == input)?;
        self.packed.get(at)
    }
}

fn codec(coder: &Coder, size: u64) -> Option<Codec> {
    Some(match (coder.id, coder.properties.as_slice()) {
        (0x21, [dictionary]) => Codec::Lzma2 { dictionary: *dictionary },
        (0x03_01_01, [a, b, c, d, e]) => Codec::LzmaRaw { size, properties: [*a, *b, *c, *d, *e] },
        (0x04_01_08, _) => Codec::Deflate,
        (0x04_02_02, _) => Codec::Bzip2,
        (0x04_f7_11_01, _) => Codec::Zstd,
        _ => return None,
    })
}

/// Filters by their numbers, old and new; one that starts elsewhere than at the beginning is not taken for another.
fn filter(coder: &Coder) -> Option<Filter> {
    Some(match (coder.id, coder.properties.as_slice()) {
        (0x03, [distance]) => Filter::Delta(distance.wrapping_add(1)),
        (0x04 | 0x03_03_01_03, []) => Filter::X86,
        (0x05 | 0x03_03_02_05, []) => Filter::PowerPc,
        (0x06 | 0x03_03_04_01, []) => Filter::Ia64,
        (0x07 | 0x03_03_05_01, []) => Filter::Arm,
        (0x08 | 0x03_03_07_01, []) => Filter::ArmThumb,
        (0x09 | 0x03_03_08_05, []) => Filter::Sparc,
        (0x0a, []) => Filter::Arm64,
        (0x0b, []) => Filter::RiscV,
        _ => return None,
    })
}
