//! ELF programs and libraries: not judged as code, but by what packers, droppers and patchers leave in their structure.

mod limits;
mod parser;

use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use limits::MARK_BYTES;
use picket_bounded::{BoundedError, Source, read_range};

/// Loaders of the C libraries that exist; the rest of a path varies by machine.
const LOADERS: &[&str] = &["ld-linux", "ld64.so", "ld.so.1", "ld-musl-", "ld.so", "linker64", "linker"];
/// Folders in which a system keeps them.
const LOADER_FOLDERS: &[&str] = &["/lib/", "/lib64/", "/lib32/", "/libx32/", "/usr/lib/", "/usr/lib64/", "/system/bin/", "/libexec/", "/usr/libexec/"];

/// Looks at the structure and says where the program's own content ends.
pub(crate) fn examine_elf(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> u64 {
    let elf = match parser::parse(source) {
        Ok(elf) => elf,
        Err(error) => {
            if !matches!(error, BoundedError::Io(_)) {
                let explanation = format!("The program's headers contradict their format: {error}.");
                scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base));
            }
            scan.failed(place, &error);
            return source.len();
        }
    };
    let mut found = |explanation: &str, value: String| scan.add(Finding::new(&rules::NATIVE_TRAIT, &place.member, explanation).at(place.base).value(value));
    if elf.writable_code {
        found("Code of this program can be rewritten while it runs, which packers need and compilers do not write.", "segment RWX".to_owned());
    }
    if elf.executable_stack {
        found("The program asks for a stack that can be executed.", "PT_GNU_STACK RWX".to_owned());
    }
    if let Some(interpreter) = elf.interpreter.as_deref().filter(|path| !is_loader(path)) {
        found("The program names its own interpreter, which the kernel starts in its place.", interpreter.to_owned());
    }
    if elf.entry_outside {
        found("The program starts at an address outside its code.", "e_entry".to_owned());
    }
    if read_range(source, 0, source.len().min(MARK_BYTES), MARK_BYTES).is_ok_and(|head| head.windows(4).any(|four| four == b"UPX!")) {
        found("The program is packed: what it does is not in the file as code.", "UPX!".to_owned());
    }
    if elf.cut {
        let explanation = "Segments or sections of the program reach past the end of the file.";
        scan.add(Finding::new(&rules::STRUCTURE_MALFORMED, &place.member, explanation).at(place.base));
    }
    elf.end
}

fn is_loader(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let folder = format!("{folder}/");
    // Distributions without a file system of the usual shape keep theirs in a store.
    let usual = LOADER_FOLDERS.contains(&folder.as_str()) || folder.starts_with("/nix/store/") || folder.starts_with("/gnu/store/");
    usual && LOADERS.iter().any(|loader| name.starts_with(loader)) && !path.contains("..")
}
