//! Prints one report a file as JSON: `cargo run -p picket-artifact --example scan -- FILE…`.

use picket_artifact::{ScanOptions, scan};
use picket_bounded::FileSource;
use std::fs::File;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let source = FileSource::new(File::open(&path)?)?;
        println!("{}", serde_json::to_string(&scan(&source, &path, &ScanOptions::default()))?);
    }
    Ok(())
}
