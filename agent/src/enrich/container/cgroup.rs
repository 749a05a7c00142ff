//! What a control group's path says of a container, by the naming of the runtimes with both cgroup drivers.
//!
//! A path reads from the outside in, and each part was named by whoever owns the part before it. So the outermost container counts: what
//! stands below it was named inside, where somebody could take another container's id. What stands below `user@N.service` was named by user N.

/// Whose word a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Root's runtimes.
    Root,
    /// A user's own, below the groups that systemd delegates to them.
    User(u32),
}

/// A container by its control group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Found {
    pub(super) owner: Owner,
    /// Empty where only the runtime's files tell which.
    pub(super) runtime: &'static str,
    /// The runtime's id; the machine's name for LXC and systemd-nspawn.
    pub(super) id: String,
    pub(super) pod_uid: String,
}

/// The container of one line of `/proc/PID/cgroup`.
pub(super) fn container_of(line: &str) -> Option<Found> {
    let path = line.splitn(3, ':').nth(2)?;
    let (mut owner, mut parent) = (Owner::Root, "");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if let Some(uid) = part.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service")).and_then(|uid| uid.parse().ok()) {
            owner = Owner::User(uid);
        }
        if let Some((runtime, id)) = container_part(part, parent) {
            return Some(Found { owner, runtime, id, pod_uid: pod_uid(line).unwrap_or_default() });
        }
        parent = part;
    }
    None
}

fn container_part(part: &str, parent: &str) -> Option<(&'static str, String)> {
    let id = |text: &str| (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned());
    let scope = part.strip_suffix(".scope");
    for (prefix, runtime) in [("docker-", "docker"), ("cri-containerd-", "containerd"), ("nerdctl-", "containerd"), ("crio-", "cri-o"), ("libpod-", "podman")] {
        if let Some(id) = scope.and_then(|scope| scope.strip_prefix(prefix)).and_then(id) {
            return Some((runtime, id));
        }
    }
    for (prefix, runtime) in [("apptainer-", "apptainer"), ("singularity-", "singularity")] {
        // The process id of its start: the only name that these give to a group.
        let pid = scope.and_then(|scope| scope.strip_prefix(prefix)).or(Some(part).filter(|_| parent == runtime));
        if let Some(pid) = pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())) {
            return Some((runtime, pid.to_owned()));
        }
    }
    if let Some(name) = scope.and_then(|scope| scope.strip_prefix("machine-")) {
        return Some(("systemd-nspawn", unescape(name)));
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        return Some(("systemd-nspawn", unescape(name)));
    }
    if let Some(name) = part.strip_prefix("lxc.payload.").or(Some(part).filter(|_| parent == "lxc")).filter(|name| !name.is_empty()) {
        return Some(("lxc", name.to_owned()));
    }
    // containerd without the systemd driver's translation: `slice:cri-containerd:<id>`.
    if let Some(id) = part.rsplit(':').next().filter(|_| part.contains(":cri-containerd:")).and_then(id) {
        return Some(("containerd", id));
    }
    for (prefix, runtime) in [("libpod-", "podman"), ("crio-", "cri-o")] {
        if let Some(id) = part.strip_prefix(prefix).and_then(id) {
            return Some((runtime, id));
        }
    }
    let id = id(part)?;
    match parent {
        "docker" => Some(("docker", id)),
        "default" => Some(("containerd", id)),
        // The runtime's files will tell which.
        _ if parent.starts_with("pod") => Some(("", id)),
        _ => None,
    }
}

/// systemd writes `-` inside a name as `\x2d`.
fn unescape(name: &str) -> String {
    name.replace("\\x2d", "-")
}

/// The Kubernetes pod of control group lines: `…/pod<uid>/…` or `…-pod<uid with _>.slice`. What a user or a container named does not count.
pub(in crate::enrich) fn pod_uid(lines: &str) -> Option<String> {
    lines.lines().filter_map(root_path).filter(|path| path.contains("kubepods")).find_map(|path| path.split(['/', ':']).find_map(pod_part))
}

