//! What the host knows about a process beyond the kernel's record: user names, container, job, role.

mod container;
mod invocation;
mod job;
mod proc;
mod roles;
mod users;

pub(crate) use container::{Apptainer, CgroupInfo, Cgroups};
pub(crate) use invocation::{Invocation, matches};
pub(crate) use job::{job_of, job_of_cgroup};
pub(crate) use proc::{ProcReader, ProcText, pairs};
pub(crate) use roles::{Roles, own_file};
pub(crate) use users::Users;

use std::{fs::File, io::Read, path::Path};

/// At most `bytes_max` of a small file, as text; empty where it cannot be read.
fn read_capped(path: &Path, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(bytes_max).read_to_end(&mut bytes);
    }
    bytes
}
