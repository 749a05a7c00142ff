//! One parser, told by `PICKET_FUZZ_FORMAT` (a format's name as in reports), given any bytes; for formats with tensors also their table and digests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_artifact::{Format, ScanOptions, Watch, digest, scan_as, tensor_index};
use std::sync::LazyLock;

static FORMAT: LazyLock<Format> = LazyLock::new(|| {
    let wanted = std::env::var("PICKET_FUZZ_FORMAT").unwrap_or_default();
    Format::ALL.iter().copied().find(|format| format.name() == wanted).unwrap_or_else(|| panic!("PICKET_FUZZ_FORMAT={wanted} is no format"))
});

fuzz_target!(|bytes: &[u8]| {
    let mut options = ScanOptions::default();
    options.limits.steps = 5_000_000;
    options.limits.inflated_bytes = 64 << 20;
    options.limits.member_bytes = 16 << 20;
    options.limits.held_bytes = 32 << 20;
    let name = match *FORMAT {
        Format::Jinja => "chat_template.jinja",
        Format::MlModel => "MLmodel",
        Format::Python => "m.py",
        _ => "m.bin",
    };
    let _report = scan_as(&bytes, name, *FORMAT, &options);
    if matches!(*FORMAT, Format::Hdf5 | Format::Safetensors | Format::Gguf | Format::Npy | Format::Zip | Format::Onnx | Format::Pickle) {
        let index = tensor_index(&bytes, name, &options);
        let found = digest(&bytes, &index, &|_| Err(std::io::ErrorKind::NotFound.into()), &Watch::default());
        assert!(found.is_ok_and(|found| found.tensors.len() <= index.tensors.len()), "a digest without its tensor");
    }
});
