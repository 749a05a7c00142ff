//! Pins: how several objects share one map, and how counters outlive a killed agent.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::sensor::SensorError;

const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Counters and consumed counts: the only pins that stay after load.
pub(crate) const KEPT: [&str; 2] = ["picket_counters", "picket_consumed"];

/// Maps that several objects use; every other map belongs to one object.
pub(crate) const SHARED: [&str; 27] = [
    "picket_on_exit",
    "picket_ring",
    "picket_counters",
    "picket_consumed",
    "picket_own",
    "picket_flows",
    "picket_action",
    "picket_repeats",
    "picket_identities",
    "picket_traffic",
    "picket_network",
    "picket_sockets",
    "picket_datagrams",
    "picket_config",
    "picket_state",
    "picket_roots",
    "picket_supers",
    "picket_links",
    "picket_verdicts",
    "picket_extensions",
    "picket_writers",
    "picket_descriptors",
    "picket_uses",
    "picket_mapped",
    "picket_holders",
    "picket_held",
    "picket_naming",
];

/// A folder in a bpf file system. Without a configured one it is private to this sensor and removed with it.
#[derive(Debug)]
pub(crate) struct PinDir {
    path: PathBuf,
    keep: bool,
}

impl PinDir {
    /// Opens the folder, mounting the bpf file system at its usual place if it is not there: systemd does the same at boot.
    pub(crate) fn open(configured: Option<&Path>) -> Result<Self, SensorError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = match configured {
            Some(path) => path.to_path_buf(),
            None => Path::new(MOUNT_POINT).join(format!("picket-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))),
        };
        if path.starts_with(MOUNT_POINT) && !is_bpffs(Path::new(MOUNT_POINT)) {
            mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, Some("mode=700")).map_err(|error| {
                SensorError::Unsupported(format!(
                    "no bpf file system at {MOUNT_POINT} and mounting it failed ({error}); mount it with: mount -t bpf bpf {MOUNT_POINT}"
                ))
            })?;
        }
        std::fs::create_dir_all(&path).map_err(|source| SensorError::Io { what: "create the folder for pinned maps", source })?;
        if !is_bpffs(&path) {
            return Err(SensorError::Misuse(format!("pin_dir {} is not on a bpf file system", path.display())));
        }
        Ok(Self { path, keep: configured.is_some() })
    }

    /// Where a map of this name is pinned.
    pub(crate) fn of(&self, map: &str) -> PathBuf {
        self.path.join(map)
    }

    /// True where the counters are to outlive the process.
    pub(crate) fn keeps(&self) -> bool {
        self.keep
    }

    /// Removes the pins that were only needed while objects were loaded.
    pub(crate) fn loaded(&self) {
        for map in SHARED {
            if !self.keep || !KEPT.contains(&map) {
                remove(&self.of(map));
            }
        }
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        for map in SHARED {
            remove(&self.of(map));
        }
        // Fails where somebody else's pins are in it: then it is not ours to remove.
        let _ = std::fs::remove_dir(&self.path);
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        if !self.keep {
            self.clear();
        }
    }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a pinned map");
    }
}
