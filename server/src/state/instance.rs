//! The deployment's identity, and the locks that keep two servers out of one state folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// `<state_dir>/instance.json`: made at the first start, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Name of this deployment in certificates.
    pub deployment: Uuid,
    /// RFC 3339.
    pub created: String,
}

/// An identity, and the lock on its folder's making.
#[derive(Debug)]
pub struct OpenedInstance {
    /// The identity.
    pub instance: Instance,
    _making: File,
}

/// Held while a server runs on the folder.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} cannot be read: restore it from a backup; a new one would make every device's certificate worthless")]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another server has it.
    #[error("another server runs on {0}")]
    Running(PathBuf),
}

impl Instance {
    /// Reads the identity, making folder and file at the first start. While the answer lives, another process waits here: of two that start
    /// together on a new folder, one makes everything.
    pub fn open(state_dir: &Path) -> Result<OpenedInstance, InstanceError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| InstanceError::File { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed(state_dir))?;
        let lock_path = state_dir.join("init.lock");
        let lock = private(&lock_path).map_err(failed(&lock_path))?;
        lock.lock().map_err(failed(&lock_path))?;
        let path = state_dir.join("instance.json");
        let instance = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| InstanceError::Corrupt { path, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let instance = Self { deployment: Uuid::new_v4(), created: crate::clock::text(crate::clock::now()) };
                let bytes = serde_json::to_vec_pretty(&instance).map_err(|source| InstanceError::Corrupt { path: path.clone(), source })?;
                crate::pki::write_private(&path, &bytes).map_err(failed(&path))?;
                instance
            }
            Err(source) => return Err(InstanceError::File { path, source }),
        };
        Ok(OpenedInstance { instance, _making: lock })
    }

    /// Takes the folder for one running server.
    pub fn lock(state_dir: &Path) -> Result<InstanceLock, InstanceError> {
        let path = state_dir.join("server.lock");
        let file = private(&path).map_err(|source| InstanceError::File { path: path.clone(), source })?;
        match take(&file) {
            Ok(()) => Ok(InstanceLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(InstanceError::Running(state_dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(InstanceError::File { path, source }),
        }
    }
}

/// A child between fork and exec holds its parent's descriptors for an instant, and so a lock that the parent gave up: asked for half a
/// second before it counts as taken.
fn take(file: &File) -> Result<(), TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(25)),
            taken => return taken,
        }
    }
    file.try_lock()
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_stays_and_one_server_runs() {
        let folder = tempfile::tempdir().unwrap();
        let first = Instance::open(folder.path()).unwrap().instance;
        assert_eq!(Instance::open(folder.path()).unwrap().instance, first);
        let held = Instance::lock(folder.path()).unwrap();
        assert!(matches!(Instance::lock(folder.path()), Err(InstanceError::Running(_))));
        drop(held);
        Instance::lock(folder.path()).unwrap();
    }

    #[test]
    fn a_damaged_identity_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("instance.json"), "{").unwrap();
        assert!(matches!(Instance::open(folder.path()), Err(InstanceError::Corrupt { .. })));
    }
}
