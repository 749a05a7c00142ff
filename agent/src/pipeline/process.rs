//! Fork, exec and exit; and processes that nobody saw begin.

use std::sync::Arc;

use picket_ebpf::record::{Exec, Exit, Fork, RecordFlags, Task};
use picket_event::{Activity, Actor, EventFlags, ExeFlags, Job, LaunchType, Namespaces, ProcessActivity, ProcessActivityKind, ProcessMethod, ProcessUid};

use super::{Pipeline, key_of, text};
use crate::{
    enrich::{Invocation, ProcText, job_of, pairs},
    process_table::{Entry, Image, ProcessKey},
};

impl Pipeline {
    pub(super) fn fork(&mut self, task: &Task, fork: &Fork, flags: &mut EventFlags) -> (Option<Actor>, Activity) {
        let actor = self.actor(task, flags);
        let (parent, child) = (key_of(task), ProcessKey { pid: fork.child_pid, start_boot_ns: fork.child_start_boot_ns });
        let parent_process = self.table.as_parent(parent);
        let created = self.clock.at(fork.child_start_boot_ns);
        // `actor` has put the parent into the table.
        let mut entry = self.table.get(parent).cloned().unwrap_or_else(|| Entry::new(Arc::default(), picket_event::User::default(), created));
        entry = forked(entry, created);
        entry.parent = parent;
        entry.parent_process = parent_process;
        let process = entry.process(self.table.uid(child), child.pid, 0);
        // A record of another CPU may have been read first: an exec or an exit of the child knows more than its parent.
        if self.table.get(child).is_none() {
            self.table.insert(child, entry);
        }
        (actor, Activity::Process(ProcessActivity { kind: ProcessActivityKind::Launch(LaunchType::Fork), process, method: ProcessMethod::None }))
    }

    pub(super) fn exec(&mut self, task: &Task, exec: Exec, told: RecordFlags, flags: &mut EventFlags) -> (Option<Actor>, Activity) {
        let key = key_of(task);
        let mut seen = exec;
        let mut environment: Vec<(String, String)> = pairs(&seen.environment).collect();
        if flags.contains(EventFlags::PREEXISTING)
            && let Some(found) = self.proc.read_unlimited(task.pid, task.start_boot_ns)
        {
            // An iterator cannot read the memory of another process; `/proc` can.
            complete(&mut seen, &mut environment, found);
        }
        if told.contains(RecordFlags::USER_FAULT) && seen.args.is_empty() && !seen.exe_path.is_empty() {
            *flags = flags.union(EventFlags::CMD_LINE_CUT);
        }
        environment.sort();
        let mut entry = self.entry_of(task);
        let mut image = self.image(task, &seen, environment, entry.parent);
        image.exe_flags = exe_flags(told);
        entry.image = Arc::new(image);
        entry.capabilities = seen.capabilities;
        entry.namespaces = Namespaces { mnt: seen.mnt_ns, pid: seen.pid_ns, net: seen.net_ns, user: seen.user_ns };
        entry.tty = Arc::from(text::tty(seen.tty));
        entry.session = ProcessKey { pid: seen.session_pid, start_boot_ns: seen.session_start_boot_ns };
        entry.container = self.apptainer.container(&entry.image.environment, entry.namespaces.mnt).map(Arc::new);
        entry.job = self.job(key, &entry);
        let container_init = seen.ns_pid == 1 && task.pid != 1;
        entry.exec_tree = self.exec_tree(key, &entry, container_init);
        let process = entry.process(self.table.uid(key), key.pid, task.tid);
        self.table.insert(key, entry);
        let actor = Some(Actor { process: process.clone() });
        (actor, Activity::Process(ProcessActivity { kind: ProcessActivityKind::Launch(LaunchType::Exec), process, method: ProcessMethod::None }))
    }

    pub(super) fn exit(&mut self, task: &Task, exit: &Exit, boot_ns: u64, flags: &mut EventFlags) -> (Option<Actor>, Activity) {
        let actor = self.actor(task, flags);
        self.table.exit(key_of(task), boot_ns);
        let process = actor.as_ref().map(|actor| actor.process.clone()).unwrap_or_default();
        let status = i32::try_from(exit.code >> 8 & 0xff).unwrap_or_default();
        let signal = i32::try_from(exit.code & 0x7f).unwrap_or_default();
        (actor, Activity::Process(ProcessActivity { kind: ProcessActivityKind::Terminate { exit_code: status, signal }, process, method: ProcessMethod::None }))
    }

