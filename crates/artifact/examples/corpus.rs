//! Writes the corpus of tests/corpus to a folder: `corpus FOLDER [BYTES_MAX]`. Each case is a folder `LABEL/NAME` with its file, so that scanners
//! that go by a file's name see the name that its loader would.

#[path = "../tests/corpus/mod.rs"]
mod corpus;

use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("usage: corpus FOLDER [BYTES_MAX]")?);
    let bytes_max = arguments.next().map_or(Ok(usize::MAX), |text| text.parse())?;
    for case in corpus::all().into_iter().filter(|case| case.bytes.len() <= bytes_max) {
        let label = match case.label {
            corpus::Label::Executes => "executes",
            corpus::Label::Hides => "hides",
            corpus::Label::Harmless => "harmless",
        };
        let inside = folder.join(label).join(&case.name);
        fs::create_dir_all(&inside)?;
        fs::write(inside.join(&case.file), &case.bytes)?;
    }
    Ok(())
}
