//! Any bytes, judged by what they are. The first byte chooses a name, since some text is told apart by it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_artifact::{ScanOptions, Verdict, scan};

const NAMES: [&str; 12] = [
    "m.bin", "m.pkl", "m.py", "m.pth", "config.json", "config.yaml", "chat_template.jinja", "MLmodel", "requirements.txt", "m.xml", "n.ipynb", "checkpoint",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let name = NAMES.get(usize::from(*first) % NAMES.len()).copied().unwrap_or("m.bin");
    let report = scan(&rest, name, &picket_fuzz_options());
    assert!(report.verdict != Verdict::Clean || report.incomplete.is_empty(), "clean and incomplete");
});

/// Smaller ceilings than the product's, so that what grows with its input is seen early.
fn picket_fuzz_options() -> ScanOptions {
    let mut options = ScanOptions::default();
    options.limits.steps = 5_000_000;
    options.limits.inflated_bytes = 64 << 20;
    options.limits.member_bytes = 16 << 20;
    options.limits.held_bytes = 32 << 20;
    options
}
