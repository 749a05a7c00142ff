//! Fills a snapshot from a host, or from a copy of one below a folder. Reads only; every walk, file and list has a bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    check::{Check, Condition, Ecosystem},
    files::{self, Places},
    snapshot::{Group, Listener, Mount, Package, ProcessFacts, Snapshot, UserFacts},
};
use crate::enrich::Invocation;

const PROCESSES_MAX: usize = 65_536;
const PROCESS_FILE_BYTES_MAX: u64 = 256 << 10;
/// Of one process. A server with more connections is judged by those; that it listens stands in the first ones it opened.
const DESCRIPTORS_MAX: usize = 4_096;
const SOCKETS_BYTES_MAX: u64 = 16 << 20;
/// Network namespaces, one a container.
const NAMESPACES_MAX: usize = 256;
const LIST_BYTES_MAX: u64 = 64 << 20;

/// What the checks need.
pub(crate) struct Wanted {
    patterns: BTreeSet<String>,
    texts: BTreeSet<String>,
    sysctls: BTreeSet<String>,
    /// Variables whose values are compared.
    values: BTreeSet<String>,
    packages: bool,
}

impl Wanted {
    pub(crate) fn of(checks: &[Check]) -> Self {
        let mut wanted = Self { patterns: BTreeSet::new(), texts: BTreeSet::new(), sysctls: BTreeSet::new(), values: BTreeSet::new(), packages: false };
        for condition in checks.iter().flat_map(|check| check.applies.iter().chain(&check.fail)) {
            match condition {
                Condition::Process { with, without, .. } => {
                    let settings = with.iter().chain(without).filter(|setting| !setting.starts_with('-'));
                    wanted.values.extend(settings.filter_map(|setting| setting.split_once('=')).map(|(name, _)| name.to_owned()));
                }
                Condition::File { paths, .. } | Condition::CanWrite { paths } | Condition::Beside { paths, .. } => {
                    wanted.patterns.extend(paths.iter().cloned())
                }
                Condition::Config { paths, .. } | Condition::Line { paths, .. } => {
                    wanted.patterns.extend(paths.iter().cloned());
                    wanted.texts.extend(paths.iter().cloned());
                }
                Condition::Sysctl { name, .. } => {
                    wanted.sysctls.insert(name.clone());
                }
                Condition::Package { .. } => wanted.packages = true,
                Condition::Listening { .. }
                | Condition::KernelCommandLine { .. }
                | Condition::Mount { .. }
                | Condition::SecretEnvironment { .. }
                | Condition::GroupMembers { .. } => {}
            }
        }
        wanted
    }
}

