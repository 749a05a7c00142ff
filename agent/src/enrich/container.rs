//! Containers by control group path, named by the runtime's own files.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use picket_event::Container;

/// Control groups remembered. A host runs some hundreds; an unprivileged user with a delegated tree can make any number.
const CGROUPS_MAX: usize = 4_096;
const CONTAINERS_MAX: usize = 1_024;
const CGROUP_FILE_BYTES_MAX: u64 = 64 << 10;
const RUNTIME_FILE_BYTES_MAX: u64 = 1 << 20;
/// A walk of the whole tree finds the path of a process that is already gone; at most this many folders, this often.
const WALK_FOLDERS_MAX: usize = 16_384;
const WALK_EVERY: Duration = Duration::from_secs(5);

/// A control group.
#[derive(Debug, Default)]
pub(crate) struct CgroupInfo {
    /// All lines of `/proc/PID/cgroup`.
    pub(crate) lines: String,
    /// The v2 path.
    pub(crate) path: String,
    pub(crate) container: Option<Container>,
}

/// Remembers control groups by their id and containers by theirs.
pub(crate) struct Cgroups {
    proc: PathBuf,
    mount: PathBuf,
    runtimes: PathBuf,
    /// With v1 hierarchies beside it the v2 id does not tell containers apart.
    unified: bool,
    by_id: HashMap<u64, Arc<CgroupInfo>>,
    containers: HashMap<String, Container>,
    walked: Option<Instant>,
}

impl Cgroups {
    /// Of this host.
    pub(crate) fn host() -> Self {
        Self::at(PathBuf::from("/proc"), PathBuf::from("/sys/fs/cgroup"), PathBuf::from("/"))
    }

    fn at(proc: PathBuf, mount: PathBuf, runtimes: PathBuf) -> Self {
        let unified = mount.join("cgroup.controllers").exists();
        Self { proc, mount, runtimes, unified, by_id: HashMap::new(), containers: HashMap::new(), walked: None }
    }

    /// The control group of `pid`, whose id in the v2 hierarchy is `id`.
    pub(crate) fn of(&mut self, id: u64, pid: u32) -> Arc<CgroupInfo> {
        if self.unified
            && let Some(info) = self.by_id.get(&id)
        {
            return Arc::clone(info);
        }
        let text = super::read_capped(&self.proc.join(pid.to_string()).join("cgroup"), CGROUP_FILE_BYTES_MAX);
        let lines = String::from_utf8_lossy(&text).into_owned();
        if lines.is_empty() {
            return self.by_walk(id);
        }
        let info = Arc::new(self.info(lines));
        if self.unified && id != 0 {
            self.remember(id, &info);
        }
        info
    }

    fn info(&mut self, lines: String) -> CgroupInfo {
        let path = lines.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned();
        let container = lines.lines().find_map(container_of).map(|found| self.named(found));
        CgroupInfo { lines, path, container }
    }

