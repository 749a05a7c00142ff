//! The files of each runtime: what it calls a container, and the image it came from.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use picket_event::Container;
use serde_json::Value;

use super::{
    cgroup::{Found, Owner},
    files::{Folder, Home, Trusted, clean},
};

/// Look-ups in users' homes that may wait; one more is asked again with the next process.
const WAITING_MAX: usize = 64;
const ANSWERS_MAX: usize = 1_024;
/// Namespaces of one containerd: `k8s.io`, `moby`, `default`, a few more.
const NAMESPACES_MAX: usize = 64;
const PASSWD_BYTES_MAX: u64 = 16 << 20;

/// What the files say.
pub(super) enum Answer {
    Named(Container),
    /// Nothing yet: the runtime has not written them, or they lie elsewhere.
    Unnamed(Container),
    /// A virtual machine.
    NoContainer,
}

type Answers = Arc<Mutex<HashMap<Found, Container>>>;

/// Reads the files of all runtimes below one root. Root's own are read in place, they lie on the host's disk; a user's home may be a network
/// disk that hangs, so those are read by a thread and told with the next look-up.
pub(super) struct Runtimes {
    root: PathBuf,
    answers: Answers,
    requests: Option<mpsc::SyncSender<Found>>,
}

impl Runtimes {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, answers: Answers::default(), requests: None }
    }

    pub(super) fn look_up(&mut self, found: &Found) -> Answer {
        let bare = bare(found);
        match (found.owner, found.runtime) {
            (Owner::Root, "systemd-nspawn") => self.machine(&found.id, bare),
            (Owner::Root, _) => answer(named(&Trusted(&self.root), &ROOT, self.namespaces(), found), bare),
            (Owner::User(_), _) => self.of_user(found, bare),
        }
    }

    fn of_user(&mut self, found: &Found, bare: Container) -> Answer {
        if let Some(named) = lock(&self.answers).remove(found) {
            return Answer::Named(named);
        }
        if self.requests.is_none() {
            self.requests = reader(self.root.clone(), Arc::clone(&self.answers));
        }
        if let Some(requests) = &self.requests {
            let _ = requests.try_send(found.clone());
        }
        Answer::Unnamed(bare)
    }

    /// systemd-machined knows virtual machines too.
    fn machine(&self, name: &str, mut container: Container) -> Answer {
        let file = Trusted(&self.root).read(&format!("run/systemd/machines/{}", file_name(name)));
        let Some(text) = file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) else { return Answer::Unnamed(container) };
        let key = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(clean).unwrap_or_default();
        if key("CLASS=") == "vm" {
            return Answer::NoContainer;
        }
        container.image = key("ROOT=");
        container.name = clean(name);
        Answer::Named(container)
    }

    /// Task folders of containerd, each of one namespace.
    fn namespaces(&self) -> Vec<String> {
        let mut found = Vec::new();
        for tasks in ["run/containerd/io.containerd.runtime.v2.task", "run/k3s/containerd/io.containerd.runtime.v2.task"] {
            let entries = std::fs::read_dir(self.root.join(tasks)).into_iter().flatten().flatten().take(NAMESPACES_MAX);
            found.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()).map(|namespace| format!("{tasks}/{namespace}")));
        }
        found
    }
}

/// Where a runtime keeps what, below `/` or below a home.
struct Places {
    docker: &'static [&'static str],
    storage: &'static [&'static str],
}

const ROOT: Places = Places { docker: &["var/lib/docker"], storage: &["run/containers/storage", "var/lib/containers/storage"] };
const USER: Places = Places { docker: &[".local/share/docker"], storage: &[".local/share/containers/storage"] };

fn answer(named: Option<Container>, bare: Container) -> Answer {
    named.map_or(Answer::Unnamed(bare), Answer::Named)
}

fn bare(found: &Found) -> Container {
    Container { uid: clean(&found.id), runtime: found.runtime.to_owned(), pod_uid: found.pod_uid.clone(), ..Container::default() }
}

fn named(folder: &dyn Folder, places: &Places, tasks: Vec<String>, found: &Found) -> Option<Container> {
    let mut container = bare(found);
    let named = match found.runtime {
        "docker" => docker(folder, places, &mut container),
        "containerd" => containerd(folder, &tasks, &mut container),
        "cri-o" | "podman" => storage(folder, places, &mut container),
        "lxc" => lxc(folder, &mut container),
        "" => docker(folder, places, &mut container) || containerd(folder, &tasks, &mut container) || storage(folder, places, &mut container),
        _ => false,
    };
    named.then_some(container)
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).map(clean).unwrap_or_default()
}

