//! Kernel records in, events out: who did it, in which container, job and role.

mod action;
mod action_names;
mod dns;
mod file;
mod flow;
mod heal;
mod process;
mod socket;
#[cfg(test)]
mod tests;
mod text;
mod worker;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use arc_swap::ArcSwap;
use picket_ebpf::record::{Body, FileOp, Record, RecordFlags, Task};
use picket_event::{Activity, Actor, Event, EventFlags, Severity, User};

use crate::{
    boot::{Boot, WallClock},
    config::Config,
    enrich::{Apptainer, Cgroups, ProcReader, Roles, Users, job_of_cgroup},
    process_table::{Entry, ProcessKey, ProcessTable},
    watches::WatchIds,
};

pub(crate) use worker::{Chunk, Numbered, Worker, WorkerCounters};

/// What the pipeline looks up and a reload may change.
pub(crate) struct Rules {
    pub(crate) roles: Roles,
    /// By watch id.
    pub(crate) watch_classes: HashMap<u32, &'static str>,
    /// By extension, with its dot.
    pub(crate) extension_classes: HashMap<String, &'static str>,
}

impl Rules {
    pub(crate) fn new(config: &Config, roles: Roles, watches: &WatchIds) -> Self {
        let classes = |names: &[String], class| names.iter().map(|name| (name.clone(), class)).collect::<Vec<_>>();
        Self {
            roles,
            watch_classes: watches.classes(),
            extension_classes: classes(&config.extensions.model, "model").into_iter().chain(classes(&config.extensions.dataset, "dataset")).collect(),
        }
    }
}

/// How much is shed to stay inside the budget; 0 nothing. Processes are never shed: everything else is named by them.
#[derive(Default)]
pub(crate) struct Shedding(AtomicU8);

impl Shedding {
    pub(crate) const LEVEL_MAX: u8 = 2;

    pub(crate) fn level(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, level: u8) {
        self.0.store(level.min(Self::LEVEL_MAX), Ordering::Relaxed);
    }

    /// 1: opens and uses of files that only an extension matched, most of which the kernel side leaves out already. 2: flows too.
    fn sheds(&self, record: &Record) -> bool {
        let level = self.level();
        match &record.body {
            Body::File(_) => level >= 1 && is_routine(record),
            Body::Flow(_) | Body::Dns(_) => level >= 2,
            _ => false,
        }
    }
}

const S_IFMT: u16 = 0o170_000;
const S_IFCHR: u16 = 0o020_000;

/// Opens and uses of files that only an extension matched: what is missed least. An accelerator's device is none.
fn is_routine(record: &Record) -> bool {
    matches!(&record.body, Body::File(file) if matches!(file.op, FileOp::Open | FileOp::Use) && file.watch_id == 0 && file.i_mode & S_IFMT != S_IFCHR)
}

/// The state of the conversion; one thread owns it.
pub(crate) struct Pipeline {
    table: ProcessTable,
    users: Users,
    cgroups: Cgroups,
    apptainer: Apptainer,
    proc: ProcReader,
    rules: Arc<ArcSwap<Rules>>,
    clock: WallClock,
    questions: dns::Questions,
}

impl Pipeline {
    pub(crate) fn new(boot: Boot, config: &Config, rules: Arc<ArcSwap<Rules>>) -> Self {
        let grace_ns = config.processes.exited_grace_seconds.saturating_mul(1_000_000_000);
        Self {
            table: ProcessTable::new(boot, config.processes.entries_max, grace_ns),
            users: Users::new(PathBuf::from("/etc/passwd")),
            cgroups: Cgroups::host(),
            apptainer: Apptainer::host(),
            proc: ProcReader::new(&config.sensor.environment),
            rules,
            clock: WallClock::now(),
            questions: dns::Questions::default(),
        }
    }

    /// Once a batch: follows the wall clock and frees processes that ended.
    pub(crate) fn tick(&mut self, now_boot_ns: u64) {
        self.clock = WallClock::now();
        self.table.expire(now_boot_ns);
    }

    /// Known processes, and those forgotten while they lived.
    pub(crate) fn processes(&self) -> (usize, u64) {
        self.table.size()
    }

    /// DNS messages so far that could not be read.
    pub(crate) fn dns_malformed(&self) -> u64 {
        self.questions.malformed()
    }