    fn remember(&mut self, id: u64, info: &Arc<CgroupInfo>) {
        if self.by_id.len() >= CGROUPS_MAX {
            // Live ones come back with their next process.
            self.by_id.clear();
        }
        self.by_id.insert(id, Arc::clone(info));
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
                    let info = Arc::new(self.info(format!("0::/{}\n", path.display())));
                    self.remember(id, &info);
                    return info;
                }
                let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                folders.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
            }
        }
        Arc::default()
    }

    fn named(&mut self, found: Container) -> Container {
        if let Some(known) = self.containers.get(&found.uid) {
            return known.clone();
        }
        let named = self.read_runtime_files(found);
        if self.containers.len() >= CONTAINERS_MAX {
            self.containers.clear();
        }
        // A runtime writes its files before it starts the first process.
        self.containers.insert(named.uid.clone(), named.clone());
        named
    }

    fn read_runtime_files(&self, mut container: Container) -> Container {
        let json =
            |path: String| -> Option<serde_json::Value> { serde_json::from_slice(&super::read_capped(&self.runtimes.join(path), RUNTIME_FILE_BYTES_MAX)).ok() };
        let text = |value: &serde_json::Value, pointer: &str| value.pointer(pointer).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        let id = container.uid.clone();
        if let Some(docker) = json(format!("var/lib/docker/containers/{id}/config.v2.json")) {
            container.name = text(&docker, "/Name").trim_start_matches('/').to_owned();
            container.image = text(&docker, "/Config/Image");
            container.runtime = "docker".to_owned();
            return container;
        }
        let bundles = [
            ("containerd", format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json")),
            ("containerd", format!("run/containerd/io.containerd.runtime.v2.task/default/{id}/config.json")),
            ("cri-o", format!("run/containers/storage/overlay-containers/{id}/userdata/config.json")),
            ("podman", format!("var/lib/containers/storage/overlay-containers/{id}/userdata/config.json")),
        ];
        for (runtime, path) in bundles {
            let Some(bundle) = json(path) else { continue };
            let annotation = |name: &str| bundle.get("annotations").and_then(|all| all.get(name)).and_then(|text| text.as_str());
            let first = |names: [&str; 3]| names.into_iter().find_map(annotation).unwrap_or_default().to_owned();
            container.name = first(["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "io.podman.annotations.name"]);
            container.image = first(["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.podman.annotations.image"]);
            if container.runtime.is_empty() {
                container.runtime = runtime.to_owned();
            }
            break;
        }
        container
    }
}

/// The container of one line of `/proc/PID/cgroup`, by the naming of the runtimes with both cgroup drivers.
fn container_of(line: &str) -> Option<Container> {
    let path = line.splitn(3, ':').nth(2)?;
    let mut found: Option<Container> = None;
    let mut parent = "";
    // The innermost wins: a container in a container is the nearer one.
    for part in path.split('/') {
        if let Some((runtime, uid)) = container_part(part, parent) {
            found = Some(Container { uid: uid.to_owned(), runtime: runtime.to_owned(), ..Container::default() });
        }
        parent = part;
    }
    if let Some(container) = &mut found {
        container.pod_uid = pod_uid(line).unwrap_or_default();
    }
    found
}

fn container_part<'a>(part: &'a str, parent: &str) -> Option<(&'static str, &'a str)> {
    let id = |text: &'a str| (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text);
    if let Some(scope) = part.strip_suffix(".scope") {
        let prefixes = [("docker-", "docker"), ("cri-containerd-", "containerd"), ("nerdctl-", "containerd"), ("crio-", "cri-o"), ("libpod-", "podman")];
        return prefixes.into_iter().find_map(|(prefix, runtime)| scope.strip_prefix(prefix).and_then(id).map(|uid| (runtime, uid)));
    }
    // containerd without the systemd driver's translation: `slice:cri-containerd:<id>`.
    if let Some(uid) = part.rsplit(':').next().filter(|_| part.contains(":cri-containerd:")).and_then(id) {
        return Some(("containerd", uid));
    }
    if let Some(uid) = part.strip_prefix("libpod-").and_then(id) {
        return Some(("podman", uid));
    }
    let uid = id(part)?;
    match parent {
        "docker" => Some(("docker", uid)),
        "default" => Some(("containerd", uid)),
        // The runtime's files will tell which.
        _ if parent.starts_with("pod") => Some(("", uid)),
        _ => None,
    }
}

/// The Kubernetes pod of control group lines: `…/pod<uid>/…` or `…-pod<uid with _>.slice`.
pub(super) fn pod_uid(lines: &str) -> Option<String> {
    let part = lines.lines().filter(|line| line.contains("kubepods")).flat_map(|line| line.split(['/', ':'])).find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        part.rsplit_once("-pod").map(|(_, uid)| uid).or_else(|| part.strip_prefix("pod"))
    })?;
    let uid = part.replace('_', "-");
    // A static pod's uid is a hash without dashes.
    (uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn found(line: &str) -> Option<(String, String)> {
        container_of(&line.replace("ID", ID)).map(|container| {
            assert_eq!(container.uid, ID);
            (container.runtime, container.pod_uid)
        })
    }

    #[test]
    fn runtimes_by_their_control_groups() {
        let is = |runtime: &str, pod: &str| Some((runtime.to_owned(), pod.to_owned()));
        let pod = "0a1b2c3d-1111-2222-3333-444455556666";
        assert_eq!(found("0::/system.slice/docker-ID.scope"), is("docker", ""));
        assert_eq!(found("4:memory:/docker/ID"), is("docker", ""));
        assert_eq!(found("0::/machine.slice/libpod-ID.scope/container"), is("podman", ""));
        assert_eq!(found("0::/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-ID.scope"), is("containerd", pod));
        assert_eq!(found("0::/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/crio-ID.scope"), is("cri-o", pod));
        assert_eq!(found("5:cpu:/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/ID"), is("", pod));
        assert_eq!(found("0::/system.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice:cri-containerd:ID"), is("containerd", pod));
        assert_eq!(found("0::/machine.slice/libpod-conmon-ID.scope"), None);
        assert_eq!(found("0::/user.slice/ID"), None, "anyone may name a group so");
        assert_eq!(found("0::/docker/short"), None);
        assert_eq!(found("rubbish"), None);
    }

    #[test]
    fn names_come_from_the_runtimes_files_and_are_remembered() {
        let root = tempfile::tempdir().unwrap();
        let docker = root.path().join("var/lib/docker/containers").join(ID);
        std::fs::create_dir_all(&docker).unwrap();
        std::fs::write(docker.join("config.v2.json"), r#"{"Name":"/trainer","Config":{"Image":"pytorch:2.9"}}"#).unwrap();
        let proc = root.path().join("proc/42");
        std::fs::create_dir_all(&proc).unwrap();
        std::fs::write(proc.join("cgroup"), format!("0::/system.slice/docker-{ID}.scope\n")).unwrap();
        let mount = root.path().join("cgroup");
        std::fs::create_dir_all(mount.join("deep/er")).unwrap();
        std::fs::write(mount.join("cgroup.controllers"), "").unwrap();
        let mut cgroups = Cgroups::at(root.path().join("proc"), mount.clone(), root.path().to_path_buf());
        let info = cgroups.of(9, 42);
        let container = info.container.as_ref().unwrap();
        assert_eq!((container.name.as_str(), container.image.as_str(), container.runtime.as_str()), ("trainer", "pytorch:2.9", "docker"));
        std::fs::remove_dir_all(&proc).unwrap();
        assert_eq!(cgroups.of(9, 42).path, info.path, "remembered by id");
        let inode = std::fs::metadata(mount.join("deep/er")).unwrap().ino();
        assert_eq!(cgroups.of(inode, 43).path, "/deep/er", "found by its inode when the process is gone");
        assert_eq!(cgroups.of(u64::MAX, 43).path, "");
    }

    #[test]
    fn cri_o_bundles_name_container_and_image() {
        let root = tempfile::tempdir().unwrap();
        let bundle = root.path().join("run/containers/storage/overlay-containers").join(ID).join("userdata");
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), r#"{"annotations":{"io.kubernetes.container.name":"web","io.kubernetes.cri-o.ImageName":"web:1"}}"#)
            .unwrap();
        let cgroups = Cgroups::at(root.path().join("proc"), root.path().join("cgroup"), root.path().to_path_buf());
        let container = cgroups.read_runtime_files(Container { uid: ID.to_owned(), ..Container::default() });
        assert_eq!((container.name.as_str(), container.image.as_str(), container.runtime.as_str()), ("web", "web:1", "cri-o"));
    }
}
