//! What the agent may still do once the probes are attached. It stays uid 0 (its files and `/proc` are root's) without root's powers:
//!
//! - `CAP_BPF`, `CAP_PERFMON`: maps are read and written, iterators run, watches change;
//! - `CAP_DAC_READ_SEARCH`: watched trees belong to others;
//! - `CAP_SYS_PTRACE`: `/proc/PID` of others (`exe`, `environ`).
//!
//! Everything else leaves the permitted, effective, inheritable, ambient and bounding sets, and `no_new_privs` keeps an exec from
//! bringing it back. Capabilities belong to a thread: this runs before any other thread exists.

use caps::{CapSet, Capability, CapsHashSet};

const KEPT: [Capability; 4] = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE];

/// Why privileges could not be dropped; the agent does not go on then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegesError {
    #[error("drop capabilities: {0}")]
    Capabilities(String),
    #[error("set no_new_privs")]
    NoNewPrivs(#[source] nix::Error),
}

/// Gives up everything but what the module names. Not undone.
pub(crate) fn drop_unneeded() -> Result<(), PrivilegesError> {
    let failed = |error: caps::errors::CapsError| PrivilegesError::Capabilities(error.to_string());
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|capability| permitted.contains(capability)).collect();
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding).map_err(failed)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(failed)?;
    caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    nix::sys::prctl::set_no_new_privs().map_err(PrivilegesError::NoNewPrivs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_dropped_keeps_only_what_is_named() {
        // In a thread of its own: the other tests keep their rights.
        std::thread::spawn(|| {
            let before = caps::read(None, CapSet::Permitted).unwrap();
            drop_unneeded().unwrap();
            let after = caps::read(None, CapSet::Permitted).unwrap();
            let expected: CapsHashSet = KEPT.into_iter().filter(|capability| before.contains(capability)).collect();
            assert_eq!(after, expected);
            assert_eq!(caps::read(None, CapSet::Effective).unwrap(), expected);
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
            if before.contains(&Capability::CAP_SETPCAP) {
                assert_eq!(caps::read(None, CapSet::Bounding).unwrap(), expected);
            }
        })
        .join()
        .unwrap();
    }
}
