//! Loading and attaching: each probe on its own and by the first of its variants that this kernel takes, so that one that is refused takes
//! no other down.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Btf;
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Iter, Program, ProgramError, ProgramFd};

use crate::actions::ACTIONS;
use crate::objects::{Object, Objects};
use crate::probes::{Hook, ITERATORS, NAMING, PROBES, Part, Probe, TELLERS, Variant};
use crate::sensor::ProbeState;
use crate::sys::MapIterator;

/// What is attached; dropping the objects detaches.
pub(crate) struct Attached {
    pub(crate) states: Vec<ProbeState>,
    /// Over what was opened for writing, then over what is in use: the first takes the sums of the second into its record.
    pub(crate) sweeps: Vec<MapIterator>,
    pub(crate) ring_sweep: Option<MapIterator>,
    pub(crate) tellers: Vec<MapIterator>,
    /// Held: an emptied table would leave the dispatcher with nothing to jump to.
    _dispatch: Option<Dispatch>,
    /// The root control group, where a probe needed it.
    group: Option<File>,
    /// Links that were made again.
    again: usize,
    /// Descriptors of loaded programs, for their run time and misses, with their names.
    pub(crate) programs: Vec<(String, i32)>,
}

/// A link that was detached stays a descriptor until the sensor goes; whoever detaches more often than this gets the better of us, and is told of.
const AGAIN_MAX: usize = 256;

impl Attached {
    /// Makes a detached link to the control group again.
    pub(crate) fn again(&mut self, objects: &mut Objects, program: &str) -> Result<(), String> {
        let Some(group) = &self.group else { return Err("the root control group is not open".into()) };
        if self.again >= AGAIN_MAX {
            return Err(format!("detached more than {AGAIN_MAX} times"));
        }
        self.again += 1;
        attach_group(objects, Object::Datagram, program, group)
    }
}

struct Dispatch {
    on_exit: ProgramArray<MapData>,
    used: bool,
}

/// Loads and attaches everything.
pub(crate) fn attach(objects: &mut Objects, btf: &Btf) -> Attached {
    let dispatch = objects.dispatch().map(|on_exit| Dispatch { on_exit, used: false });
    let mut attaching = Attaching { objects, btf, dispatch, programs: Vec::new(), naming: None, group: None };
    let mut states: Vec<ProbeState> = PROBES.iter().chain(ACTIONS).map(|probe| attaching.probe(probe)).collect();
    // Last: from here on system calls reach the probes, where a probe needs them.
    if attaching.dispatch.as_ref().is_some_and(|dispatch| dispatch.used)
        && let Err(reason) = attaching.part(Object::Syscalls, &Part { program: "sys_exit", hook: Hook::Tracepoint("sys_exit"), optional: false })
    {
        depend(&mut states, "tp_btf/sys_exit", &reason);
    }
    let closed = attaching.sweeper(Object::File, "picket_writers", "sweep_writers");
    states.push(state("file_close_sweep", "iter/bpf_map_elem", closed.as_ref().map(|_| ()).map_err(Clone::clone)));
    let used = attaching.sweeper(Object::File, "picket_uses", "sweep_uses");
    states.push(state("file_use_sweep", "iter/bpf_map_elem", used.as_ref().map(|_| ()).map_err(Clone::clone)));
    let ring_sweep = attaching.sweeper(Object::Kernel, "picket_rings", "sweep_rings");
    states.push(state("io_uring_sweep", "iter/bpf_map_elem", ring_sweep.as_ref().map(|_| ()).map_err(Clone::clone)));
    let sweeps = closed.into_iter().chain(used).collect();
    let tellers: Vec<_> = TELLERS.iter().map(|(program, map)| attaching.sweeper(Object::Iterators, map, program)).collect();
    let told = tellers.iter().find_map(|teller| teller.as_ref().err().cloned());
    states.push(state("flow_traffic", "iter/bpf_map_elem", told.map_or(Ok(()), Err)));
    let tellers = tellers.into_iter().flatten().collect();
    let group = attaching.group.and_then(Result::ok);
    Attached { states, sweeps, ring_sweep: ring_sweep.ok(), tellers, _dispatch: attaching.dispatch, group, again: 0, programs: attaching.programs }
}

