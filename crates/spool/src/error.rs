use std::{io, path::PathBuf};

/// What can go wrong with the spool, by whose fault.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool uses all the bytes it may use. The frame was not stored.
    #[error("the spool is full: {used_bytes} of {limit_bytes} bytes are in use")]
    Full {
        /// Bytes in use.
        used_bytes: u64,
        /// What this kind of frame may use.
        limit_bytes: u64,
    },
    /// The file system has no room, or the quota is used up. The frame was not stored.
    #[error("no space left on the disk of {}", path.display())]
    NoSpace {
        /// File that was written.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Another process holds the folder.
    #[error("{} is in use by another agent", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder was written by another layout of the spool.
    #[error("{} has layout {found}, this agent reads layout {}; finish sending it with the agent that wrote it, or move the folder away", path.display(), crate::LAYOUT_VERSION)]
    Layout {
        /// File with the foreign version.
        path: PathBuf,
        /// Version found.
        found: u8,
    },
    /// A frame that can never be stored.
    #[error("a frame of {bytes} bytes and {events} events is over the limits")]
    Oversized {
        /// Payload bytes.
        bytes: usize,
        /// Events claimed.
        events: u32,
    },
    /// Any other refusal of the disk. The frame was not stored.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, source },
            _ => Self::Io { operation, path, source },
        }
    }
}