    /// A process whose exec nobody saw: from the record and, while it lives, from `/proc`.
    pub(super) fn stranger(&mut self, task: &Task) -> Entry {
        let mut entry = self.entry_of(task);
        entry.partial = true;
        let mut seen = Exec::default();
        let mut environment = Vec::new();
        if let Some(found) = self.proc.read(task.pid, task.start_boot_ns) {
            complete(&mut seen, &mut environment, found);
        }
        entry.image = Arc::new(self.image(task, &seen, environment, entry.parent));
        entry.job = self.job(key_of(task), &entry);
        entry.exec_tree = self.exec_tree(key_of(task), &entry, false);
        entry
    }

    /// Of this exec; else the job of what it was before, which fork took from its parent: who clears the environment does not leave the job.
    fn job(&mut self, key: ProcessKey, entry: &Entry) -> Option<Arc<Job>> {
        if let Some(job) = job_of(&entry.image.environment, &entry.cgroup.lines) {
            return Some(Arc::new(job));
        }
        let before = if self.table.get(key).is_some() { key } else { entry.parent };
        self.table.get(before).and_then(|known| known.job.clone())
    }

    fn image(&mut self, task: &Task, exec: &Exec, environment: Vec<(String, String)>, parent: ProcessKey) -> Image {
        let path = text::text(&exec.exe_path);
        let cmd_line = text::cmd_line(&exec.args);
        let parent_role = self.table.get(parent).map(|parent| parent.image.role).unwrap_or_default();
        let invocation = Invocation::new(if path.is_empty() { &task.comm } else { &path }, &exec.args);
        let role = self.rules.load().roles.role(&invocation, &environment, parent_role);
        Image {
            name: task.comm.clone(),
            path,
            exe_inode: exec.exe_inode,
            exe_device: exec.exe_device,
            exe_flags: ExeFlags::default(),
            cmd_line,
            working_directory: text::text(&exec.cwd),
            environment,
            role,
        }
    }

    /// The nearest of: container init, first process of a job step, session leader.
    fn exec_tree(&mut self, key: ProcessKey, entry: &Entry, container_init: bool) -> ProcessUid {
        let own = self.table.uid(key);
        let (parent_job, parent_tree, parent_session) = match self.table.get(entry.parent) {
            Some(parent) => (parent.job.clone(), Some(parent.exec_tree.clone()), parent.session),
            None => (None, None, ProcessKey::default()),
        };
        if container_init || entry.session == key || begins_step(entry.job.as_deref(), parent_job.as_deref()) {
            return own;
        }
        match parent_tree {
            // In the session of its parent, the parent's tree is the nearer one.
            Some(tree) if !tree.0.is_empty() && (parent_session == entry.session || entry.session.pid == 0) => tree,
            _ if entry.session.pid != 0 => self.table.uid(entry.session),
            _ if entry.parent.pid != 0 => self.table.uid(entry.parent),
            _ => own,
        }
    }
}

fn exe_flags(told: RecordFlags) -> ExeFlags {
    let pairs = [(RecordFlags::EXE_MEMFD, ExeFlags::MEMFD), (RecordFlags::EXE_DELETED, ExeFlags::DELETED)];
    pairs.into_iter().filter(|(from, _)| told.contains(*from)).fold(ExeFlags::default(), |flags, (_, to)| flags.union(to))
}

fn begins_step(job: Option<&Job>, parent: Option<&Job>) -> bool {
    let step = |job: &Job| (job.scheduler.clone(), job.uid.clone(), job.step.clone());
    job.is_some_and(|job| parent.is_none_or(|parent| step(parent) != step(job)))
}

fn forked(parent: Entry, created: picket_event::Timestamp) -> Entry {
    let mut entry = Entry::new(parent.image, parent.user, created);
    entry.capabilities = parent.capabilities;
    entry.namespaces = parent.namespaces;
    entry.cgroup = parent.cgroup;
    entry.cgroup_id = parent.cgroup_id;
    entry.tty = parent.tty;
    entry.exec_tree = parent.exec_tree;
    entry.session = parent.session;
    entry.job = parent.job;
    entry.container = parent.container;
    entry.partial = parent.partial;
    entry.inherited = true;
    entry
}

/// Fills what is empty.
fn complete(exec: &mut Exec, environment: &mut Vec<(String, String)>, found: ProcText) {
    let ProcText { args, exe, cwd, environment: selected } = found;
    if exec.args.is_empty() {
        exec.args = args;
    }
    if exec.exe_path.is_empty() {
        exec.exe_path = exe.into_bytes();
    }
    if exec.cwd.is_empty() {
        exec.cwd = cwd.into_bytes();
    }
    if environment.is_empty() {
        *environment = selected;
    }
}
