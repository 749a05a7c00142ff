//! The files of a model against what was signed.

use crate::SigningError;
use crate::statement::{HashKind, SignedModel};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Folders inside one another.
const DEPTH_MAX: u32 = 128;
const READ_BYTES: usize = 1 << 20;

/// What the specification's tools leave out at the top of a model besides what the signer names.
const GIT: &[&str] = &[".git", ".gitignore", ".gitattributes", ".github"];

/// A file that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Relative to the model's folder.
    pub path: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// Its digest is another.
    Changed,
    /// It was signed and is not there.
    Missing,
    /// It is there and was not signed.
    Extra,
    /// A link where the signer allowed none.
    Symlink,
    /// Neither file nor folder.
    Special,
}

impl SignedModel {
    /// Compares the files of `model`, a folder or the one file that was signed, with what was signed. `but` are files that need
    /// not be signed: the signature itself, and what the caller accepts. `progress` gets the bytes read and returns false to stop.
    ///
    /// # Errors
    /// When a file or folder cannot be read: the model is then neither as signed nor different.
    pub fn check(&self, model: &Path, but: &[PathBuf], progress: &mut dyn FnMut(u64) -> bool) -> Result<Vec<Difference>, SigningError> {
        let mut differences = BTreeSet::new();
        let mut found = BTreeMap::new();
        let but: BTreeSet<PathBuf> = but.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let is_file = fs::metadata(model).map_err(|source| read_error(model, source))?.is_file();
        if is_file {
            found.insert(".".to_owned(), model.to_owned());
        } else {
            self.walk(model, "", DEPTH_MAX, &but, &mut found, &mut differences)?;
        }
        let mut left: BTreeSet<&str> = self.resources.keys().map(String::as_str).collect();
        for (name, path) in &found {
            let pieces = self.digests(name, path, progress)?;
            let signed = pieces.iter().any(|(piece, _)| self.resources.contains_key(piece)) || self.any_of(name);
            if !signed {
                differences.insert(Difference { path: name.clone(), kind: DifferenceKind::Extra });
                continue;
            }
            for (piece, digest) in &pieces {
                left.remove(piece.as_str());
                if self.resources.get(piece) != Some(digest) {
                    differences.insert(Difference { path: name.clone(), kind: DifferenceKind::Changed });
                }
            }
        }
        for name in left {
            let file = self.file_of(name);
            let kind = if found.contains_key(file) { DifferenceKind::Changed } else { DifferenceKind::Missing };
            differences.insert(Difference { path: file.to_owned(), kind });
        }
        Ok(differences.into_iter().collect())
    }

    /// The file that a resource is about.
    fn file_of<'n>(&self, resource: &'n str) -> &'n str {
        match self.shard_bytes {
            None => resource,
            Some(_) => resource.rsplitn(3, ':').nth(2).unwrap_or(resource),
        }
    }

    fn any_of(&self, name: &str) -> bool {
        self.shard_bytes.is_some() && self.resources.keys().any(|resource| self.file_of(resource) == name)
    }

    /// Paths are relative to the model; a folder that is left out is left out with everything in it.
    fn left_out(&self, name: &str) -> bool {
        let top = name.split('/').next().unwrap_or_default();
        let below = |ignored: &str| name == ignored || name.strip_prefix(ignored).is_some_and(|rest| rest.starts_with('/'));
        // A signer who listed them wants them checked.
        let git = GIT.contains(&top) && !self.resources.keys().any(|signed| signed.split('/').next() == Some(top));
        git || self.ignore.iter().map(|path| path.trim_start_matches("./").trim_end_matches('/')).any(below)
    }

    fn walk(
        &self,
        folder: &Path,
        prefix: &str,
        depth: u32,
        but: &BTreeSet<PathBuf>,
        found: &mut BTreeMap<String, PathBuf>,
        differences: &mut BTreeSet<Difference>,
    ) -> Result<(), SigningError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(SigningError::Unsupported(format!("folders nested deeper than {DEPTH_MAX}")));
        };
        for entry in fs::read_dir(folder).map_err(|source| read_error(folder, source))? {
            let path = entry.map_err(|source| read_error(folder, source))?.path();
            let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = if prefix.is_empty() { own } else { format!("{prefix}/{own}") };
            let link = fs::symlink_metadata(&path).map_err(|source| read_error(&path, source))?;
            // A link to an excepted file is another name, which nobody excepted.
            if self.left_out(&name) || !link.is_symlink() && path.canonicalize().is_ok_and(|path| but.contains(&path)) {
                continue;
            }
            if link.is_symlink() && !self.allow_symlinks {
                differences.insert(Difference { path: name, kind: DifferenceKind::Symlink });
                continue;
            }
            let metadata = fs::metadata(&path).map_err(|source| read_error(&path, source))?;
            if metadata.is_dir() {
                // The depth ends a circle of links.
                self.walk(&path, &name, depth, but, found, differences)?;
            } else if metadata.is_file() {
                found.insert(name, path);
            } else {
                differences.insert(Difference { path: name, kind: DifferenceKind::Special });
            }
        }
        Ok(())
    }

    /// Digests of the file, or of its pieces, by the names that the statement gives them.
    fn digests(&self, name: &str, path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<Vec<(String, String)>, SigningError> {
        let mut file = File::open(path).map_err(|source| read_error(path, source))?;
        let piece_bytes = self.shard_bytes.unwrap_or(u64::MAX);
        let mut pieces = Vec::new();
        let (mut start, mut buffer) = (0_u64, vec![0; READ_BYTES]);
        loop {
            let mut digest = Running::start(self.hash);
            let mut taken = 0_u64;
            while taken < piece_bytes {
                let most = usize::try_from(piece_bytes - taken).unwrap_or(READ_BYTES).min(READ_BYTES);
                let count = file.read(buffer.get_mut(..most).unwrap_or_default()).map_err(|source| read_error(path, source))?;
                if count == 0 {
                    break;
                }
                digest.add(buffer.get(..count).unwrap_or_default());
                taken += count as u64;
                if !progress(count as u64) {
                    return Err(SigningError::Read { path: path.display().to_string(), source: std::io::Error::from(std::io::ErrorKind::Interrupted) });
                }
            }
            // An empty file has no pieces.
            if taken == 0 && self.shard_bytes.is_some() {
                break;
            }
            let piece = if self.shard_bytes.is_some() { format!("{name}:{start}:{}", start + taken) } else { name.to_owned() };
            pieces.push((piece, digest.hex()));
            start += taken;
            if taken < piece_bytes {
                break;
            }
        }
        Ok(pieces)
    }
}

enum Running {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Running {
    fn start(kind: HashKind) -> Self {
        match kind {
            HashKind::Sha256 => Self::Sha256(Sha256::new()),
            HashKind::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Blake3(hash) => {
                hash.update(bytes);
            }
        }
    }

    fn hex(self) -> String {
        match self {
            Self::Sha256(hash) => hex::encode(hash.finalize()),
            Self::Blake3(hash) => hash.finalize().to_hex().to_string(),
        }
    }
}

fn read_error(path: &Path, source: std::io::Error) -> SigningError {
    SigningError::Read { path: path.display().to_string(), source }
}
