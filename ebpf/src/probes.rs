//! The table of probes, and how each is loaded and attached: on its own, so that one that this kernel refuses takes no other down.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Btf;
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::{BtfTracePoint, Iter, ProgramFd};

use crate::objects::{Object, Objects};
use crate::sensor::ProbeState;
use crate::sys::MapIterator;

/// How a program is reached.
#[derive(Clone, Copy, Debug)]
enum Hook {
    /// A tracepoint of this name, with BTF arguments.
    Tracepoint(&'static str),
    /// The dispatcher on system call entry, at this slot of `enum syscall_slot`.
    Enter(u32),
    /// The dispatcher on system call exit.
    Exit(u32),
}

struct Part {
    program: &'static str,
    hook: Hook,
    /// Without it the probe still sees something.
    optional: bool,
}

struct Probe {
    name: &'static str,
    object: Object,
    /// As shown to people.
    hook: &'static str,
    parts: &'static [Part],
}

const fn part(program: &'static str, hook: Hook) -> Part {
    Part { program, hook, optional: false }
}

const SLOT_OPEN: u32 = 1;
const SLOT_CLOSE: u32 = 2;
const SLOT_RENAME: u32 = 3;
const SLOT_UNLINK: u32 = 4;
const SLOT_LINK: u32 = 5;
const SLOT_ACCEPT: u32 = 6;
const SLOT_DUP2: u32 = 7;

const PROBES: &[Probe] = &[
    Probe {
        name: "process_fork",
        object: Object::Process,
        hook: "tp_btf/sched_process_fork",
        parts: &[part("sched_process_fork", Hook::Tracepoint("sched_process_fork"))],
    },
    Probe {
        name: "process_exec",
        object: Object::Process,
        hook: "tp_btf/sched_process_exec",
        parts: &[part("sched_process_exec", Hook::Tracepoint("sched_process_exec"))],
    },
    Probe {
        name: "process_exit",
        object: Object::Process,
        hook: "tp_btf/sched_process_exit",
        parts: &[part("sched_process_exit", Hook::Tracepoint("sched_process_exit"))],
    },
    Probe {
        name: "file_open",
        object: Object::File,
        hook: "tp_btf/sys_exit: open creat openat openat2 open_by_handle_at",
        parts: &[part("sys_exit_open", Hook::Exit(SLOT_OPEN))],
    },
    Probe {
        name: "file_close_write",
        object: Object::File,
        hook: "tp_btf/sys_enter: close dup2 dup3; tp_btf/sched_process_exit",
        parts: &[
            part("sys_enter_close", Hook::Enter(SLOT_CLOSE)),
            part("sys_enter_dup2", Hook::Enter(SLOT_DUP2)),
            Part { program: "sched_process_exit_files", hook: Hook::Tracepoint("sched_process_exit"), optional: true },
        ],
    },
    Probe {
        name: "file_rename",
        object: Object::File,
        hook: "tp_btf/sys_enter, sys_exit: rename renameat renameat2; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
        parts: &[part("sys_enter_rename", Hook::Enter(SLOT_RENAME)), part("sys_exit_naming", Hook::Exit(SLOT_RENAME))],
    },
    Probe {
        name: "file_unlink",
        object: Object::File,
        hook: "tp_btf/sys_enter, sys_exit: unlink unlinkat; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
        parts: &[part("sys_enter_unlink", Hook::Enter(SLOT_UNLINK)), part("sys_exit_naming", Hook::Exit(SLOT_UNLINK))],
    },
    Probe {
        name: "file_link",
        object: Object::File,
        hook: "tp_btf/sys_enter, sys_exit: link linkat; tp_btf/inode_set_ctime_to_ts ctime_xchg_skip ctime_ns_xchg",
        parts: &[part("sys_enter_link", Hook::Enter(SLOT_LINK)), part("sys_exit_naming", Hook::Exit(SLOT_LINK))],
    },
    Probe {
        name: "tcp_state",
        object: Object::Network,
        hook: "tp_btf/inet_sock_set_state",
        parts: &[part("inet_sock_set_state", Hook::Tracepoint("inet_sock_set_state"))],
    },
    Probe { name: "tcp_accept", object: Object::Network, hook: "tp_btf/sys_exit: accept accept4", parts: &[part("sys_exit_accept", Hook::Exit(SLOT_ACCEPT))] },
];

/// Where the objects of a rename, unlink or link show themselves: the change-time tracepoints of 6.13 and later.
const NAMING: [&str; 3] = ["inode_set_ctime_to_ts", "ctime_xchg_skip", "ctime_ns_xchg"];
const NAMED: [&str; 3] = ["file_rename", "file_unlink", "file_link"];

/// What is attached; dropping the objects detaches.
pub(crate) struct Attached {
    pub(crate) states: Vec<ProbeState>,
    pub(crate) sweep: Option<MapIterator>,
    /// Held: an emptied table would leave the dispatchers with nothing to jump to.
    _dispatch: Option<(ProgramArray<MapData>, ProgramArray<MapData>)>,
    /// Descriptors of loaded programs, for their run time and misses, with their names.
    pub(crate) programs: Vec<(String, i32)>,
}

/// Loads and attaches everything.
pub(crate) fn attach(objects: &mut Objects, btf: &Btf) -> Attached {
    let mut dispatch = objects.dispatch();
    let mut programs = Vec::new();
    let mut states = Vec::new();
    let naming = NAMING.map(|name| tracepoint(objects, Object::File, name, name, btf, &mut programs).map(|_| ()));
    let naming = naming.into_iter().collect::<Result<Vec<()>, String>>().map(|_| ());
    for probe in PROBES {
        let needs = if NAMED.contains(&probe.name) { naming.clone() } else { Ok(()) };
        let outcome = needs.and_then(|()| attach_probe(objects, probe, btf, dispatch.as_mut(), &mut programs));
        states.push(state(probe.name, probe.hook, outcome));
    }
    // Last: from here on system calls reach the probes.
    for (name, program) in [("syscall_entry", "sys_enter"), ("syscall_exit", "sys_exit")] {
        let outcome = tracepoint(objects, Object::Syscalls, program, program, btf, &mut programs).map(|_| ());
        states.push(state(name, if program == "sys_enter" { "tp_btf/sys_enter" } else { "tp_btf/sys_exit" }, outcome));
    }
    let sweep = sweeper(objects, btf, &mut programs);
    states.push(state("file_close_sweep", "iter/bpf_map_elem", sweep.as_ref().map(|_| ()).map_err(Clone::clone)));
    depend(&mut states);
    Attached { states, sweep: sweep.ok(), _dispatch: dispatch, programs }
}

fn state(name: &str, hook: &str, outcome: Result<(), String>) -> ProbeState {
    ProbeState { name: name.into(), hook: hook.into(), attached: outcome.is_ok(), reason: outcome.err().unwrap_or_default() }
}

/// A probe behind a dispatcher that is not attached sees nothing.
fn depend(states: &mut [ProbeState]) {
    for dispatcher in ["sys_enter", "sys_exit"] {
        let hook = format!("tp_btf/{dispatcher}");
        let Some(failed) = states.iter().find(|state| state.hook == hook && !state.attached).cloned() else { continue };
        for state in states.iter_mut().filter(|state| state.attached && state.hook.contains(dispatcher)) {
            state.attached = false;
            state.reason = format!("{} is not attached: {}", failed.name, failed.reason);
        }
    }
}

fn attach_probe(
    objects: &mut Objects,
    probe: &Probe,
    btf: &Btf,
    mut dispatch: Option<&mut (ProgramArray<MapData>, ProgramArray<MapData>)>,
    programs: &mut Vec<(String, i32)>,
) -> Result<(), String> {
    for part in probe.parts {
        let outcome = match part.hook {
            Hook::Tracepoint(name) => tracepoint(objects, probe.object, part.program, name, btf, programs).map(|_| ()),
            Hook::Enter(slot) | Hook::Exit(slot) => {
                let enter = matches!(part.hook, Hook::Enter(_));
                let fd = load(objects, probe.object, part.program, if enter { "sys_enter" } else { "sys_exit" }, btf, programs)?;
                let Some((on_enter, on_exit)) = dispatch.as_deref_mut() else { return Err("the dispatch tables are missing".into()) };
                let table = if enter { on_enter } else { on_exit };
                table.set(slot, &fd, 0).map_err(|error| reason(&error))
            }
        };
        if !part.optional {
            outcome?;
        }
    }
    Ok(())
}

fn tracepoint(objects: &mut Objects, object: Object, program: &str, name: &str, btf: &Btf, programs: &mut Vec<(String, i32)>) -> Result<ProgramFd, String> {
    let fd = load(objects, object, program, name, btf, programs)?;
    let found: &mut BtfTracePoint = find(objects, object, program)?;
    found.attach().map_err(|error| reason(&error))?;
    Ok(fd)
}

/// Loads a program once; a second call gives its descriptor.
fn load(objects: &mut Objects, object: Object, program: &str, tracepoint: &str, btf: &Btf, programs: &mut Vec<(String, i32)>) -> Result<ProgramFd, String> {
    let found: &mut BtfTracePoint = find(objects, object, program)?;
    if found.fd().is_err() {
        found.load(tracepoint, btf).map_err(|error| reason(&error))?;
        let fd = found.fd().map_err(|error| reason(&error))?;
        programs.push((program.to_owned(), fd.as_fd().as_raw_fd()));
    }
    found.fd().and_then(|fd| fd.try_clone().map_err(Into::into)).map_err(|error| reason(&error))
}

fn find<'a>(objects: &'a mut Objects, object: Object, program: &str) -> Result<&'a mut BtfTracePoint, String> {
    let ebpf = objects.object(object)?;
    let found = ebpf.program_mut(program).ok_or_else(|| format!("no program {program} in its object"))?;
    found.try_into().map_err(|error| reason(&error))
}

