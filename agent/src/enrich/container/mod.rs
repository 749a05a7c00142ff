//! Containers by control group path, named by the runtime's own files.

mod apptainer;
mod cgroup;
mod files;
mod runtimes;

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use picket_event::Container;

pub(crate) use apptainer::Apptainer;
pub(super) use cgroup::{pod_uid, root_path};

use self::{
    cgroup::{Found, container_of},
    runtimes::{Answer, Runtimes},
};

/// Control groups remembered. A host runs some hundreds; an unprivileged user with a delegated tree can make any number.
const CGROUPS_MAX: usize = 4_096;
const CONTAINERS_MAX: usize = 1_024;
const CGROUP_FILE_BYTES_MAX: u64 = 64 << 10;
/// A walk of the whole tree finds the path of a process that is already gone; at most this many folders, this often.
const WALK_FOLDERS_MAX: usize = 16_384;
const WALK_EVERY: Duration = Duration::from_secs(5);
/// A container without a name is looked up again: 1, 2, 4 … seconds later, and after the last of these it stays unnamed.
const TRIES_MAX: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// A control group.
#[derive(Clone, Debug, Default)]
pub(crate) struct CgroupInfo {
    /// All lines of `/proc/PID/cgroup`.
    pub(crate) lines: String,
    /// The v2 path.
    pub(crate) path: String,
    pub(crate) container: Option<Container>,
}

/// A container that was looked up.
struct Known {
    container: Option<Container>,
    /// When to ask again; `None` where it is settled.
    again_at: Option<Instant>,
    tries: u32,
}

/// A control group and, while its container has no name, when that may have changed.
struct Remembered {
    info: Arc<CgroupInfo>,
    again_at: Option<Instant>,
}

/// Remembers control groups by their id and containers by theirs.
pub(crate) struct Cgroups {
    proc: PathBuf,
    mount: PathBuf,
    runtimes: Runtimes,
    /// With v1 hierarchies beside it the v2 id does not tell containers apart.
    unified: bool,
    by_id: HashMap<u64, Remembered>,
    containers: HashMap<Found, Known>,
    walked: Option<Instant>,
}

impl Cgroups {
    /// Of this host.
    pub(crate) fn host() -> Self {
        Self::at(PathBuf::from("/proc"), PathBuf::from("/sys/fs/cgroup"), PathBuf::from("/"))
    }

    fn at(proc: PathBuf, mount: PathBuf, root: PathBuf) -> Self {
        let unified = mount.join("cgroup.controllers").exists();
        Self { proc, mount, runtimes: Runtimes::new(root), unified, by_id: HashMap::new(), containers: HashMap::new(), walked: None }
    }

    /// The control group of `pid`, whose id in the v2 hierarchy is `id`.
    pub(crate) fn of(&mut self, id: u64, pid: u32) -> Arc<CgroupInfo> {
        if self.unified
            && let Some(known) = self.by_id.get(&id)
        {
            if known.again_at.is_none_or(|at| Instant::now() < at) {
                return Arc::clone(&known.info);
            }
            let lines = known.info.lines.clone();
            return self.remember(id, lines);
        }
        let text = super::read_capped(&self.proc.join(pid.to_string()).join("cgroup"), CGROUP_FILE_BYTES_MAX);
        let lines = String::from_utf8_lossy(&text).into_owned();
        if lines.is_empty() {
            return self.by_walk(id);
        }
        if self.unified && id != 0 { self.remember(id, lines) } else { Arc::new(self.info(lines).0) }
    }

    fn info(&mut self, lines: String) -> (CgroupInfo, Option<Instant>) {
        let path = lines.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
        let (container, again_at) = lines.lines().find_map(container_of).map_or((None, None), |found| self.named(found));
        (CgroupInfo { lines, path, container }, again_at)
    }

    fn remember(&mut self, id: u64, lines: String) -> Arc<CgroupInfo> {
        let (info, again_at) = self.info(lines);
        let info = Arc::new(info);
        if self.by_id.len() >= CGROUPS_MAX && !self.by_id.contains_key(&id) {
            // Live ones come back with their next process.
            self.by_id.clear();
        }
        self.by_id.insert(id, Remembered { info: Arc::clone(&info), again_at });
        info
    }

    fn by_walk(&mut self, id: u64) -> Arc<CgroupInfo> {
        if self.unified && id != 0 && self.walked.is_none_or(|at| at.elapsed() >= WALK_EVERY) {
            self.walked = Some(Instant::now());
            let mut folders = vec![self.mount.clone()];
            let mut seen = 0;
            while let Some(folder) = folders.pop() {
                seen += 1;
                if seen > WALK_FOLDERS_MAX {
                    break;
                }
                if std::fs::metadata(&folder).is_ok_and(|metadata| metadata.ino() == id) {
                    let path = folder.strip_prefix(&self.mount).map(Path::to_path_buf).unwrap_or_default();
                    return self.remember(id, format!("0::/{}\n", path.display()));
                }
                let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                folders.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
            }
        }
        Arc::default()
    }

