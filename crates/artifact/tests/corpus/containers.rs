//! Archives, streams and names around a pickle: what one reader sees and another does not.

use super::Label::{Executes, Hides};
use super::build::{
    Asm, Item, Packed, SevenZip, bzip2, evil, gzip, harmless, item, lz4, lzma, member, npy, safetensors, sevenz, state_dict, tar, torch, torch_items, xz, zip,
    zlib, zstd,
};
use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    torch_zips(&mut cases);
    zips(&mut cases);
    names(&mut cases);
    compressed(&mut cases);
    sevenzips(&mut cases);
    tars(&mut cases);
    arrays(&mut cases);
    cases
}

fn with(change: impl FnOnce(&mut Vec<Item>)) -> Vec<u8> {
    let mut items = torch_items(&evil());
    change(&mut items);
    zip(&items)
}

fn torch_zips(cases: &mut Vec<Case>) {
    let mut add = |label, name: &str, bytes: Vec<u8>| cases.push(case(label, format!("pt-{name}"), "pytorch_model.bin", bytes));
    add(Executes, "plain", torch(&evil()));
    add(Executes, "deflated", with(|items| items[0].method = 8));
    add(Executes, "bad-crc", with(|items| items[0].crc = Some(0xdead_beef)));
    add(Executes, "encrypted-flag", with(|items| items[0].flags = 1));
    add(Executes, "encrypted-flag-on-another", with(|items| items[3].flags = 1));
    add(Executes, "name-mismatch", with(|items| items[0].local_name = Some(b"archive/other.txt".to_vec())));
    add(Executes, "method-mismatch", with(|items| items[0].local_method = Some(99)));
    add(Executes, "unlisted", with(|items| items[0].listed = false));
    add(Executes, "corrupt-first-entry", with(|items| items.insert(0, Item { crc: Some(1), method: 99, ..item("archive/a", b"broken") })));
    add(Executes, "duplicate-data-pkl", with(|items| items.insert(1, item("archive/data.pkl", state_dict()))));
    add(Executes, "duplicate-data-pkl-first", with(|items| items.insert(0, item("archive/data.pkl", state_dict()))));
    add(Executes, "trailing-junk", [torch(&evil()), vec![7; 60_000]].concat());
    add(Executes, "leading-junk", [vec![7; 60_000], torch(&evil())].concat());
    add(
        Executes,
        "second-pickle",
        with(|items| {
            items[0].data = state_dict();
            items.push(item("archive/extra.pkl", evil()));
        }),
    );
    add(
        Executes,
        "pickle-as-record",
        with(|items| {
            items[0].data = state_dict();
            items.push(item("archive/extra/notes", evil()));
        }),
    );
    add(Executes, "no-directory", {
        let whole = torch(&evil());
        let end = whole.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        whole[..end].to_vec()
    });
    add(Executes, "storage-is-pickle-too", with(|items| items[2].data = evil()));
    add(Executes, "polyglot-pickle-then-zip", [evil(), torch(&state_dict())].concat());
    add(Hides, "polyglot-harmless-then-zip", [harmless(), torch(&state_dict())].concat());
    add(
        Executes,
        "torchscript-evil-constants",
        zip(&[item("m/data.pkl", harmless()), item("m/code/__torch__.py", "def f(self):\n  return 1\n"), item("m/constants.pkl", evil())]),
    );
    let magic = Asm::new(2).raw(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19").stop();
    let number = Asm::new(2).raw(b"M\xe9\x03").stop();
    let system = Asm::new(2).raw(b"}").stop();
    let keys = Asm::new(2).raw(b"]").stop();
    add(Executes, "legacy", [&magic[..], &number, &system, &evil(), &keys].concat());
    add(Executes, "legacy-payload-in-keys", [&magic[..], &number, &system, &harmless(), &evil()].concat());
    add(
        Executes,
        "legacy-tar",
        tar(&[
            member("sys_info", b'0', "", &system),
            member("pickle", b'0', "", &evil()),
            member("storages", b'0', "", &Asm::new(2).int(0).stop()),
            member("tensors", b'0', "", &Asm::new(2).int(0).stop()),
        ]),
    );
    cases.push(case(Executes, "pt-rng-state", "rng_state.pth", torch(&evil())));
    cases.push(case(Executes, "pt-dcp-metadata", ".metadata", evil()));
}

fn zips(cases: &mut Vec<Case>) {
    let mut add = |label, name: &str, bytes: Vec<u8>| cases.push(case(label, format!("zip-{name}"), "model.zip", bytes));
    add(Executes, "nested-3", zip(&[item("a.zip", zip(&[item("b.zip", zip(&[item("data.pkl", evil())]))]))]));
    add(Executes, "traversal", zip(&[item("../../.bashrc", b"id\n")]));
    add(Executes, "traversal-windows", zip(&[item(r"..\..\x.txt", b"x")]));
    add(Executes, "absolute", zip(&[item("/etc/cron.d/x", b"x")]));
    add(Executes, "symlink", zip(&[Item { mode: 0o120_777, ..item("link", b"/etc/passwd") }]));
    add(Hides, "duplicate-names", zip(&[item("a.json", b"{}"), item("a.json", b"[]")]));
    add(Hides, "duplicate-by-dots", zip(&[item("a/b.json", b"{}"), item("a/./b.json", b"[]")]));
    add(Hides, "zero-byte-name", zip(&[item("a.txt\0.pkl", b"x")]));
    add(Hides, "encrypted", zip(&[Item { flags: 1, crc: Some(1), ..item("weights.bin", b"secret bytes") }]));
    add(Hides, "bomb", zip(&[Item { method: 8, ..item("zeros", vec![0; 160 << 20]) }]));
    let gap = {
        let whole = zip(&[item("a", b"x")]);
        let directory = whole.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        let mut out = [&whole[..directory], &evil(), &[7_u8; 200][..], &whole[directory..]].concat();
        let end = out.len() - 6;
        let start = u32::try_from(directory + evil().len() + 200).unwrap();
        out[end..end + 4].copy_from_slice(&start.to_le_bytes());
        out
    };
    add(Executes, "payload-between-members", gap);
    add(Hides, "program-in-assets", zip(&[item("saved_model/assets.extra/helper", super::build::elf(7, 7, "/tmp/x", b""))]));
    let quine = zip(&[item("a", vec![0; 10])]);
    let mut deep = quine;
    for _ in 0..12 {
        deep = zip(&[item("z.zip", deep)]);
    }
    add(Hides, "deep", deep);
}

fn names(cases: &mut Vec<Case>) {
    for (name, file) in [
        ("pickle-as-safetensors", "model.safetensors"),
        ("pickle-as-p", "config.p"),
        ("pickle-as-bin", "pytorch_model.bin"),
        ("pickle-as-json", "config.json"),
        ("pickle-as-onnx", "model.onnx"),
        ("pickle-without-name", "weights"),
        ("pickle-as-txt", "vocab.txt"),
    ] {
        cases.push(case(Executes, format!("name-{name}"), file, evil()));
    }
    let program = super::build::elf(5, 6, "/lib64/ld-linux-x86-64.so.2", b"\x90\x90\xc3");
    for file in ["pytorch_model.bin", "model.gguf", "weights.pt"] {
        cases.push(case(Executes, format!("name-program-as-{file}"), file, program.clone()));
    }
    cases.push(case(Executes, "name-script-as-model", "weights.pt", "#!/bin/sh\nid\n"));
    cases.push(case(Hides, "name-zip-as-safetensors", "model.safetensors", zip(&[item("a.txt", b"text")])));
    cases.push(case(Executes, "name-safetensors-then-zip", "model.safetensors", [safetensors("{}", b""), torch(&evil())].concat()));
}

fn compressed(cases: &mut Vec<Case>) {
    let forms: [(&str, &str, Vec<u8>); 7] = [
        ("gzip", "model.pkl.gz", gzip(&evil())),
        ("zlib", "model.joblib", zlib(&evil())),
        ("bzip2", "model.pkl.bz2", bzip2(&evil())),
        ("xz", "model.pkl.xz", xz(&evil())),
        ("lzma", "model.pkl.lzma", lzma(&evil())),
        ("lz4", "model.pkl.lz4", lz4(&evil())),
        ("zstd", "model.pkl.zst", zstd(&evil())),
    ];
    for (name, file, bytes) in forms {
        cases.push(case(Executes, format!("joblib-{name}"), "model.joblib", bytes.clone()));
        cases.push(case(Executes, format!("stream-{name}"), file, bytes));
    }
    cases.push(case(Executes, "stream-gzip-twice", "m.gz", gzip(&gzip(&evil()))));
    cases.push(case(Executes, "stream-gzip-second-member", "m.pkl.gz", [gzip(&harmless()), gzip(&evil())].concat()));
    cases.push(case(Executes, "stream-gzip-then-pickle", "m.gz", [gzip(b"text"), evil(), vec![7; 100]].concat()));
    cases.push(case(Executes, "stream-tar-gz", "m.tar.gz", gzip(&tar(&[member("data.pkl", b'0', "", &evil())]))));
    cases.push(case(Hides, "stream-bomb", "m.gz", gzip(&vec![0; 150 << 20])));
    cases.push(case(Executes, "stream-cut", "m.pkl.gz", {
        let whole = gzip(&[evil(), (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()].concat());
        whole[..whole.len() / 2].to_vec()
    }));
    let old = |data: &[u8]| [format!("ZF{:<19}", format!("0x{:x}", data.len())).into_bytes(), zlib(data)].concat();
    cases.push(case(Executes, "joblib-old-zfile", "model.joblib", old(&evil())));
    let wrapper = |dtype: &str, count: i32| {
        Asm::new(3)
            .global("joblib.numpy_pickle", "NumpyArrayWrapper")
            .raw(b")\x81}(")
            .text("subclass")
            .global("numpy", "ndarray")
            .text("shape")
            .int(count)
            .raw(b"\x85")
            .text("order")
            .text("C")
            .text("dtype")
            .global("numpy", "dtype")
            .text(dtype)
            .raw(b"\x89\x88\x87R(K\x03")
            .text("<")
            .raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
            .text("allow_mmap")
            .raw(b"\x88ub")
            .0
    };
    cases.push(case(Executes, "joblib-after-array", "model.joblib", [wrapper("u1", 8), vec![0x80; 8], b"0".to_vec(), Asm::new(0).payload().stop()].concat()));
    cases.push(case(Executes, "joblib-object-array", "model.joblib", [wrapper("O", 1), evil(), b".".to_vec()].concat()));
}

fn sevenzips(cases: &mut Vec<Case>) {
    let pickle = evil();
    let files = || vec![Packed { name: "archive/data.pkl", data: &pickle }, Packed { name: "archive/version", data: b"3\n" }];
    for (name, way, packed) in [
        ("copy", SevenZip::Copy, false),
        ("lzma", SevenZip::Lzma, false),
        ("lzma2", SevenZip::Lzma2, false),
        ("delta", SevenZip::Delta, false),
        ("bcj2", SevenZip::Bcj2, false),
        ("packed-header", SevenZip::Lzma, true),
    ] {
        cases.push(case(Executes, format!("7z-{name}"), "pytorch_model.bin", sevenz(&files(), way, packed)));
    }
    cases.push(case(Executes, "7z-named-pt", "model.pt", sevenz(&files(), SevenZip::Copy, false)));
    cases.push(case(Executes, "7z-traversal", "m.7z", sevenz(&[Packed { name: "../../x", data: b"x" }], SevenZip::Copy, false)));
    cases.push(case(Hides, "7z-encrypted", "m.7z", sevenz(&files(), SevenZip::Aes, false)));
    cases.push(case(Hides, "7z-bomb", "m.7z", sevenz(&[Packed { name: "zeros", data: &vec![0; 150 << 20] }], SevenZip::Lzma2, false)));
    cases.push(case(Hides, "7z-duplicate", "m.7z", sevenz(&[Packed { name: "a", data: b"1" }, Packed { name: "a", data: b"2" }], SevenZip::Copy, false)));
    cases.push(case(Executes, "7z-then-pickle", "m.7z", [sevenz(&[Packed { name: "a", data: b"1" }], SevenZip::Copy, false), evil(), vec![7; 100]].concat()));
}

fn tars(cases: &mut Vec<Case>) {
    let mut add = |label, name: &str, file: &str, members: &[Vec<u8>]| cases.push(case(label, format!("tar-{name}"), file, tar(members)));
    add(Executes, "member", "m.tar", &[member("weights/data.pkl", b'0', "", &evil())]);
    add(Executes, "webdataset", "shard-0.tar", &[member("0001.txt", b'0', "", b"cat"), member("0001.pkl", b'0', "", &evil())]);
    add(Executes, "traversal", "m.tar", &[member("../../x", b'0', "", b"x")]);
    add(Executes, "symlink", "m.tar", &[member("a", b'2', "/etc/passwd", b"")]);
    add(Executes, "hard-link", "m.tar", &[member("a", b'1', "../../etc/passwd", b"")]);
    add(Executes, "write-through-link", "m.tar", &[member("a", b'2', "../..", b""), member("a/x", b'0', "", b"x")]);
    add(Hides, "device", "m.tar", &[member("null", b'3', "", b"")]);
    add(Hides, "duplicate", "m.tar", &[member("a.json", b'0', "", b"{}"), member("a.json", b'0', "", b"[]")]);
    let ckpt = torch(&state_dict());
    add(
        Executes,
        "nemo-target",
        "m.nemo",
        &[member("model_config.yaml", b'0', "", b"model:\n  _target_: os.system\n"), member("model_weights.ckpt", b'0', "", &ckpt)],
    );
    add(Executes, "nemo-weights", "m.nemo", &[member("model_config.yaml", b'0', "", b"model: {}\n"), member("model_weights.ckpt", b'0', "", &torch(&evil()))]);
    add(
        Executes,
        "nemo-duplicate",
        "m.nemo",
        &[
            member("model_config.yaml", b'0', "", b"a: 1\n"),
            member("model_weights.ckpt", b'0', "", &ckpt),
            member("model_weights.ckpt", b'0', "", &torch(&evil())),
        ],
    );
    let layer = |more: Vec<u8>| {
        tar(&[
            member("etc/passwd", b'0', "", b"root:x:0:0::/:/bin/sh\n"),
            member("usr/lib/x.txt", b'0', "", b"x"),
            member("var/lib/y.txt", b'0', "", b"y"),
            more,
        ])
    };
    let image = |layer: Vec<u8>| [member("oci-layout", b'0', "", b"{\"imageLayoutVersion\": \"1.0.0\"}"), member("blobs/sha256/aa", b'0', "", &gzip(&layer))];
    add(Executes, "oci-pickle-in-layer", "image.tar", &image(layer(member("models/data.pkl", b'0', "", &evil()))));
    add(Executes, "oci-whiteout-outside", "image.tar", &image(layer(member("etc/.wh...", b'0', "", b""))));
    add(
        Executes,
        "oci-write-through-link",
        "image.tar",
        &image(tar(&[
            member("etc/x", b'0', "", b"x"),
            member("usr/x", b'0', "", b"x"),
            member("var/x", b'0', "", b"x"),
            member("opt/l", b'2', "../../../root", b""),
            member("opt/l/.ssh", b'0', "", b"key"),
        ])),
    );
}

fn arrays(cases: &mut Vec<Case>) {
    cases.push(case(Executes, "npy-object", "a.npy", npy("'|O'", "(1,)", &evil())));
    cases.push(case(Executes, "npy-structured-object", "a.npy", npy("[('a', '<f8'), ('b', '|O')]", "(1,)", &evil())));
    cases.push(case(Executes, "npz-object", "a.npz", zip(&[item("a.npy", npy("'|O'", "(1,)", &evil()))])));
    let packed = npy("'|O'", "(1,)", &evil());
    let alone = lzma(&packed);
    let method14 = [&[9, 20, 5, 0][..], &alone[..5], &alone[13..]].concat();
    let mut lzma_item = item("a.npy", &method14);
    lzma_item.crc = Some(picket_bounded::crc32(&packed));
    let mut archive = zip(&[lzma_item]);
    // The writer stores what it is given: both headers say how it is packed, and how large it will be.
    for (signature, method, size) in [(&b"PK\x03\x04"[..], 8, 22), (b"PK\x01\x02", 10, 24)] {
        let at = archive.windows(4).position(|four| four == signature).unwrap();
        archive[at + method] = 14;
        archive[at + size..at + size + 4].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
    }
    cases.push(case(Executes, "npz-object-lzma", "a.npz", archive));
    cases.push(case(Hides, "npy-overflow", "a.npy", npy("'<f8'", "(4611686018427387904, 4)", &[0; 64])));
}
