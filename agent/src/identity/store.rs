use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Identity, IdentityError};

const CURRENT: &str = "identity.json";
const NEXT: &str = "identity.next.json";
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The identity on disk. A renewed one waits beside it until it has completed a handshake: a certificate that does not work never
/// replaces one that does.
#[derive(Clone, Debug)]
pub(crate) struct IdentityStore {
    dir: PathBuf,
}

impl IdentityStore {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.to_path_buf() }
    }

    /// `None` where the host is not enrolled.
    pub(crate) fn current(&self) -> Result<Option<Identity>, IdentityError> {
        self.read(CURRENT)
    }

    /// A renewed one that was not tried yet.
    pub(crate) fn next(&self) -> Result<Option<Identity>, IdentityError> {
        self.read(NEXT)
    }

    pub(crate) fn store(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.write(CURRENT, identity)
    }

    pub(crate) fn store_next(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.write(NEXT, identity)
    }

    /// The renewed one works: from now on it is the identity.
    pub(crate) fn promote(&self) -> Result<(), IdentityError> {
        let (next, current) = (self.dir.join(NEXT), self.dir.join(CURRENT));
        std::fs::rename(&next, &current).and_then(|()| self.sync()).map_err(|source| IdentityError::Io { operation: "replace", path: current, source })
    }

    /// The renewed one does not work.
    pub(crate) fn discard_next(&self) -> Result<(), IdentityError> {
        let path = self.dir.join(NEXT);
        std::fs::remove_file(&path).and_then(|()| self.sync()).map_err(|source| IdentityError::Io { operation: "delete", path, source })
    }

    fn read(&self, name: &str) -> Result<Option<Identity>, IdentityError> {
        let path = self.dir.join(name);
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        // Opened once: a renewed identity may take its place meanwhile.
        let read = File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => serde_json::from_slice(&bytes).map(Some).map_err(|_| IdentityError::Damaged { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Io { operation: "read", path, source }),
        }
    }

    fn write(&self, name: &str, identity: &Identity) -> Result<(), IdentityError> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
            let bytes = zeroize::Zeroizing::new(serde_json::to_vec_pretty(identity)?);
            // A left-over of a crash may be anybody's: made anew, never written into.
            match std::fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            self.sync()
        };
        write().map_err(|source| IdentityError::Io { operation: "write", path: path.clone(), source })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}