    /// The container with the name that the runtime's files give it, and when to ask again.
    fn named(&mut self, found: Found) -> (Option<Container>, Option<Instant>) {
        let known = self.containers.get(&found);
        if let Some(known) = known
            && known.again_at.is_none_or(|at| Instant::now() < at)
        {
            return (known.container.clone(), known.again_at);
        }
        let tries = known.map_or(0, |known| known.tries);
        let (container, settled) = match self.runtimes.look_up(&found) {
            Answer::Named(container) => (Some(container), true),
            Answer::Unnamed(container) => (Some(container), tries >= TRIES_MAX),
            Answer::NoContainer => (None, true),
        };
        let again_at = (!settled).then(|| Instant::now() + FIRST_WAIT * 2_u32.pow(tries.min(TRIES_MAX)));
        if self.containers.len() >= CONTAINERS_MAX && !self.containers.contains_key(&found) {
            self.containers.clear();
        }
        self.containers.insert(found, Known { container: container.clone(), again_at, tries: tries + 1 });
        (container, again_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn host() -> (tempfile::TempDir, Cgroups) {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path().join("cgroup");
        std::fs::create_dir_all(mount.join("deep/er")).unwrap();
        std::fs::write(mount.join("cgroup.controllers"), "").unwrap();
        let cgroups = Cgroups::at(root.path().join("proc"), mount, root.path().to_path_buf());
        (root, cgroups)
    }

    fn process(root: &Path, pid: u32, lines: &str) {
        let folder = root.join("proc").join(pid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("cgroup"), lines).unwrap();
    }

    fn docker(root: &Path) {
        let folder = root.join("var/lib/docker/containers").join(ID);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.v2.json"), r#"{"Name":"/trainer","Config":{"Image":"pytorch:2.9"}}"#).unwrap();
    }

    #[test]
    fn names_come_from_the_runtimes_files_and_are_remembered() {
        let (root, mut cgroups) = host();
        docker(root.path());
        process(root.path(), 42, &format!("0::/system.slice/docker-{ID}.scope\n"));
        let info = cgroups.of(9, 42);
        let container = info.container.as_ref().unwrap();
        assert_eq!((container.name.as_str(), container.image.as_str(), container.runtime.as_str()), ("trainer", "pytorch:2.9", "docker"));
        std::fs::remove_dir_all(root.path().join("proc/42")).unwrap();
        assert_eq!(cgroups.of(9, 42).path, info.path, "remembered by id");
        let inode = std::fs::metadata(root.path().join("cgroup/deep/er")).unwrap().ino();
        assert_eq!(cgroups.of(inode, 43).path, "/deep/er", "found by its inode when the process is gone");
        assert_eq!(cgroups.of(u64::MAX, 43).path, "");
    }

    #[test]
    fn a_container_without_a_name_is_looked_up_again() {
        let (root, mut cgroups) = host();
        process(root.path(), 42, &format!("0::/system.slice/docker-{ID}.scope\n"));
        assert_eq!(cgroups.of(9, 42).container.as_ref().unwrap().name, "");
        docker(root.path());
        assert_eq!(cgroups.of(9, 42).container.as_ref().unwrap().name, "", "not at once: a flood of processes must not become a flood of reads");
        let past = Instant::now() - Duration::from_millis(1);
        cgroups.by_id.values_mut().for_each(|known| known.again_at = Some(past));
        cgroups.containers.values_mut().for_each(|known| known.again_at = Some(past));
        assert_eq!(cgroups.of(9, 42).container.as_ref().unwrap().name, "trainer");
        assert!(cgroups.by_id.values().all(|known| known.again_at.is_none()), "settled");
    }

    #[test]
    fn tries_end() {
        let (_root, mut cgroups) = host();
        let found = container_of(&format!("0::/system.slice/docker-{ID}.scope")).unwrap();
        for _ in 0..TRIES_MAX {
            assert!(cgroups.named(found.clone()).1.is_some());
            cgroups.containers.values_mut().for_each(|known| known.again_at = Some(Instant::now() - Duration::from_millis(1)));
        }
        assert_eq!(cgroups.named(found).1, None);
    }

    #[test]
    fn a_virtual_machine_is_no_container() {
        let (root, mut cgroups) = host();
        let machines = root.path().join("run/systemd/machines");
        std::fs::create_dir_all(&machines).unwrap();
        std::fs::write(machines.join("qemu-1-vm"), "NAME=qemu-1-vm\nSERVICE=libvirt-qemu\nCLASS=vm\n").unwrap();
        process(root.path(), 7, "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope\n");
        assert!(cgroups.of(3, 7).container.is_none());
    }
}
