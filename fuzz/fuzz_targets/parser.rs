//! One parser, told by `PICKET_FUZZ_FORMAT` (a format's name as in reports), given any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_artifact::{Format, ScanOptions, scan_as};
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
});
