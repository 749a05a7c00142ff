//! The root of the control groups: a program on it sees the sockets of every process.

use std::fs::File;

/// The initial control group namespace's fixed inode (`PROC_CGROUP_INIT_INO`).
const INITIAL_NAMESPACE: &str = "cgroup:[4026531835]";

/// The root of the mounted cgroup2 hierarchy, or why a program there would not see everybody.
pub(crate) fn root() -> Result<File, String> {
    let namespace = std::fs::read_link("/proc/self/ns/cgroup").map_err(|error| format!("/proc/self/ns/cgroup: {error}"))?;
    if namespace.as_os_str() != INITIAL_NAMESPACE {
        return Err("runs in a control group namespace of its own and would see only its own sockets; share the host's".into());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    let path = mount_point(&mounts).ok_or("no cgroup2 hierarchy is mounted")?;
    File::open(path).map_err(|error| format!("{path}: {error}"))
}

/// Of a line `id parent device root mount-point options … - type source options`.
fn mount_point(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        (kind.split(' ').next() == Some("cgroup2") && fields.next() == Some("/")).then(|| fields.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::mount_point;

    #[test]
    fn the_whole_hierarchy_is_found_among_mounts() {
        let v1 = "32 24 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n";
        let part = "40 24 0:30 /user.slice /mnt rw - cgroup2 cgroup2 rw\n";
        let whole = "41 24 0:30 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount_point(&format!("{v1}{part}{whole}")), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point(&format!("{v1}{part}")), None);
        assert_eq!(mount_point("garbage\n - cgroup2\n"), None);
    }
}