fn state(name: &str, hook: &str, outcome: Result<(), String>) -> ProbeState {
    ProbeState { name: name.into(), hook: hook.into(), attached: outcome.is_ok(), reason: outcome.err().unwrap_or_default() }
}

/// A probe behind a dispatcher that is not attached sees nothing.
fn depend(states: &mut [ProbeState], hook: &str, reason: &str) {
    for state in states.iter_mut().filter(|state| state.attached && state.hook.contains(hook)) {
        state.attached = false;
        state.reason = format!("{hook} is not attached: {reason}");
    }
}

struct Attaching<'a> {
    objects: &'a mut Objects,
    btf: &'a Btf,
    dispatch: Option<Dispatch>,
    programs: Vec<(String, i32)>,
    /// Whether the change-time tracepoints are attached, once they were tried.
    naming: Option<Result<(), String>>,
    /// The root control group, once it was looked for.
    group: Option<Result<File, String>>,
}

impl Attaching<'_> {
    /// By the first variant that works; where none does, the state tells every reason.
    fn probe(&mut self, probe: &Probe) -> ProbeState {
        let mut reasons = Vec::new();
        for variant in probe.variants {
            match self.variant(variant) {
                Ok(()) => return state(probe.name, variant.hook, Ok(())),
                Err(reason) => reasons.push(format!("{}: {reason}", variant.hook)),
            }
        }
        let last = probe.variants.last().map_or("", |variant| variant.hook);
        state(probe.name, last, Err(reasons.join("; ")))
    }

    fn variant(&mut self, variant: &Variant) -> Result<(), String> {
        if variant.naming {
            self.naming()?;
        }
        for (index, part) in variant.parts.iter().enumerate() {
            let outcome = self.part(variant.object, part);
            if !part.optional && outcome.is_err() {
                for done in variant.parts.iter().take(index) {
                    self.undo(variant.object, done);
                }
                return outcome;
            }
        }
        Ok(())
    }

    fn naming(&mut self) -> Result<(), String> {
        if self.naming.is_none() {
            let outcome = NAMING.map(|name| self.part(Object::File, &Part { program: name, hook: Hook::Tracepoint(name), optional: false }));
            self.naming = Some(outcome.into_iter().collect::<Result<Vec<()>, String>>().map(|_| ()));
        }
        self.naming.clone().unwrap_or(Ok(()))
    }

    fn part(&mut self, object: Object, part: &Part) -> Result<(), String> {
        if matches!(part.hook, Hook::Attached) {
            return if self.programs.iter().any(|(name, _)| name == part.program) { Ok(()) } else { Err(format!("{} is not attached", part.program)) };
        }
        let fd = self.load(object, part)?;
        match part.hook {
            Hook::Exit(slot) => {
                let Some(dispatch) = &mut self.dispatch else { return Err("the dispatch table is missing".into()) };
                dispatch.on_exit.set(slot, &fd, 0).map_err(|error| reason(&error))?;
                dispatch.used = true;
                Ok(())
            }
            Hook::Group => self.group(object, part),
            Hook::Tracepoint(_) | Hook::Entry(_) | Hook::Return(_) => {
                let attached = match self.find(object, part.program)? {
                    Program::BtfTracePoint(program) => program.attach().map(|_| ()),
                    Program::FEntry(program) => program.attach().map(|_| ()),
                    Program::FExit(program) => program.attach().map(|_| ()),
                    _ => return Err(format!("{} is of another kind", part.program)),
                };
                attached.map_err(|error| reason(&error))
            }
            Hook::Attached => Ok(()),
        }
    }

    /// Loads a program once; a second call gives its descriptor.
    fn load(&mut self, object: Object, part: &Part) -> Result<ProgramFd, String> {
        let target = match part.hook {
            Hook::Tracepoint(name) | Hook::Entry(name) | Hook::Return(name) => name,
            Hook::Exit(_) | Hook::Attached => "sys_exit",
            Hook::Group => "",
        };
        let btf = self.btf;
        let found = self.find(object, part.program)?;
        if found.fd().is_err() {
            match found {
                Program::BtfTracePoint(program) => program.load(target, btf),
                Program::FEntry(program) => program.load(target, btf),
                Program::FExit(program) => program.load(target, btf),
                Program::CgroupSkb(program) => program.load(),
                Program::CgroupSock(program) => program.load(),
                _ => return Err(format!("{} is of another kind", part.program)),
            }
            .map_err(|error| reason(&error))?;
            let fd = found.fd().map_err(|error| reason(&error))?.as_fd().as_raw_fd();
            self.programs.push((part.program.to_owned(), fd));
        }
        let found = self.find(object, part.program)?;
        found.fd().and_then(|fd| fd.try_clone().map_err(ProgramError::IOError)).map_err(|error| reason(&error))
    }

    /// Takes a part of a variant that did not work away again.
    fn undo(&mut self, object: Object, part: &Part) {
        let unloaded = match self.find(object, part.program) {
            Ok(Program::BtfTracePoint(program)) => program.unload(),
            Ok(Program::FEntry(program)) => program.unload(),
            Ok(Program::FExit(program)) => program.unload(),
            Ok(Program::CgroupSkb(program)) => program.unload(),
            Ok(Program::CgroupSock(program)) => program.unload(),
            _ => return,
        };
        if unloaded.is_ok() {
            self.programs.retain(|(name, _)| name != part.program);
        }
    }

    fn find(&mut self, object: Object, program: &str) -> Result<&mut Program, String> {
        self.objects.object(object)?.program_mut(program).ok_or_else(|| format!("no program {program} in its object"))
    }

    /// A program that is run over every element of a map of its object.
    fn sweeper(&mut self, object: Object, map: &'static str, program: &'static str) -> Result<MapIterator, String> {
        let ebpf = self.objects.object(object)?;
        let found: &mut Iter =
            ebpf.program_mut(program).ok_or_else(|| format!("no program {program} in its object"))?.try_into().map_err(|error| reason(&error))?;
        found.load("bpf_map_elem", self.btf).map_err(|error| reason(&error))?;
        // The map stays where it is: programs that are loaded later refer to it.
        let Some(Map::HashMap(map) | Map::LruHashMap(map)) = ebpf.map(map) else { return Err(format!("the map {map} is missing")) };
        let found: &Iter = ebpf.program(program).ok_or_else(|| format!("no program {program} in its object"))?.try_into().map_err(|error| reason(&error))?;
        let fd = found.fd().map_err(|error| reason(&error))?;
        self.programs.push((program.to_owned(), fd.as_fd().as_raw_fd()));
        MapIterator::new(fd.as_fd(), map.fd().as_fd()).map_err(|error| format!("cannot bind {program} to its map: {error}"))
    }

    fn group(&mut self, object: Object, part: &Part) -> Result<(), String> {
        let group = self.group.get_or_insert_with(crate::cgroup::root).as_ref().map_err(Clone::clone)?.try_clone().map_err(|error| error.to_string())?;
        attach_group(self.objects, object, part.program, &group)
    }
}

fn attach_group(objects: &mut Objects, object: Object, name: &str, group: &File) -> Result<(), String> {
    // Programs of others on the same group stay: a link always adds.
    let mode = CgroupAttachMode::Single;
    let direction = if name.contains("egress") { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
    let found = objects.object(object)?.program_mut(name).ok_or_else(|| format!("no program {name} in its object"))?;
    let attached = match found {
        Program::CgroupSkb(program) => program.attach(group, direction, mode).map(|_| ()),
        Program::CgroupSock(program) => program.attach(group, mode).map(|_| ()),
        _ => return Err(format!("{name} is of another kind")),
    };
    attached.map_err(|error| reason(&error))
}

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