/// The iterators with their kinds.
const ITERATORS: [(&str, &str); 4] =
    [("iterate_processes", "task"), ("iterate_own_files", "task_file"), ("iterate_held_sockets", "task_file"), ("iterate_orphan_sockets", "tcp")];

/// Loads the iterators: one that this kernel refuses is a state with the reason.
pub(crate) fn load_iterators(objects: &mut Objects, btf: &Btf) -> Vec<ProbeState> {
    ITERATORS
        .map(|(program, kind)| {
            state(program, &format!("iter/{kind}"), iterator(objects, program).and_then(|found| found.load(kind, btf).map_err(|error| reason(&error))))
        })
        .to_vec()
}

fn iterator<'a>(objects: &'a mut Objects, program: &str) -> Result<&'a mut Iter, String> {
    let ebpf = objects.object(Object::Iterators)?;
    let found = ebpf.program_mut(program).ok_or_else(|| format!("no program {program} in its object"))?;
    found.try_into().map_err(|error| reason(&error))
}

/// A file: reading it to its end is one run of a loaded iterator.
pub(crate) fn open_iterator(objects: &mut Objects, program: &str) -> Result<File, String> {
    let found = iterator(objects, program)?;
    let link = found.attach().map_err(|error| reason(&error))?;
    let link = found.take_link(link).map_err(|error| reason(&error))?;
    link.into_file().map_err(|error| reason(&error))
}

