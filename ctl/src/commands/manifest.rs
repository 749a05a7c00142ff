//! Manifests of digests, on disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use picket_artifact::{MANIFEST_SCHEMA, Manifest, ManifestFile};
use picket_bounded::read_to_cap;

use crate::error::CtlError;

/// 300 bytes a tensor: three million of them. Larger is no manifest of ours.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// Reads one.
pub(super) fn read(path: &Path) -> Result<Manifest, CtlError> {
    let failed = |message: String| CtlError::Config { path: path.to_owned(), message };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let bytes = read_to_cap(file, MANIFEST_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    Manifest::parse(&bytes).map_err(|error| failed(error.to_string()))
}

/// Writes one beside its name and renames it: a baseline is whole or not there.
pub(super) fn write(path: &Path, files: Vec<ManifestFile>, complete: bool) -> Result<(), CtlError> {
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        tool: format!("picketctl {}", env!("CARGO_PKG_VERSION")),
        created: jiff::Timestamp::now().to_string(),
        complete,
        files,
    };
    let failed = |error: io::Error| CtlError::Config { path: path.to_owned(), message: format!("cannot write: {error}") };
    whole(path, |out| Ok(serde_json::to_writer_pretty(out, &manifest)?)).map_err(failed)
}

/// Writes a file under another name, then renames it into place.
pub(super) fn whole(path: &Path, fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().ok_or_else(|| io::Error::other("this is no file name"))?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part: PathBuf = path.with_file_name(name);
    let written = File::create_new(&part).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        writeln!(out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, path)
    });
    if written.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&part);
    }
    written
}
