//! Packs: files of rules, as an admin lays them in a folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A pack larger than this is no pack of rules; the largest public collections have 5 MiB in one file.
const PACK_BYTES_MAX: u64 = 16 << 20;
/// Files of one folder, and of the folders in it.
const PACKS_MAX: usize = 10_000;
/// Folders inside one another.
const DEPTH_MAX: u32 = 16;

/// The source of some rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// How errors name it: a path.
    pub origin: String,
    /// The namespace of its rules: the file's name without its ending.
    pub namespace: String,
    /// The rules.
    pub text: String,
}

impl Pack {
    /// Rules that are at hand.
    #[must_use]
    pub fn new(origin: &str, text: &str) -> Self {
        let stem = Path::new(origin).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self { origin: origin.to_owned(), namespace: stem, text: text.to_owned() }
    }
}

/// Why packs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file system refused.
    #[error("read {path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not text.
    #[error("{path}: rules must be UTF-8, byte {at} is not")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// First byte that is not.
        at: usize,
    },
    /// Larger than a pack may be.
    #[error("{path}: more than {PACK_BYTES_MAX} bytes of rules in one file")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// More than a folder may hold.
    #[error("{path}: more than {PACKS_MAX} files of rules, or folders nested deeper than {DEPTH_MAX}")]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without rules is a mistake in its name.
    #[error("{path}: no .yar or .yara file")]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads a file of rules, or every `.yar` and `.yara` file of a folder and the folders in it, in the order of their paths.
///
/// # Errors
/// The first file that cannot be read, and a folder without rules.
pub fn read_packs(path: &Path) -> Result<Vec<Pack>, PackError> {
    let mut files = Vec::new();
    let metadata = fs::metadata(path).map_err(|source| PackError::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        find(path, DEPTH_MAX, &mut files)?;
        if files.is_empty() {
            return Err(PackError::Empty { path: path.to_owned() });
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    files.iter().map(|file| read(file)).collect()
}

fn find(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> Result<(), PackError> {
    let failed = |source| PackError::Read { path: folder.to_owned(), source };
    let too_many = || PackError::TooMany { path: folder.to_owned() };
    let depth = depth.checked_sub(1).ok_or_else(too_many)?;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Links are followed: that is how configuration is shared between hosts.
        if path.is_dir() {
            find(&path, depth, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yar" || extension == "yara") {
            files.push(path);
        }
        if files.len() > PACKS_MAX {
            return Err(too_many());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Pack, PackError> {
    let failed = |source| PackError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(PACK_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PACK_BYTES_MAX {
        return Err(PackError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|error| PackError::NotUtf8 { path: path.to_owned(), at: error.utf8_error().valid_up_to() })?;
    Ok(Pack::new(&path.to_string_lossy(), &text))
}
