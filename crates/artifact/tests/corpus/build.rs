//! Writers of every container and format of the corpus, with each field under control. Deterministic: no clock, no chance.

use picket_bounded::crc32;
use std::io::Write;

/// Writes pickles an opcode at a time.
#[derive(Clone, Default)]
pub(crate) struct Asm(pub(crate) Vec<u8>);

impl Asm {
    pub(crate) fn new(protocol: u8) -> Self {
        Self(if protocol < 2 { Vec::new() } else { vec![0x80, protocol] })
    }
    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }
    /// BINUNICODE.
    pub(crate) fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(u32::try_from(text.len()).unwrap().to_le_bytes()).raw(text)
    }
    /// BINBYTES.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.raw(b"B").raw(u32::try_from(bytes.len()).unwrap().to_le_bytes()).raw(bytes)
    }
    /// BININT.
    pub(crate) fn int(self, number: i32) -> Self {
        self.raw(b"J").raw(number.to_le_bytes())
    }
    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n"))
    }
    pub(crate) fn stack_global(self, module: &str, name: &str) -> Self {
        self.text(module).text(name).raw(b"\x93")
    }
    /// One argument of text, then the call.
    pub(crate) fn call(self, argument: &str) -> Self {
        self.text(argument).raw(b"\x85R")
    }
    /// `os.system('id')`
    pub(crate) fn payload(self) -> Self {
        self.global("os", "system").call("id")
    }
    pub(crate) fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

pub(crate) fn evil() -> Vec<u8> {
    Asm::new(2).payload().stop()
}

/// An empty ordered dictionary.
pub(crate) fn harmless() -> Vec<u8> {
    Asm::new(2).global("collections", "OrderedDict").raw(b")R").stop()
}

/// One tensor of four floats in the storage `0`, as `torch.save` writes a state dictionary.
pub(crate) fn state_dict() -> Vec<u8> {
    Asm::new(2)
        .global("collections", "OrderedDict")
        .raw(b")R")
        .text("weight")
        .global("torch._utils", "_rebuild_tensor_v2")
        .raw(b"((")
        .text("storage")
        .global("torch", "FloatStorage")
        .text("0")
        .text("cpu")
        .int(4)
        .raw(b"tQK\x00K\x04\x85K\x01\x85\x89")
        .global("collections", "OrderedDict")
        .raw(b")RtRs")
        .stop()
}

/// A zip member with every header field under control.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) local_name: Option<Vec<u8>>,
    pub(crate) data: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) local_method: Option<u16>,
    pub(crate) flags: u16,
    pub(crate) crc: Option<u32>,
    pub(crate) listed: bool,
    pub(crate) mode: u32,
}

pub(crate) fn item(name: &str, data: impl AsRef<[u8]>) -> Item {
    Item { name: name.into(), local_name: None, data: data.as_ref().to_vec(), method: 0, local_method: None, flags: 0, crc: None, listed: true, mode: 0 }
}

/// An archive of the items, directory at the end.
pub(crate) fn zip(items: &[Item]) -> Vec<u8> {
    let (mut out, mut directory, mut listed) = (Vec::new(), Vec::new(), 0_u16);
    for item in items {
        let packed = match item.method {
            8 => deflate(&item.data),
            _ => item.data.clone(),
        };
        let crc = item.crc.unwrap_or_else(|| crc32(&item.data));
        let sizes = [crc.to_le_bytes(), u32::try_from(packed.len()).unwrap().to_le_bytes(), u32::try_from(item.data.len()).unwrap().to_le_bytes()].concat();
        let local_name = item.local_name.as_ref().unwrap_or(&item.name);
        let start = u32::try_from(out.len()).unwrap();
        let local_method = item.local_method.unwrap_or(item.method);
        out.extend([&b"PK\x03\x04\x14\0"[..], &item.flags.to_le_bytes(), &local_method.to_le_bytes(), &[0; 4], &sizes].concat());
        out.extend(u16::try_from(local_name.len()).unwrap().to_le_bytes());
        out.extend([0, 0]);
        out.extend(local_name);
        out.extend(packed);
        if item.listed {
            listed += 1;
            directory.extend([&b"PK\x01\x02\x14\x03\x14\0"[..], &item.flags.to_le_bytes(), &item.method.to_le_bytes(), &[0; 4], &sizes].concat());
            directory.extend(u16::try_from(item.name.len()).unwrap().to_le_bytes());
            directory.extend([0; 8]);
            directory.extend((item.mode << 16).to_le_bytes());
            directory.extend(start.to_le_bytes());
            directory.extend(&item.name);
        }
    }
    let (size, offset) = (u32::try_from(directory.len()).unwrap(), u32::try_from(out.len()).unwrap());
    out.extend(directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &listed.to_le_bytes(), &listed.to_le_bytes(), &size.to_le_bytes(), &offset.to_le_bytes(), &[0, 0]].concat());
    out
}