/// Looks at the host below `root`. `assets` are the watched trees by class.
pub(crate) fn collect(root: &Path, wanted: &Wanted, assets: &BTreeMap<&'static str, Vec<PathBuf>>) -> Snapshot {
    let mut snapshot = Snapshot { users: users(root), groups: groups(root), mounts: mounts(root), ..Snapshot::default() };
    snapshot.command_line = read(&root.join("proc/cmdline"), PROCESS_FILE_BYTES_MAX).map(|bytes| text(&bytes).trim().to_owned());
    for name in &wanted.sysctls {
        let path = root.join("proc/sys").join(name.replace('.', "/"));
        if let Some(value) = read(&path, 4_096) {
            snapshot.sysctls.insert(name.clone(), text(&value).split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    processes(root, wanted, &mut snapshot);
    let homes = snapshot.users.iter().map(|user| user.home.clone()).collect::<BTreeSet<_>>();
    let places = Places { root, homes: &homes, assets };
    for pattern in &wanted.patterns {
        let (found, gap) = files::find(&places, pattern, wanted.texts.contains(pattern));
        snapshot.files.insert(pattern.clone(), found);
        if let Some(gap) = gap {
            snapshot.gaps.insert(pattern.clone(), gap);
        }
    }
    if wanted.packages {
        snapshot.packages = dpkg(root);
        snapshot.packages.extend(files::python_packages(&places, &snapshot.processes));
    }
    snapshot
}

/// The content of a regular file; nothing that blocks, no symlink at its end.
pub(super) fn read(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NOCTTY;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn processes(root: &Path, wanted: &Wanted, snapshot: &mut Snapshot) {
    let uptime = read(&root.join("proc/uptime"), 256).and_then(|bytes| text(&bytes).split('.').next()?.parse::<u64>().ok());
    let entries = std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).take(PROCESSES_MAX);
    let mut namespaces = BTreeSet::new();
    for pid in pids {
        let folder = root.join("proc").join(pid.to_string());
        // Gone in between, or a kernel thread.
        let Some(args) = read(&folder.join("cmdline"), PROCESS_FILE_BYTES_MAX).filter(|args| !args.is_empty()) else { continue };
        let mut process =
            ProcessFacts { pid, invocation: Invocation::new(&executable(&folder, &args), &args), program: called(&args), ..ProcessFacts::default() };
        status(&folder, &mut process);
        process.age_seconds = uptime.zip(started_seconds(&folder)).map(|(now, started)| now.saturating_sub(started));
        match read(&folder.join("environ"), PROCESS_FILE_BYTES_MAX) {
            Some(block) => process.environment = environment(&block, wanted),
            None => {
                snapshot.gaps.insert("processes".to_owned(), "the environment of some processes cannot be read".to_owned());
            }
        }
        match std::fs::read_dir(folder.join("fd")) {
            Ok(entries) => process.sockets = entries.flatten().take(DESCRIPTORS_MAX).filter_map(|entry| socket(&entry.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => {
                snapshot.gaps.insert("processes".to_owned(), "the sockets of some processes cannot be read".to_owned());
            }
        }
        let namespace = std::fs::read_link(folder.join("ns/net")).unwrap_or_default();
        if namespaces.len() < NAMESPACES_MAX && namespaces.insert(namespace.clone()) && namespace != PathBuf::new() {
            snapshot.listeners.extend(listeners(&folder.join("net")));
        }
        snapshot.processes.push(process);
    }
    snapshot.listeners.extend(listeners(&root.join("proc/net")));
    snapshot.listeners.sort_by_key(|listener| (listener.inode, listener.port, listener.ip));
    snapshot.listeners.dedup();
}

fn executable(folder: &Path, args: &[u8]) -> String {
    let link = std::fs::read_link(folder.join("exe")).map(|target| target.to_string_lossy().into_owned());
    link.unwrap_or_else(|_| called(args))
}

fn called(args: &[u8]) -> String {
    args.split(|byte| *byte == 0).next().map(text).unwrap_or_default()
}

fn status(folder: &Path, process: &mut ProcessFacts) {
    let status = read(&folder.join("status"), 16 << 10).map(|bytes| text(&bytes)).unwrap_or_default();
    // Effective is the second.
    let effective = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
    process.uid = effective("Uid:").unwrap_or_default();
    process.gids.extend(effective("Gid:"));
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    process.gids.extend(groups.split_whitespace().filter_map(|gid| gid.parse::<u32>().ok()));
}

/// Since boot; the kernel's clock ticks are hundredths of a second on every architecture we build for.
fn started_seconds(folder: &Path) -> Option<u64> {
    let stat = text(&read(&folder.join("stat"), 4_096)?);
    Some(stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse::<u64>().ok()? / 100)
}

fn environment(block: &[u8], wanted: &Wanted) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for pair in block.split(|byte| *byte == 0).map(text) {
        let Some((name, value)) = pair.split_once('=').filter(|(_, value)| !value.is_empty()) else { continue };
        found.insert(name.to_owned(), wanted.values.contains(name).then(|| value.to_owned()));
    }
    found
}

fn socket(descriptor: &Path) -> Option<u64> {
    let target = std::fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn listeners(net: &Path) -> Vec<Listener> {
    let tables = ["tcp", "tcp6"].into_iter().filter_map(|table| read(&net.join(table), SOCKETS_BYTES_MAX)).map(|bytes| text(&bytes));
    tables.flat_map(|table| table.lines().filter_map(listener).collect::<Vec<_>>()).collect()
}

/// A line of `/proc/net/tcp`; state `0A` listens.
fn listener(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.get(3) != Some(&"0A") {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let words: Vec<u32> = (0..address.len() / 8).filter_map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()).collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let ip: IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into(),
    };
    Some(Listener { ip, port: u16::from_str_radix(port, 16).ok()?, inode: fields.get(9)?.parse().ok()? })
}

fn users(root: &Path) -> Vec<UserFacts> {
    let user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse().ok());
        Some(UserFacts { name: (*fields.first()?).to_owned(), uid: number(2)?, gid: number(3)?, home: (*fields.get(5)?).to_owned() })
    };
    lines(&root.join("etc/passwd")).iter().filter_map(|line| user(line)).collect()
}

fn groups(root: &Path) -> Vec<Group> {
    let group = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let members = fields.get(3).unwrap_or(&"").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Group { name: (*fields.first()?).to_owned(), gid: fields.get(2)?.parse().ok()?, members })
    };
    lines(&root.join("etc/group")).iter().filter_map(|line| group(line)).collect()
}

