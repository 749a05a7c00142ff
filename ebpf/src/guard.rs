//! What somebody with all rights may do to the sensor while it runs, made impossible where the kernel can do that, else noticed and undone.
//!
//! Maps that only the probes write, and those that are written once at load, are frozen: from then on no system call changes them, the loader's own
//! neither (`BPF_MAP_FREEZE`). The few that the loader goes on writing are compared with what it wrote. Links cannot be frozen: their state is read through the
//! descriptors that hold them. One look costs a read of
//! `/proc/self/fdinfo` a link and two lookups a watch.
//!
//! Not seen: a program of another that writes into a map from within the kernel (its load is an event of the `bpf` probe), an entry taken out of a map that the probes fill while
//! it is not frozen (none), and whoever replaces the agent's own code (`ptrace` is an event, and the tracer is looked for).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::Map;

use crate::actions::ACTIONS;
use crate::bpffs::SHARED;
use crate::objects::Objects;
use crate::probes::PROBES;
use crate::sensor::Class;
use crate::sys;

/// Maps that the loader writes after load. The ring's own pages are written by whoever reads it.
const WRITTEN: [&str; 7] = ["picket_ring", "picket_consumed", "picket_config", "picket_roots", "picket_supers", "picket_links", "picket_traffic"];

/// Something that was not as the loader left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampering {
    /// What was done.
    pub kind: TamperingKind,
    /// The probe, or the map.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// True where it is as it was again.
    pub healed: bool,
}

/// What was done to the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TamperingKind {
    /// A probe was detached from its hook.
    ProbeDetached,
    /// A map was changed from outside.
    MapChanged,
    /// A probe is attached and not called ([`crate::Canary`]).
    ProbeSilent,
}

/// Descriptors of maps that are to be frozen once they hold what they shall.
pub(crate) fn to_freeze(objects: &Objects) -> Vec<(String, OwnedFd)> {
    let mut found: Vec<(String, OwnedFd)> = Vec::new();
    for (name, map) in objects.maps_of_all().filter(|(name, _)| !WRITTEN.contains(name) && !name.starts_with('.')) {
        // A shared map is one, whichever object shows it.
        let known = SHARED.contains(&name) && found.iter().any(|(known, _)| known == name);
        if !known && let Some(fd) = duplicate(map) {
            found.push((name.to_owned(), fd));
        }
    }
    found
}

fn duplicate(map: &Map) -> Option<OwnedFd> {
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::LpmTrie(data)
        | Map::ProgramArray(data)
        | Map::SkStorage(data) => data,
        _ => return None,
    };
    data.fd().as_fd().try_clone_to_owned().ok()
}

/// Freezes; a kernel that cannot says so in the log, and those maps can be changed.
pub(crate) fn freeze(maps: &[(String, OwnedFd)]) {
    for (name, fd) in maps {
        if let Err(error) = sys::freeze_map(fd.as_fd()) {
            tracing::warn!(map = name, %error, "a map cannot be protected from changes");
        }
    }
}

/// The links of this process's programs, as they were after the load.
#[derive(Debug, Default)]
pub(crate) struct Links {
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    fd: i32,
    link: u32,
    program: String,
    /// The kernel's number of the program, and its descriptor.
    number: u32,
    program_fd: i32,
    /// Of a control group: its id turns 0 when the link is detached.
    group: Option<u64>,
    told: bool,
}

/// A link that does nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) program: String,
    pub(crate) detail: String,
    pub(crate) remedy: Remedy,
}

/// How a link can do its work again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// A link to a control group can be made anew.
    Attach,
    /// It holds another program: it can be given ours again.
    Update { link: i32, program: i32 },
    /// Its descriptor is gone.
    None,
}

impl Links {
    /// Finds them by the kernel's numbers. `programs`: name and descriptor of each that was loaded.
    pub(crate) fn census(programs: &[(String, i32)]) -> Self {
        let names: BTreeMap<u32, (&str, i32)> =
            programs.iter().filter_map(|(name, fd)| Some((number(&fdinfo(*fd)?, "prog_id:")?, (name.as_str(), *fd)))).collect();
        let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().filter_map(Result::ok);
        let held = descriptors.filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let fd: i32 = entry.file_name().to_str()?.parse().ok()?;
            if !target.to_string_lossy().contains("bpf") {
                return None;
            }
            let text = fdinfo(fd)?;
            let (link, runs) = (number(&text, "link_id:")?, number::<u32>(&text, "prog_id:")?);
            let (program, program_fd) = *names.get(&runs)?;
            let group = number(&text, "cgroup_id:");
            // One that was detached before stays a descriptor and is nobody's link.
            (group != Some(0)).then(|| Held { fd, link, program: program.to_owned(), number: runs, program_fd, group, told: false })
        });
        Self { held: held.collect() }
    }

    /// Links that were detached, closed or given another program since the last look, each told once.
    pub(crate) fn lost(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        for held in self.held.iter_mut().filter(|held| !held.told) {
            let text = fdinfo(held.fd);
            let same = text.as_ref().is_some_and(|text| number(text, "link_id:") == Some(held.link));
            let group = text.as_ref().and_then(|text| number::<u64>(text, "cgroup_id:"));
            let runs = text.as_ref().and_then(|text| number::<u32>(text, "prog_id:"));
            let (detail, remedy) = match (same, held.group.is_some(), group) {
                (false, ..) => ("its link was closed".to_owned(), Remedy::None),
                (true, true, Some(0) | None) => ("its link was detached".to_owned(), Remedy::Attach),
                (true, ..) if runs != Some(held.number) => {
                    (format!("program {} stood in its place", runs.unwrap_or_default()), Remedy::Update { link: held.fd, program: held.program_fd })
                }
                (true, ..) => continue,
            };
            held.told = true;
            lost.push(Lost { program: held.program.clone(), detail, remedy });
        }
        lost
    }
}

/// What people call the probe that a program belongs to.
pub(crate) fn probe_of(program: &str) -> String {
    let of = PROBES.iter().chain(ACTIONS).find(|probe| probe.variants.iter().any(|variant| variant.parts.iter().any(|part| part.program == program)));
    of.map_or(program, |probe| probe.name).to_owned()
}

/// The class of records that a program makes; nothing of one that serves several.
pub(crate) fn class_of(program: &str) -> Option<Class> {
    let probe = probe_of(program);
    if probe == program {
        return None;
    }
    let network = ["tcp_", "udp_", "dns", "local_", "special_", "ring_"];
    Some(match probe.as_str() {
        file if file.starts_with("file_") => Class::File,
        other if network.iter().any(|start| other.starts_with(start)) => Class::Network,
        _ => Class::Process,
    })
}

pub(crate) fn fdinfo(fd: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()
}

pub(crate) fn number<T: std::str::FromStr>(text: &str, label: &str) -> Option<T> {
    text.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}