/// A PyTorch archive with the given pickle and one storage.
pub(crate) fn torch(pickle: &[u8]) -> Vec<u8> {
    zip(&torch_items(pickle))
}

pub(crate) fn torch_items(pickle: &[u8]) -> Vec<Item> {
    vec![item("archive/data.pkl", pickle), item("archive/byteorder", "little"), item("archive/data/0", [0_u8; 16]), item("archive/version", "3\n")]
}

/// One member of a tar with its header.
pub(crate) fn member(name: &str, kind: u8, target: &str, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(data);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

pub(crate) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn finish<W: Write>(mut writer: W, data: &[u8], end: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
    writer.write_all(data).unwrap();
    end(writer)
}

pub(crate) fn deflate(data: &[u8]) -> Vec<u8> {
    finish(flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default()), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn zlib(data: &[u8]) -> Vec<u8> {
    finish(flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default()), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    finish(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn lz4(data: &[u8]) -> Vec<u8> {
    finish(lz4_flex::frame::FrameEncoder::new(Vec::new()), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

pub(crate) fn xz(data: &[u8]) -> Vec<u8> {
    finish(lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap(), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn lzma(data: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(1);
    finish(lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, Some(data.len() as u64)).unwrap(), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn lzma2(data: &[u8]) -> Vec<u8> {
    finish(lzma_rust2::Lzma2Writer::new(Vec::new(), lzma_rust2::Lzma2Options::with_preset(1)), data, |encoder| encoder.finish().unwrap())
}

pub(crate) fn bzip2(data: &[u8]) -> Vec<u8> {
    finish(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()), data, |encoder| encoder.finish().unwrap())
}

/// Writes protobuf messages a field at a time.
#[derive(Clone, Default)]
pub(crate) struct Pb(pub(crate) Vec<u8>);

impl Pb {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap());
    }
    pub(crate) fn int(mut self, field: u64, value: u64) -> Self {
        self.number(field << 3);
        self.number(value);
        self
    }
    pub(crate) fn run(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.number(field << 3 | 2);
        self.number(bytes.as_ref().len() as u64);
        self.0.extend(bytes.as_ref());
        self
    }
}

impl AsRef<[u8]> for Pb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A file of a 7z archive.
pub(crate) struct Packed<'d> {
    pub(crate) name: &'d str,
    pub(crate) data: &'d [u8],
}

/// How a 7z folder is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SevenZip {
    Copy,
    Lzma,
    Lzma2,
    /// Differences to the fourth byte before, then LZMA2.
    Delta,
    /// Four streams, of which three are packed by LZMA, as 7-Zip does with programs.
    Bcj2,
    Aes,
}

/// One folder with all files; the header packed by LZMA where asked for.
pub(crate) fn sevenz(files: &[Packed<'_>], way: SevenZip, packed_header: bool) -> Vec<u8> {
    let whole: Vec<u8> = files.iter().flat_map(|file| file.data.to_vec()).collect();
    let folder = coded(&whole, way);
    let mut header = vec![0x01, 0x04];
    header.extend(folder.streams(0));
    // Substreams: how many files, their sizes but the last, their checksums.
    header.extend([0x08, 0x0d]);
    header.extend(long(files.len()));
    header.push(0x09);
    for file in files.iter().take(files.len() - 1) {
        header.extend(long(file.data.len()));
    }
    header.extend([0x0a, 0x01]);
    for file in files {
        header.extend(crc32(file.data).to_le_bytes());
    }
    header.extend([0x00, 0x00]);
    header.push(0x05);
    header.extend(long(files.len()));
    let names: Vec<u8> = files.iter().flat_map(|file| file.name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes)).collect();
    header.push(0x11);
    header.extend(long(names.len() + 1));
    header.push(0);
    header.extend(names);
    header.extend([0x00, 0x00]);
    let mut out = folder.packed.concat();
    if packed_header {
        let folder = coded(&header, SevenZip::Lzma);
        let mut outer = vec![0x17];
        outer.extend(folder.streams(out.len()));
        outer.push(0x00);
        out.extend(folder.packed.concat());
        header = outer;
    }
    let mut start = (out.len() as u64).to_le_bytes().to_vec();
    start.extend((header.len() as u64).to_le_bytes());
    start.extend(crc32(&header).to_le_bytes());
    [b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), crc32(&start).to_le_bytes().to_vec(), start, out, header].concat()
}

/// Coders, how they are put together, and what they make of the data.
#[derive(Default)]
pub(crate) struct Coded {
    pub(crate) coders: Vec<Vec<u8>>,
    /// Which input takes which output.
    pub(crate) bonds: Vec<(usize, usize)>,
    /// Unpacked size of each output.
    pub(crate) sizes: Vec<usize>,
    pub(crate) packed: Vec<Vec<u8>>,
    /// Which input takes each packed stream, where there are several.
    pub(crate) inputs: Vec<usize>,
}

fn coded(data: &[u8], way: SevenZip) -> Coded {
    let one = |coder: Vec<u8>, packed: Vec<u8>| Coded { coders: vec![coder], sizes: vec![data.len()], packed: vec![packed], ..Coded::default() };
    match way {
        SevenZip::Copy => one(vec![0x01, 0x00], data.to_vec()),
        SevenZip::Aes => one(vec![0x24, 0x06, 0xf1, 0x07, 0x01, 0x02, 0x00, 0x00], data.to_vec()),
        SevenZip::Lzma2 => one(vec![0x21, 0x21, 0x01, 16], lzma2(data)),
        SevenZip::Delta => {
            let differences: Vec<u8> = data.iter().enumerate().map(|(at, byte)| byte.wrapping_sub(if at < 4 { 0 } else { data[at - 4] })).collect();
            let coders = vec![vec![0x21, 0x03, 0x01, 3], vec![0x21, 0x21, 0x01, 16]];
            Coded { coders, bonds: vec![(0, 1)], sizes: vec![data.len(); 2], packed: vec![lzma2(&differences)], ..Coded::default() }
        }
        SevenZip::Lzma => {
            let (coder, packed) = sevenz_lzma(data);
            one(coder, packed)
        }
        SevenZip::Bcj2 => bcj2_folder(data),
    }
}

fn sevenz_lzma(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let alone = lzma(data);
    ([&[0x23, 0x03, 0x01, 0x01, 0x05][..], &alone[..5]].concat(), alone[13..].to_vec())
}

/// What is left of a program, the targets of its calls and of its jumps, and which of them were taken out.
pub(crate) fn bcj2(data: &[u8]) -> [Vec<u8>; 4] {
    let options = lzma_rust2::filter::bcj2::Bcj2Options { uncompressed_size: Some(data.len() as u64), ..Default::default() };
    let mut writer = lzma_rust2::filter::bcj2::Bcj2Writer::new(std::array::from_fn(|_| Vec::new()), &options).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn bcj2_folder(data: &[u8]) -> Coded {
    let [main, call, jump, decisions] = bcj2(data);
    let mut folder =
        Coded { coders: vec![vec![0x14, 0x03, 0x03, 0x01, 0x1b, 0x04, 0x01]], sizes: vec![data.len()], inputs: vec![4, 5, 6, 3], ..Coded::default() };
    for (input, stream) in [main, call, jump].iter().enumerate() {
        let (coder, packed) = sevenz_lzma(stream);
        folder.coders.push(coder);
        folder.bonds.push((input, input + 1));
        folder.sizes.push(stream.len());
        folder.packed.push(packed);
    }
    folder.packed.push(decisions);
    folder
}

impl Coded {
    /// Pack information, from `at` behind the start, and the folder.
    fn streams(&self, at: usize) -> Vec<u8> {
        let mut out = vec![0x06];
        out.extend(long(at));
        out.extend(long(self.packed.len()));
        out.push(0x09);
        out.extend(self.packed.iter().flat_map(|packed| long(packed.len())));
        out.extend([0x00, 0x07, 0x0b, 0x01, 0x00]);
        out.extend(long(self.coders.len()));
        out.extend(self.coders.concat());
        for (input, output) in &self.bonds {
            out.extend([long(*input), long(*output)].concat());
        }
        out.extend(self.inputs.iter().flat_map(|input| long(*input)));
        out.push(0x0c);
        out.extend(self.sizes.iter().flat_map(|size| long(*size)));
        out.push(0x00);
        out
    }
}

/// A 7z number in its longest form.
fn long(value: usize) -> Vec<u8> {
    [&[0xff][..], &(value as u64).to_le_bytes()].concat()
}

/// A 64-bit ELF program: one segment with these flags, a stack with those, an interpreter.
pub(crate) fn elf(load: u32, stack: u32, interpreter: &str, code: &[u8]) -> Vec<u8> {
    let (header, count) = (64_u64, 3_u16);
    let data = header + 56 * u64::from(count);
    let end = data + interpreter.len() as u64 + 1 + code.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(2_u16.to_le_bytes());
    out.extend(62_u16.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    out.extend(0x40_0100_u64.to_le_bytes());
    out.extend(header.to_le_bytes());
    out.extend(0_u64.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, count, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    let mut segment = |kind: u32, flags: u32, offset: u64, address: u64, length: u64| {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for long in [offset, address, address, length, length, 0x1000] {
            out.extend(long.to_le_bytes());
        }
    };
    segment(1, load, 0, 0x40_0000, end);
    segment(3, 4, data, 0x40_0000 + data, interpreter.len() as u64 + 1);
    segment(0x6474_e551, stack, 0, 0, 0);
    out.extend(interpreter.as_bytes());
    out.push(0);
    out.extend(code);
    out
}

/// A marshalled code object of Python 3.11 and later, with names and texts.
pub(crate) fn marshalled(names: &[&str], texts: &[&str]) -> Vec<u8> {
    let short = |text: &str| [&[b'z', u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    let tuple = |items: &[&str]| [vec![b')', u8::try_from(items.len()).unwrap()], items.iter().flat_map(|item| short(item)).collect()].concat();
    let empty = b"s\0\0\0\0".to_vec();
    let mut out = vec![b'c'];
    out.extend([0; 20]);
    out.extend(b"s\x04\0\0\0\x97\0d\0");
    out.extend(tuple(texts));
    out.extend(tuple(names));
    out.extend(b")\0");
    out.extend(&empty);
    for name in ["m.py", "<module>", "<module>"] {
        out.extend(short(name));
    }
    out.extend([1, 0, 0, 0]);
    out.extend(&empty);
    out.extend(&empty);
    out
}

/// A `.pyc` of Python 3.12.
pub(crate) fn pyc(names: &[&str], texts: &[&str]) -> Vec<u8> {
    [&3531_u16.to_le_bytes()[..], b"\r\n", &[0; 12], &marshalled(names, texts)].concat()
}

/// Writes R objects.
#[derive(Clone, Default)]
pub(crate) struct R(pub(crate) Vec<u8>);

impl R {
    pub(crate) fn start() -> Self {
        Self::default().raw(b"X\n").word(3).word(0x0004_0300).word(0x0003_0500).word(5).raw(b"UTF-8")
    }
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    pub(crate) fn word(self, word: u32) -> Self {
        self.raw(&word.to_be_bytes())
    }
    pub(crate) fn characters(self, text: &str) -> Self {
        self.word(0x0004_0009).word(u32::try_from(text.len()).unwrap()).raw(text.as_bytes())
    }
    pub(crate) fn symbol(self, name: &str) -> Self {
        self.word(1).characters(name)
    }
    pub(crate) fn text(self, text: &str) -> Self {
        self.word(16).word(1).characters(text)
    }
    /// `name("argument")` as an expression.
    pub(crate) fn call(self, name: &str, argument: &str) -> Self {
        self.word(6).symbol(name).word(2).text(argument).word(254)
    }
    /// A promise without a value, made in the global environment.
    pub(crate) fn promise(self, name: &str, argument: &str) -> Self {
        self.word(0x405).word(253).word(252).call(name, argument)
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([&0, &0]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if place <= chunk.len() { char::from(LETTERS[word >> shift & 63]) } else { '=' });
        }
    }
    out
}

pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    [&b"\x93NUMPY\x01\0"[..], &u16::try_from(header.len()).unwrap().to_le_bytes(), header.as_bytes(), data].concat()
}

pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// GGUF text.
fn gtext(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A GGUF file without tensors and with these text values.
pub(crate) fn gguf(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = [&b"GGUF\x03\0\0\0"[..], &0_u64.to_le_bytes(), &(pairs.len() as u64).to_le_bytes()].concat();
    for (key, value) in pairs {
        out.extend([gtext(key), 8_u32.to_le_bytes().to_vec(), gtext(value)].concat());
    }
    out
}

/// A Parquet footer: version, then key-value metadata and one column chunk in another file, as asked for.
pub(crate) fn parquet(metadata: &[(&str, &str)], file_path: Option<&str>) -> Vec<u8> {
    let short = |text: &str| [varint(text.len()), text.as_bytes().to_vec()].concat();
    let mut footer = vec![0x15, 0x02];
    let mut last = 1;
    let mut field = |footer: &mut Vec<u8>, number: u8, kind: u8| {
        footer.push((number - last) << 4 | kind);
        last = number;
    };
    if let Some(path) = file_path {
        field(&mut footer, 4, 9);
        // One row group: columns 1, one column chunk: file_path 1.
        footer.extend([0x1c, 0x19, 0x1c, 0x18]);
        footer.extend(short(path));
        footer.extend([0x00, 0x00]);
    }
    if !metadata.is_empty() {
        field(&mut footer, 5, 9);
        footer.push(u8::try_from(metadata.len()).unwrap() << 4 | 12);
        for (key, value) in metadata {
            footer.push(0x18);
            footer.extend(short(key));
            footer.push(0x18);
            footer.extend(short(value));
            footer.push(0);
        }
    }
    footer.push(0);
    [&b"PAR1"[..], &footer, &u32::try_from(footer.len()).unwrap().to_le_bytes(), b"PAR1"].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}