fn mounts(root: &Path) -> Vec<Mount> {
    // Of process 1, the host's; in a copy, the one file that was kept.
    let table = ["proc/1/mounts", "proc/mounts"].into_iter().find_map(|path| read(&root.join(path), LIST_BYTES_MAX)).unwrap_or_default();
    let mount = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let options = fields.get(3)?.split(',').map(str::to_owned).collect();
        Some(Mount { point: fields.get(1)?.replace("\\040", " "), fs_type: (*fields.get(2)?).to_owned(), options })
    };
    text(&table).lines().filter_map(mount).collect()
}

fn lines(path: &Path) -> Vec<String> {
    text(&read(path, LIST_BYTES_MAX).unwrap_or_default()).lines().map(str::to_owned).collect()
}

fn dpkg(root: &Path) -> Vec<Package> {
    let (mut packages, mut name) = (Vec::new(), String::new());
    let mut installed = false;
    for line in lines(&root.join("var/lib/dpkg/status")) {
        if let Some(value) = line.strip_prefix("Package: ") {
            (name, installed) = (value.to_owned(), false);
        } else if let Some(value) = line.strip_prefix("Status: ") {
            installed = value.ends_with(" installed");
        } else if let Some(version) = line.strip_prefix("Version: ").filter(|_| installed) {
            packages.push(Package { ecosystem: Ecosystem::Dpkg, name: name.clone(), version: version.to_owned(), place: "dpkg".to_owned() });
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_in_both_families() {
        let line = |address: &str, state: &str| format!("   0: {address}:22B8 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 77 1 0");
        let four = listener(&line("0100007F", "0A")).unwrap();
        assert_eq!((four.ip.to_string(), four.port, four.inode, four.is_routable()), ("127.0.0.1".to_owned(), 8888, 77, false));
        assert!(listener(&line("00000000000000000000000000000000", "0A")).unwrap().is_routable());
        assert!(!listener(&line("0000000000000000FFFF00000100007F", "0A")).unwrap().is_routable(), "loopback, written as IPv6");
        assert_eq!(listener(&line("0100007F", "01")), None, "a connection");
        assert_eq!(listener("rubbish"), None);
    }

    #[test]
    fn the_own_listener_of_this_host_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let snapshot = collect(Path::new("/"), &Wanted::of(&[]), &BTreeMap::new());
        let found = snapshot.listeners.iter().find(|listener| listener.port == port && listener.ip.is_loopback()).unwrap();
        let own = snapshot.processes.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(own.sockets.contains(&found.inode) && own.environment.contains_key("PATH"));
        assert!(own.environment.values().all(Option::is_none), "no value is kept that no check compares");
    }
}