fn sweeper(objects: &mut Objects, btf: &Btf, programs: &mut Vec<(String, i32)>) -> Result<MapIterator, String> {
    let ebpf = objects.object(Object::File)?;
    let map = match ebpf.take_map("picket_writers") {
        Some(Map::HashMap(map)) => map,
        _ => return Err("the map of writers is missing".into()),
    };
    let found: &mut Iter = ebpf.program_mut("sweep_writers").ok_or("no program sweep_writers in its object")?.try_into().map_err(|error| reason(&error))?;
    found.load("bpf_map_elem", btf).map_err(|error| reason(&error))?;
    let fd = found.fd().map_err(|error| reason(&error))?;
    programs.push(("sweep_writers".to_owned(), fd.as_fd().as_raw_fd()));
    MapIterator::new(fd.as_fd(), map.fd().as_fd()).map_err(|error| format!("cannot bind the sweep to its map: {error}"))
}

/// Lines that end every verifier log and say nothing about the reason.
const VERIFIER_SUMMARY: [&str; 3] = ["processed ", "verification time", "stack depth"];

/// An error with its causes on one line, the verifier's last words included and no more: its log can be megabytes.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty() && !VERIFIER_SUMMARY.iter().any(|start| line.starts_with(start))).collect();
    if lines.len() > 3 {
        let last = lines.split_off(lines.len() - 2);
        lines.truncate(1);
        lines.extend(last);
    }
    lines.join(" … ").chars().take(600).collect()
}