/// `config.v2.json`, below the data folder that `daemon.json` may move.
fn docker(folder: &dyn Folder, places: &Places, container: &mut Container) -> bool {
    let moved = folder.json("etc/docker/daemon.json").map(|daemon| text(&daemon, "/data-root")).unwrap_or_default();
    let moved = moved.trim_start_matches('/');
    let data = Some(moved).filter(|moved| !moved.is_empty()).into_iter().chain(places.docker.iter().copied());
    let Some(config) = data.into_iter().find_map(|data| folder.json(&format!("{data}/containers/{}/config.v2.json", container.uid))) else { return false };
    container.runtime = "docker".to_owned();
    container.name = text(&config, "/Name").trim_start_matches('/').to_owned();
    container.image = text(&config, "/Config/Image");
    if container.pod_uid.is_empty() {
        // cri-dockerd
        container.pod_uid = text(&config, "/Config/Labels/io.kubernetes.pod.uid");
    }
    container.pod_name = text(&config, "/Config/Labels/io.kubernetes.pod.name");
    container.pod_namespace = text(&config, "/Config/Labels/io.kubernetes.pod.namespace");
    true
}

/// The task's bundle: CRI, nerdctl and Docker's own (`moby`) write their annotations into it.
fn containerd(folder: &dyn Folder, tasks: &[String], container: &mut Container) -> bool {
    let Some(bundle) = tasks.iter().find_map(|tasks| folder.json(&format!("{tasks}/{}/config.json", container.uid))) else { return false };
    container.runtime = "containerd".to_owned();
    annotations(&bundle, container)
}

/// Names of the annotations: container, image; uid, name and namespace of the pod.
const NAME: [&str; 5] =
    ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "io.kubernetes.cri-o.ContainerName", "nerdctl/name", "io.podman.annotations.name"];
const IMAGE: [&str; 4] = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "nerdctl/image", "io.podman.annotations.image"];
const POD: [&str; 2] = ["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"];
const POD_NAME: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const POD_NAMESPACE: [&str; 2] = ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];

fn annotations(bundle: &Value, container: &mut Container) -> bool {
    let annotation = |name: &str| bundle.get("annotations").and_then(|all| all.get(name)).and_then(Value::as_str);
    let first = |names: &[&str]| names.iter().copied().find_map(annotation).map(clean).unwrap_or_default();
    container.name = first(&NAME);
    container.image = first(&IMAGE);
    if container.pod_uid.is_empty() {
        container.pod_uid = first(&POD);
    }
    container.pod_name = first(&POD_NAME);
    container.pod_namespace = first(&POD_NAMESPACE);
    // The pause container of a pod has no name of its own.
    if container.name.is_empty()
        && ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"].into_iter().find_map(annotation) == Some("sandbox")
    {
        container.name = "sandbox".to_owned();
    }
    !container.name.is_empty() || !container.image.is_empty()
}

/// containers/storage, which CRI-O and podman share: the bundle beside the container, and the list of all with names and images.
fn storage(folder: &dyn Folder, places: &Places, container: &mut Container) -> bool {
    let folders = places.storage.iter().flat_map(|storage| DRIVERS.map(|driver| format!("{storage}/{driver}-containers")));
    folders.into_iter().any(|containers| stored(folder, &containers, container))
}

/// Of the storage, each with folders of its own.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

fn stored(folder: &dyn Folder, containers: &str, container: &mut Container) -> bool {
    let bundle = folder.json(&format!("{containers}/{}/userdata/config.json", container.uid));
    let cri_o = bundle
        .as_ref()
        .is_some_and(|bundle| bundle.get("annotations").and_then(Value::as_object).is_some_and(|all| all.keys().any(|key| key.starts_with("io.kubernetes."))));
    if container.runtime.is_empty() && bundle.is_some() {
        container.runtime = if cri_o { "cri-o" } else { "podman" }.to_owned();
    }
    if bundle.is_some_and(|bundle| annotations(&bundle, container)) {
        return true;
    }
    let lists = ["volatile-containers.json", "containers.json"];
    lists.into_iter().any(|list| folder.json(&format!("{containers}/{list}")).is_some_and(|list| listed(&list, container)))
}

