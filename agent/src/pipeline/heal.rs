//! The process table after losses: made whole from the kernel's list of what runs.

use std::collections::HashSet;

use picket_ebpf::record::{Body, Exec, Record};
use picket_event::{Activity, Event, EventClass, SensorLoss};

use super::{Pipeline, key_of, parent_of, text};
use crate::{boot::wall_now, healing, healing::Gap, process_table::ProcessKey, stdout::own_event};

/// What began so shortly before the list was read is told by its own records, which come after it.
const FRESH_NS: u64 = 100_000_000;
/// Parent of all kernel threads.
const KTHREADD: u32 = 2;

impl Pipeline {
    /// Events of what was unknown, each as something that was there before it was seen, and one event a class of losses that says so.
    ///
    /// A process that executed the program of its parent again, with other arguments and without a fork, is not told from its parent.
    pub(crate) fn heal(&mut self, mut records: Vec<Record>, gap: &Gap) -> Vec<Event> {
        // Parents before their children.
        records.sort_by_key(|record| record.task.start_boot_ns);
        let listed: HashSet<ProcessKey> = records.iter().filter(|record| matches!(record.body, Body::Exec(_))).map(|record| key_of(&record.task)).collect();
        let listed_boot_ns = records.iter().filter(|record| matches!(record.body, Body::Exec(_))).map(|record| record.time_boot_ns).min();
        let mut healed = HashSet::new();
        let (mut events, mut processes, mut sockets) = (Vec::new(), 0, 0);
        let (list, flows): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| matches!(record.body, Body::Exec(_)));
        for record in list {
            let (key, parent) = (key_of(&record.task), parent_of(&record.task));
            if self.is_unknown(&record) {
                healed.insert(key);
                processes += 1;
                events.push(self.event(record));
            } else if healed.contains(&parent) {
                let parent_process = self.table.as_parent(parent);
                if let Some(entry) = self.table.get(key) {
                    entry.parent = parent;
                    entry.parent_process = parent_process;
                }
            }
        }
        if let Some(listed_boot_ns) = listed_boot_ns.filter(|_| gap.processes) {
            let ended = self.table.exit_unlisted(&listed, listed_boot_ns);
            tracing::info!(processes, ended, sockets = flows.len(), "what losses left unknown was read again from the kernel");
        }
        for record in flows {
            sockets += 1;
            events.push(self.event(record));
        }
        let healed_at = wall_now();
        events.extend(gap.classes().map(|class| {
            let found = if class == EventClass::ProcessActivity { processes } else { sockets };
            let loss = SensorLoss {
                cause: gap.cause,
                class: Some(class),
                count: Some(0),
                cpu: None,
                since: gap.since,
                until: gap.until,
                healed: Some(healed_at),
                message: healing::message(class, found),
            };
            own_event(Activity::Loss(loss), healed_at)
        }));
        events
    }

    /// Not in the table, or there as something else than it is now.
    fn is_unknown(&mut self, record: &Record) -> bool {
        let Body::Exec(exec) = &record.body else { return false };
        if record.task.start_boot_ns.saturating_add(FRESH_NS) > record.time_boot_ns {
            return false;
        }
        // Without a program: a kernel thread, or one that has ended and is not reaped.
        let ended = exec.exe_inode == 0 && record.task.parent_pid > KTHREADD;
        let Some(entry) = self.table.get(key_of(&record.task)) else { return !ended };
        if ended {
            return false;
        }
        if entry.partial || (entry.image.exe_inode, entry.image.exe_device) != (exec.exe_inode, exec.exe_device) {
            return true;
        }
        // A fork of a shell that runs another script has the same program: only its arguments tell. Those of a process that was seen to
        // execute are not compared, because programs write their titles over them.
        entry.inherited && exec.exe_inode != 0 && self.runs_other_arguments(record, exec)
    }

    fn runs_other_arguments(&mut self, record: &Record, exec: &Exec) -> bool {
        let key = key_of(&record.task);
        let args = match &exec.args {
            args if args.is_empty() => self.proc.read(key.pid, key.start_boot_ns).map(|found| found.args).unwrap_or_default(),
            args => args.clone(),
        };
        let cmd_line = text::cmd_line(&args);
        !cmd_line.is_empty() && self.table.get(key).is_some_and(|entry| entry.image.cmd_line != cmd_line)
    }
}
