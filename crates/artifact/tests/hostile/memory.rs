//! What one scan may hold at once, whatever the file: measured by an allocator that counts, over files built to be expensive.

use crate::alone;
use crate::corpus::build::{Asm, Item, Packed, SevenZip, gguf, gzip, item, marshalled, member, npy, safetensors, sevenz, tar, torch, zip, zstd};
use peak_alloc::PeakAlloc;
use picket_artifact::{ScanOptions, Verdict, scan};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The bound that docs/scan.md states: 192 MiB of unpacked bytes, a decoder's dictionary of at most 128 MiB, and what a parser
/// keeps of one document.
const HELD_MAX: usize = 384 << 20;

/// Zeros behind a first member, so that each level unpacks to much and holds the next.
fn padded(inner: &[u8]) -> Vec<u8> {
    tar(&[member("inner.tar.gz", b'0', "", inner), member("zeros", b'0', "", &vec![0; 100 << 20])])
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

fn nested() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut levels = gzip(b"text");
    for _ in 0..3 {
        levels = gzip(&padded(&levels));
    }
    let zeros = vec![0; 140 << 20];
    let wide: Vec<_> = (0..3).map(|n| Item { method: 8, ..item(&format!("{n}.bin"), &zeros) }).collect();
    vec![
        ("levels that each hold 100 MiB", "m.tar.gz", levels),
        ("members above the cap", "m.zip", zip(&wide)),
        ("archive of such archives", "m.zip", zip(&[Item { method: 8, ..item("a.zip", zip(&wide)) }, Item { method: 8, ..item("b.zip", zip(&wide)) }])),
        ("gzip in gzip in gzip", "m.gz", gzip(&gzip(&gzip(&zeros)))),
        ("zstd", "m.zst", zstd(&zeros)),
        ("7z", "m.7z", sevenz(&[Packed { name: "zeros", data: &zeros }], SevenZip::Lzma2, true)),
        ("7z in four streams", "m.7z", sevenz(&[Packed { name: "calls", data: &[0xe8, 0, 0, 0, 0].repeat(6 << 20) }], SevenZip::Bcj2, true)),
    ]
}

fn documents() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("a list of small numbers", "m.json", format!("[{}0]", "0,".repeat(20_000_000)).into_bytes()),
        ("small objects", "m.json", format!("[{}0]", "{\"a\":{}},".repeat(3_000_000)).into_bytes()),
        ("keys", "m.json", format!("{{{}\"z\":0}}", many(2_000_000, |n| format!("\"{n}\":0,"))).into_bytes()),
        ("depth", "m.json", "[".repeat(30_000_000).into_bytes()),
        ("bytes that are no text", "m.yaml", [b"a: b\n".repeat(1000), vec![0xff; 60 << 20]].concat()),
        ("open brackets", "m.py", "(".repeat(30_000_000).into_bytes()),
        ("calls", "m.py", "f(x);".repeat(10_000_000).into_bytes()),
        ("tags", "m.xml", format!("<?xml version=\"1.0\"?>{}", "<a b='c'>".repeat(6_000_000)).into_bytes()),
        ("template", "chat_template.jinja", "{{ a }}".repeat(8_000_000).into_bytes()),
        ("template of brackets", "chat_template.jinja", format!("{{{{ {} }}}}", "(".repeat(8_000_000)).into_bytes()),
        (
            "notebook",
            "n.ipynb",
            format!("{{\"nbformat\": 4, \"cells\": [{}0]}}", "{\"cell_type\": \"code\", \"source\": [\"x()\"]},".repeat(1_000_000)).into_bytes(),
        ),
        (
            "header of tensors",
            "m.safetensors",
            safetensors(&format!("{{{}\"z\":{{}}}}", many(800_000, |n| format!("\"{n}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},"))), b""),
        ),
        ("numpy header", "m.npy", npy(&format!("[{}]", "('a','<f8'),".repeat(5_000)), "(1,)", &[0; 64])),
    ]
}

fn binaries() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let members: Vec<_> = (0..60_000).map(|n| item(&format!("{n}"), b"")).collect();
    let headers: Vec<Vec<u8>> = (0..60_000).map(|n| member(&format!("{n}"), b'0', "", b"")).collect();
    let pairs: Vec<(String, &str)> = (0..500_000).map(|n| (format!("k{n}"), "")).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let memo: Vec<u8> = (0..3_000_000_u32).flat_map(|n| [&b"Nr"[..], &n.to_le_bytes(), b"0"].concat()).collect();
    let globals = many(400_000, |n| format!("cm{n}\nn\n0")).into_bytes();
    let names: Vec<String> = (0..250).map(|n| format!("name{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let code = marshalled(&names, &names);
    let constants = [&[b'('][..], &5000_u32.to_le_bytes(), &code.repeat(5000)].concat();
    vec![
        ("zip members", "m.zip", zip(&members)),
        ("tar members", "m.tar", tar(&headers)),
        ("metadata", "m.gguf", gguf(&pairs)),
        ("stack", "m.pkl", [vec![0x80, 2], b"N".repeat(20 << 20), b".".to_vec()].concat()),
        ("lists on the stack", "m.pkl", [vec![0x80, 2], b"]".repeat(20 << 20), b".".to_vec()].concat()),
        ("memo", "m.pkl", [&[0x80, 2][..], &memo, b"N."].concat()),
        ("imports", "m.pkl", [globals, b"N.".to_vec()].concat()),
        ("calls", "m.pkl", Asm::new(2).raw(b"ccollections\nOrderedDict\n)R0".repeat(1_500_000)).raw(b"N").stop()),
        ("tuples", "m.pkl", Asm::new(2).raw(b"N").raw(b"\x85".repeat(30 << 20)).stop()),
        ("small pickles", "m.pkl", b"N.".repeat(8 << 20)),
        ("torch", "m.pt", torch(&Asm::new(2).raw(b"]").raw(b"(K\x01K\x02e".repeat(3_000_000)).stop())),
        ("compiled code", "m.pyc", [&3531_u16.to_le_bytes()[..], b"\r\n", &[0; 12], &constants].concat()),
        ("maps", "m.msgpack", [&[0x82, 0xa1, b'a'][..], &[0x81, 0xa1, b'b'].repeat(200), &b"\xa1x".repeat(1_000_000)].concat()),
    ]
}

#[test]
fn a_scan_holds_no_more_than_its_bound() {
    let _alone = alone();
    let mut report = Vec::new();
    for (name, file, bytes) in nested().into_iter().chain(documents()).chain(binaries()) {
        let source = bytes.as_slice();
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        let result = scan(&source, file, &ScanOptions { time_max: None, ..ScanOptions::default() });
        let held = ALLOCATOR.peak_usage().saturating_sub(before);
        report.push((held, format!("{:>4} MiB for {:>4} MiB: {name} ({file}), {:?}", held >> 20, bytes.len() >> 20, result.verdict)));
        // What was not read whole says so: an expensive file is never clean by being given up on.
        assert!(result.verdict != Verdict::Clean || result.incomplete.is_empty(), "{name}");
    }
    report.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
    let lines: Vec<&str> = report.iter().map(|(_, line)| line.as_str()).collect();
    println!("{}", lines.join("\n"));
    assert!(report.iter().all(|(held, _)| *held <= HELD_MAX), "{}", lines.join("\n"));
}