fn pod_part(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = part.rsplit_once("-pod").map(|(_, uid)| uid).or_else(|| part.strip_prefix("pod"))?.replace('_', "-");
    // A static pod's uid is a hash without dashes.
    (uid.len() >= 32 && uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(uid)
}

/// The path of a line where root named its beginning.
pub(in crate::enrich) fn root_path(line: &str) -> Option<&str> {
    line.splitn(3, ':').nth(2).filter(|path| !path.starts_with("/user.slice/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const POD: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    fn found(line: &str) -> Option<(&'static str, String, String, Owner)> {
        container_of(&line.replace("ID", ID)).map(|found| (found.runtime, found.id.replace(ID, "ID"), found.pod_uid, found.owner))
    }

    fn is(runtime: &'static str, id: &str, pod: &str) -> Option<(&'static str, String, String, Owner)> {
        Some((runtime, id.to_owned(), pod.to_owned(), Owner::Root))
    }

    fn users(runtime: &'static str, id: &str, uid: u32) -> Option<(&'static str, String, String, Owner)> {
        Some((runtime, id.to_owned(), String::new(), Owner::User(uid)))
    }

    #[test]
    fn runtimes_by_their_control_groups() {
        assert_eq!(found("0::/system.slice/docker-ID.scope"), is("docker", "ID", ""));
        assert_eq!(found("4:memory:/docker/ID"), is("docker", "ID", ""));
        assert_eq!(found("0::/machine.slice/libpod-ID.scope/container"), is("podman", "ID", ""));
        assert_eq!(found("3:cpu:/libpod_parent/libpod-ID"), is("podman", "ID", ""));
        assert_eq!(found("0::/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-ID.scope"), is("containerd", "ID", POD));
        assert_eq!(found("0::/kubepods.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/crio-ID.scope"), is("cri-o", "ID", POD));
        assert_eq!(found("5:cpu:/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/ID"), is("", "ID", POD));
        assert_eq!(found("5:cpu:/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/crio-ID"), is("cri-o", "ID", POD));
        assert_eq!(found("0::/system.slice/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice:cri-containerd:ID"), is("containerd", "ID", POD));
        assert_eq!(found("0::/system.slice/nerdctl-ID.scope"), is("containerd", "ID", ""));
        assert_eq!(found("0::/default/ID"), is("containerd", "ID", ""));
        assert_eq!(found("0::/lxc.payload.web/system.slice/ssh.service"), is("lxc", "web", ""));
        assert_eq!(found("2:cpu:/lxc/101/ns/init.scope"), is("lxc", "101", ""));
        assert_eq!(found("0::/machine.slice/machine-build\\x2dbox.scope/payload"), is("systemd-nspawn", "build-box", ""));
        assert_eq!(found("0::/machine.slice/systemd-nspawn@web.service/payload/init.scope"), is("systemd-nspawn", "web", ""));
        assert_eq!(found("0::/system.slice/apptainer-4711.scope"), is("apptainer", "4711", ""));
        assert_eq!(found("6:memory:/singularity/4711"), is("singularity", "4711", ""));
    }

    #[test]
    fn a_user_s_own_containers_are_theirs() {
        let user = "0::/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(found(&format!("{user}/user.slice/libpod-ID.scope/container")), users("podman", "ID", 1000));
        assert_eq!(found(&format!("{user}/app.slice/docker-ID.scope")), users("docker", "ID", 1000));
        assert_eq!(found(&format!("{user}/kubepods-pod0a1b2c3d_1111_2222_3333_444455556666.slice/crio-ID.scope")), users("cri-o", "ID", 1000), "no pod");
    }

    #[test]
    fn near_misses() {
        assert_eq!(found("0::/machine.slice/libpod-conmon-ID.scope"), None);
        assert_eq!(found("0::/lxc.monitor.web"), None);
        assert_eq!(found("0::/user.slice/ID"), None, "anyone may name a group so");
        assert_eq!(found("0::/docker/short"), None);
        assert_eq!(found("0::/system.slice/apptainer-x.scope"), None);
        assert_eq!(found("rubbish"), None);
        let other = ID.replace('0', "f");
        assert_eq!(found(&format!("0::/system.slice/docker-ID.scope/docker-{other}.scope")), is("docker", "ID", ""), "named inside the container");
    }
}