    /// The event that a record tells.
    pub(crate) fn event(&mut self, record: Record) -> Event {
        let mut flags = flags_of(record.flags);
        let time = self.clock.at(record.time_boot_ns);
        let Record { task, body, time_boot_ns, .. } = record;
        let (actor, activity) = match body {
            Body::Fork(fork) => self.fork(&task, &fork, &mut flags),
            Body::Exec(exec) => self.exec(&task, *exec, record.flags, &mut flags),
            Body::Exit(exit) => self.exit(&task, &exit, time_boot_ns, &mut flags),
            Body::Action(action) => self.action(&task, &action, &mut flags),
            Body::File(file) => {
                let actor = self.actor(&task, &mut flags);
                (actor, Activity::File(self.file(*file)))
            }
            Body::Flow(flow) => {
                // The owner of a flow may be unknown: accepted before the agent, or already gone.
                let actor = if task.pid == 0 { None } else { self.actor(&task, &mut flags) };
                (actor, Activity::Network(flow::activity(&flow, time_boot_ns)))
            }
            Body::Dns(dns) => {
                let clock = self.clock;
                let actor = if task.pid == 0 { None } else { self.actor(&task, &mut flags) };
                (actor, Activity::Dns(Box::new(self.questions.activity(&dns, time_boot_ns, |boot_ns| clock.at(boot_ns)))))
            }
            Body::Socket(socket) => (self.actor(&task, &mut flags), socket::activity(&socket)),
        };
        Event { time, severity: Severity::Informational, flags, actor, activity }
    }

    fn user(&mut self, task: &Task) -> User {
        User { uid: task.uid, euid: task.euid, gid: task.gid, auid: task.auid, name: self.users.name(task.uid) }
    }

    /// The acting process as it is at this record.
    fn actor(&mut self, task: &Task, flags: &mut EventFlags) -> Option<Actor> {
        let key = key_of(task);
        let user = self.user(task);
        if self.table.get(key).is_none() {
            let entry = self.stranger(task);
            self.table.insert(key, entry);
        }
        self.follow(key, task);
        let uid = self.table.uid(key);
        let entry = self.table.get(key)?;
        entry.user = user;
        if entry.partial {
            *flags = flags.union(EventFlags::ACTOR_PARTIAL);
        }
        Some(Actor { process: entry.process(uid, key.pid, task.tid) })
    }

    /// Takes up what may have changed without an exec: a new parent, another control group.
    fn follow(&mut self, key: ProcessKey, task: &Task) {
        let parent = parent_of(task);
        let (same_parent, same_cgroup) = self.table.get(key).map_or((true, true), |entry| (entry.parent == parent, entry.cgroup_id == task.cgroup_id));
        if !same_parent && parent.pid != 0 {
            let parent_process = self.table.as_parent(parent);
            if let Some(entry) = self.table.get(key) {
                entry.parent = parent;
                entry.parent_process = parent_process;
            }
        }
        if !same_cgroup && task.cgroup_id != 0 {
            let cgroup = self.cgroups.of(task.cgroup_id, task.pid);
            let job = job_of_cgroup(&cgroup.lines).map(Arc::new);
            if let Some(entry) = self.table.get(key) {
                if job.is_some() && entry.job.is_none() {
                    entry.job = job;
                }
                entry.cgroup = cgroup;
                entry.cgroup_id = task.cgroup_id;
            }
        }
    }
}

fn key_of(task: &Task) -> ProcessKey {
    ProcessKey { pid: task.pid, start_boot_ns: task.start_boot_ns }
}

fn parent_of(task: &Task) -> ProcessKey {
    ProcessKey { pid: task.parent_pid, start_boot_ns: task.parent_start_boot_ns }
}

fn flags_of(flags: RecordFlags) -> EventFlags {
    let mut out = EventFlags::default();
    for (from, to) in [
        (RecordFlags::ARGS_CUT, EventFlags::CMD_LINE_CUT),
        (RecordFlags::PATH_CUT, EventFlags::PATH_CUT),
        (RecordFlags::PATH_DETACHED, EventFlags::PATH_DETACHED),
        (RecordFlags::PREEXISTING, EventFlags::PREEXISTING),
    ] {
        if flags.contains(from) {
            out = out.union(to);
        }
    }
    out
}

impl Pipeline {
    fn entry_of(&mut self, task: &Task) -> Entry {
        let created = self.clock.at(task.start_boot_ns);
        let mut entry = Entry::new(Arc::default(), self.user(task), created);
        entry.parent = parent_of(task);
        entry.parent_process = self.table.as_parent(entry.parent);
        entry.cgroup = self.cgroups.of(task.cgroup_id, task.pid);
        entry.cgroup_id = task.cgroup_id;
        entry
    }
}