fn listed(list: &Value, container: &mut Container) -> bool {
    let entries = list.as_array().into_iter().flatten();
    let Some(entry) = entries.into_iter().find(|entry| entry.get("id").and_then(Value::as_str) == Some(&container.uid)) else { return false };
    // Text within text: what the runtime keeps there for itself.
    let metadata: Value = entry.get("metadata").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    container.name = text(entry, "/names/0");
    if container.name.is_empty() {
        container.name = text(&metadata, "/name");
    }
    container.image = text(&metadata, "/image-name");
    if container.runtime.is_empty() {
        container.runtime = "podman".to_owned();
    }
    !container.name.is_empty() || !container.image.is_empty()
}

/// LXC, LXD and Incus name the group after the container. The latter two keep what image it came from.
fn lxc(folder: &dyn Folder, container: &mut Container) -> bool {
    let name = file_name(&container.uid).to_owned();
    container.name.clone_from(&name);
    for manager in ["var/lib/incus", "var/lib/lxd", "var/snap/lxd/common/lxd"] {
        let Some(backup) = folder.read(&format!("{manager}/containers/{name}/backup.yaml")) else { continue };
        let backup = String::from_utf8_lossy(&backup).into_owned();
        let image = backup.lines().find_map(|line| line.trim_start().strip_prefix("image.description:"));
        container.image = image.map(|image| clean(image.trim().trim_matches('"'))).unwrap_or_default();
        return true;
    }
    // LXC itself remembers the parameters of its template, `--dist debian --release bookworm`, in a comment.
    let config = folder.read(&format!("var/lib/lxc/{name}/config")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let parameters = config.lines().find_map(|line| line.strip_prefix("# Parameters passed to the template:")).unwrap_or_default();
    let words: Vec<&str> = parameters.split_whitespace().collect();
    let option =
        |names: [&str; 2]| words.windows(2).find_map(|pair| matches!(pair, [name, value] if names.contains(name)).then(|| pair.last().copied())).flatten();
    let parts: Vec<&str> = [option(["--dist", "-d"]), option(["--release", "-r"])].into_iter().flatten().collect();
    container.image = clean(&parts.join(":"));
    true
}

/// The last part of what shall be one: a name from a control group cannot hold a slash, and must not climb.
fn file_name(name: &str) -> &str {
    Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or("-")
}

fn reader(root: PathBuf, answers: Answers) -> Option<mpsc::SyncSender<Found>> {
    let (requests, inbox) = mpsc::sync_channel::<Found>(WAITING_MAX);
    let read = move || {
        while let Ok(found) = inbox.recv() {
            let Owner::User(uid) = found.owner else { continue };
            let Some(home) = home_of(&root, uid).and_then(|home| Home::open(&home, uid)) else { continue };
            if let Some(container) = named(&home, &USER, Vec::new(), &found) {
                let mut answers = lock(&answers);
                if answers.len() >= ANSWERS_MAX {
                    answers.clear();
                }
                answers.insert(found, container);
            }
        }
    };
    std::thread::Builder::new().name("containers".to_owned()).spawn(read).ok().map(|_| requests)
}

fn home_of(root: &Path, uid: u32) -> Option<PathBuf> {
    let passwd = crate::enrich::read_capped(&root.join("etc/passwd"), PASSWD_BYTES_MAX);
    let passwd = String::from_utf8_lossy(&passwd).into_owned();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let home =
        fields.filter(|fields| fields.get(2).and_then(|uid| uid.parse().ok()) == Some(uid)).find_map(|fields| fields.get(5).copied().map(str::to_owned))?;
    Some(root.join(home.trim_start_matches('/')))
}

fn lock(answers: &Answers) -> std::sync::MutexGuard<'_, HashMap<Found, Container>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn found(runtime: &'static str, id: &str, owner: Owner) -> Found {
        Found { owner, runtime, id: id.to_owned(), pod_uid: String::new() }
    }

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path.replace("ID", ID));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.replace("ID", ID)).unwrap();
    }

    /// Name, image, runtime and pod of a container whose runtime wrote this file.
    fn told(runtime: &'static str, id: &str, files: &[(&str, &str)]) -> Option<[String; 4]> {
        let root = tempfile::tempdir().unwrap();
        files.iter().for_each(|(path, content)| write(root.path(), path, content));
        match Runtimes::new(root.path().to_path_buf()).look_up(&found(runtime, id, Owner::Root)) {
            Answer::Named(container) => Some([container.name, container.image, container.runtime, container.pod_uid]),
            Answer::Unnamed(_) | Answer::NoContainer => None,
        }
    }

    fn is(name: &str, image: &str, runtime: &str, pod: &str) -> Option<[String; 4]> {
        Some([name, image, runtime, pod].map(str::to_owned))
    }

    #[test]
    fn docker_also_where_its_data_was_moved() {
        let config = r#"{"ID":"ID","Name":"/trainer","Image":"sha256:aa","Config":{"Image":"pytorch:2.9","Labels":{"io.kubernetes.pod.uid":"p-1"}}}"#;
        assert_eq!(told("docker", ID, &[("var/lib/docker/containers/ID/config.v2.json", config)]), is("trainer", "pytorch:2.9", "docker", "p-1"));
        let moved = [("etc/docker/daemon.json", r#"{"data-root":"/data/docker"}"#), ("data/docker/containers/ID/config.v2.json", config)];
        assert_eq!(told("docker", ID, &moved), is("trainer", "pytorch:2.9", "docker", "p-1"));
        assert_eq!(told("docker", ID, &[("var/lib/docker/containers/ID/config.v2.json", "{\"Name\":")]), None, "half written");
    }

    #[test]
    fn containerd_in_every_namespace() {
        let cri = r#"{"annotations":{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.image-name":"web:1","io.kubernetes.cri.sandbox-uid":"p-2"}}"#;
        let bundle = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        assert_eq!(told("containerd", ID, &[(bundle, cri)]), is("web", "web:1", "containerd", "p-2"));
        assert_eq!(told("", ID, &[(bundle, cri)]), is("web", "web:1", "containerd", "p-2"), "with the cgroupfs driver the path does not tell");
        let k3s = "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        assert_eq!(told("containerd", ID, &[(k3s, cri)]), is("web", "web:1", "containerd", "p-2"));
        let nerdctl = "run/containerd/io.containerd.runtime.v2.task/team/ID/config.json";
        assert_eq!(told("containerd", ID, &[(nerdctl, r#"{"annotations":{"nerdctl/name":"box"}}"#)]), is("box", "", "containerd", ""));
        assert_eq!(
            told("containerd", ID, &[(bundle, r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}"#)]),
            is("sandbox", "", "containerd", "")
        );
    }

    #[test]
    fn cri_o_and_podman_share_a_storage() {
        let cri_o = r#"{"annotations":{"io.kubernetes.container.name":"web","io.kubernetes.cri-o.ImageName":"web:1","io.kubernetes.pod.uid":"p-3"}}"#;
        let bundle = "run/containers/storage/overlay-containers/ID/userdata/config.json";
        assert_eq!(told("cri-o", ID, &[(bundle, cri_o)]), is("web", "web:1", "cri-o", "p-3"));
        assert_eq!(told("", ID, &[(bundle, cri_o)]), is("web", "web:1", "cri-o", "p-3"));
        let list = r#"[{"id":"other","names":["no"]},{"id":"ID","names":["box"],"image":"9f","metadata":"{\"image-name\":\"docker.io/library/alpine:3\",\"name\":\"box\"}"}]"#;
        let podman = [
            ("var/lib/containers/storage/overlay-containers/ID/userdata/config.json", r#"{"annotations":{"io.container.manager":"libpod"}}"#),
            ("var/lib/containers/storage/overlay-containers/containers.json", list),
        ];
        assert_eq!(told("podman", ID, &podman), is("box", "docker.io/library/alpine:3", "podman", ""));
        // As podman 4.3 wrote it with the vfs driver.
        let vfs = [("var/lib/containers/storage/vfs-containers/containers.json", list)];
        assert_eq!(told("podman", ID, &vfs), is("box", "docker.io/library/alpine:3", "podman", ""));
        let volatile = [("var/lib/containers/storage/overlay-containers/volatile-containers.json", list)];
        assert_eq!(told("podman", ID, &volatile), is("box", "docker.io/library/alpine:3", "podman", ""), "podman run --rm");
    }

    #[test]
    fn a_pod_has_its_name_and_namespace() {
        let bundle = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        let containerd = r#"{"annotations":{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.sandbox-name":"llama-0","io.kubernetes.cri.sandbox-namespace":"training"}}"#;
        let cri_o = r#"{"annotations":{"io.kubernetes.container.name":"web","io.kubernetes.pod.name":"llama-0","io.kubernetes.pod.namespace":"training"}}"#;
        let docker = r#"{"Name":"/web","Config":{"Labels":{"io.kubernetes.pod.name":"llama-0","io.kubernetes.pod.namespace":"training"}}}"#;
        let files = [
            ("containerd", bundle, containerd),
            ("cri-o", "run/containers/storage/overlay-containers/ID/userdata/config.json", cri_o),
            ("docker", "var/lib/docker/containers/ID/config.v2.json", docker),
        ];
        for (runtime, path, content) in files {
            let root = tempfile::tempdir().unwrap();
            write(root.path(), path, content);
            let Answer::Named(container) = Runtimes::new(root.path().to_path_buf()).look_up(&found(runtime, ID, Owner::Root)) else {
                panic!("{runtime} is not named")
            };
            assert_eq!([container.pod_name.as_str(), &container.pod_namespace], ["llama-0", "training"], "{runtime}");
        }
    }

    #[test]
    fn lxc_and_nspawn_are_named_by_their_group() {
        assert_eq!(told("lxc", "web", &[]), is("web", "", "lxc", ""));
        let incus = [("var/lib/incus/containers/web/backup.yaml", "container:\n  config:\n    image.description: Debian trixie amd64\n")];
        assert_eq!(told("lxc", "web", &incus), is("web", "Debian trixie amd64", "lxc", ""));
        let template = "# Template used to create this container: /usr/share/lxc/templates/lxc-download\n# Parameters passed to the template: --dist debian --release trixie\n";
        assert_eq!(told("lxc", "web", &[("var/lib/lxc/web/config", template)]), is("web", "debian:trixie", "lxc", ""));
        let machine = [("run/systemd/machines/web", "NAME=web\nSERVICE=systemd-nspawn\nROOT=/var/lib/machines/web\nCLASS=container\n")];
        assert_eq!(told("systemd-nspawn", "web", &machine), is("web", "/var/lib/machines/web", "systemd-nspawn", ""));
        assert_eq!(told("systemd-nspawn", "..", &machine), None);
    }

    #[test]
    fn hostile_files_name_nothing() {
        let bundle = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for content in ["", "null", "[]", "{\"annotations\":[]}", "{\"annotations\":{\"nerdctl/name\":7}}", "\u{0}\u{1}", deep.as_str()] {
            assert_eq!(told("containerd", ID, &[(bundle, content)]), None, "{:.40}", content);
        }
        let long = format!("{{\"annotations\":{{\"nerdctl/name\":\"{}\"}}}}", "\\u001b[31mx".repeat(5_000));
        let [name, ..] = told("containerd", ID, &[(bundle, &long)]).unwrap();
        assert!(name.chars().count() <= 256 && !name.contains('\u{1b}'));
    }

    #[test]
    fn a_user_s_containers_are_named_from_that_user_s_home_alone() {
        let root = tempfile::tempdir().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        write(root.path(), "etc/passwd", &format!("ann:x:{uid}:{uid}::/home/ann:/bin/sh\n"));
        let list = r#"[{"id":"ID","names":["mine"],"metadata":"{\"image-name\":\"alpine\"}"}]"#;
        write(root.path(), "home/ann/.local/share/containers/storage/overlay-containers/containers.json", list);
        write(root.path(), "var/lib/docker/containers/ID/config.v2.json", r#"{"Name":"/root-s","Config":{"Image":"secret"}}"#);
        let mut runtimes = Runtimes::new(root.path().to_path_buf());
        let end = Instant::now() + Duration::from_secs(20);
        let podman = loop {
            if let Answer::Named(container) = runtimes.look_up(&found("podman", ID, Owner::User(uid))) {
                break container;
            }
            assert!(Instant::now() < end, "the home is never read");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!([podman.name.as_str(), &podman.image], ["mine", "alpine"]);
        // The id of root's container in a group that the user named. The thread answers in order: once the second is known, the first was read.
        assert!(matches!(runtimes.look_up(&found("docker", ID, Owner::User(uid))), Answer::Unnamed(_)));
        while !matches!(runtimes.look_up(&found("podman", ID, Owner::User(uid))), Answer::Named(_)) {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(matches!(runtimes.look_up(&found("docker", ID, Owner::User(uid))), Answer::Unnamed(_)));
    }
}
