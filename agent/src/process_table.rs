//! The processes of the host, by pid and start: what a later event needs to say who did it.
//!
//! Bounded: at most `entries_max` entries. Ended processes are freed after a grace period, the oldest first when room is needed; when
//! nothing has ended, the least recently seen go, an eighth at once. A forgotten process is found again through its next record and `/proc`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use picket_event::{Container, Job, Namespaces, ParentProcess, Process, ProcessRole, ProcessUid, Timestamp, User};

use crate::{boot::Boot, enrich::CgroupInfo};

/// A process on this boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessKey {
    pub(crate) pid: u32,
    pub(crate) start_boot_ns: u64,
}

/// What an exec sets; shared by the copies that fork makes of it, so that a fork bomb costs no strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) exe_inode: u64,
    pub(crate) exe_device: u32,
    pub(crate) exe_flags: picket_event::ExeFlags,
    pub(crate) cmd_line: String,
    pub(crate) working_directory: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) role: ProcessRole,
}

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) image: Arc<Image>,
    pub(crate) user: User,
    pub(crate) created: Timestamp,
    pub(crate) capabilities: u64,
    pub(crate) namespaces: Namespaces,
    pub(crate) cgroup: Arc<CgroupInfo>,
    pub(crate) cgroup_id: u64,
    pub(crate) tty: Arc<str>,
    pub(crate) exec_tree: ProcessUid,
    pub(crate) session: ProcessKey,
    pub(crate) job: Option<Arc<Job>>,
    /// A container that has no control group of its own.
    pub(crate) container: Option<Arc<Container>>,
    pub(crate) parent: ProcessKey,
    pub(crate) parent_process: Option<Arc<ParentProcess>>,
    /// Its exec was not seen; what is known comes from a record and `/proc`.
    pub(crate) partial: bool,
    /// It runs what it had from its parent at its fork.
    pub(crate) inherited: bool,
    as_parent: Option<Arc<ParentProcess>>,
    used: u64,
    exited: bool,
}

impl Entry {
    pub(crate) fn new(image: Arc<Image>, user: User, created: Timestamp) -> Self {
        Self {
            image,
            user,
            created,
            capabilities: 0,
            namespaces: Namespaces::default(),
            cgroup: Arc::default(),
            cgroup_id: 0,
            tty: Arc::from(""),
            exec_tree: ProcessUid::default(),
            session: ProcessKey::default(),
            job: None,
            container: None,
            parent: ProcessKey::default(),
            parent_process: None,
            partial: false,
            inherited: false,
            as_parent: None,
            used: 0,
            exited: false,
        }
    }

    /// As events carry it.
    pub(crate) fn process(&self, uid: ProcessUid, pid: u32, tid: u32) -> Process {
        let image = &self.image;
        Process {
            uid,
            pid,
            tid,
            name: image.name.clone(),
            path: image.path.clone(),
            exe_inode: image.exe_inode,
            exe_device: image.exe_device,
            exe_flags: image.exe_flags,
            cmd_line: image.cmd_line.clone(),
            working_directory: image.working_directory.clone(),
            user: self.user.clone(),
            created_time: self.created,
            capabilities: self.capabilities,
            namespaces: self.namespaces,
            cgroup: self.cgroup.path.clone(),
            tty: self.tty.to_string(),
            environment: image.environment.clone(),
            exec_tree: self.exec_tree.clone(),
            role: image.role,
            container: self.container.as_deref().or(self.cgroup.container.as_ref()).cloned(),
            job: self.job.as_deref().cloned(),
            parent: self.parent_process.as_deref().cloned(),
        }
    }
}

/// See the module.
pub(crate) struct ProcessTable {
    boot: Boot,
    entries: HashMap<ProcessKey, Entry>,
    /// In the order of their end.
    exited: VecDeque<(u64, ProcessKey)>,
    entries_max: usize,
    grace_ns: u64,
    clock: u64,
    evicted: u64,
}

impl ProcessTable {
    pub(crate) fn new(boot: Boot, entries_max: usize, grace_ns: u64) -> Self {
        Self { boot, entries: HashMap::new(), exited: VecDeque::new(), entries_max: entries_max.max(8), grace_ns, clock: 0, evicted: 0 }
    }

    pub(crate) fn uid(&self, key: ProcessKey) -> ProcessUid {
        self.boot.process_uid(key.pid, key.start_boot_ns)
    }

    /// The process, which counts as seen now.
    pub(crate) fn get(&mut self, key: ProcessKey) -> Option<&mut Entry> {
        self.clock += 1;
        let clock = self.clock;
        let entry = self.entries.get_mut(&key)?;
        entry.used = clock;
        Some(entry)
    }

    pub(crate) fn insert(&mut self, key: ProcessKey, mut entry: Entry) {
        self.clock += 1;
        entry.used = self.clock;
        if let Some(old) = self.entries.get(&key) {
            entry.exited = old.exited;
        } else {
            self.make_room();
        }
        self.entries.insert(key, entry);
    }

    /// What children of the process say of it.
    pub(crate) fn as_parent(&mut self, key: ProcessKey) -> Option<Arc<ParentProcess>> {
        let uid = self.uid(key);
        let entry = self.get(key)?;
        if let Some(parent) = &entry.as_parent {
            return Some(Arc::clone(parent));
        }
        let image = &entry.image;
        let parent = ParentProcess { uid, pid: key.pid, name: image.name.clone(), path: image.path.clone(), cmd_line: image.cmd_line.clone() };
        let parent = Arc::new(parent);
        entry.as_parent = Some(Arc::clone(&parent));
        Some(parent)
    }

    /// The process ended at `boot_ns`; it stays known for the grace period.
    pub(crate) fn exit(&mut self, key: ProcessKey, boot_ns: u64) {
        if let Some(entry) = self.entries.get_mut(&key)
            && !entry.exited
        {
            entry.exited = true;
            self.exited.push_back((boot_ns, key));
        }
    }

    /// Processes that began before `listed_boot_ns` and were not in the list of that time have ended, and nobody saw it. Gives how many.
    pub(crate) fn exit_unlisted(&mut self, listed: &HashSet<ProcessKey>, listed_boot_ns: u64) -> u64 {
        let ended = |(key, entry): (&ProcessKey, &Entry)| (!entry.exited && key.start_boot_ns < listed_boot_ns && !listed.contains(key)).then_some(*key);
        let ended: Vec<ProcessKey> = self.entries.iter().filter_map(ended).collect();
        for key in &ended {
            self.exit(*key, listed_boot_ns);
        }
        ended.len() as u64
    }

    /// Frees what ended before the grace period.
    pub(crate) fn expire(&mut self, now_boot_ns: u64) {
        while let Some((ended, key)) = self.exited.front().copied()
            && ended.saturating_add(self.grace_ns) <= now_boot_ns
        {
            self.exited.pop_front();
            self.entries.remove(&key);
        }
    }

    fn make_room(&mut self) {
        if self.entries.len() < self.entries_max {
            return;
        }
        if let Some((_, key)) = self.exited.pop_front() {
            self.entries.remove(&key);
            return;
        }
        let mut by_use: Vec<(u64, ProcessKey)> = self.entries.iter().map(|(key, entry)| (entry.used, *key)).collect();
        let count = (by_use.len() / 8).max(1).min(by_use.len());
        by_use.select_nth_unstable(count - 1);
        for (_, key) in by_use.into_iter().take(count) {
            self.entries.remove(&key);
            self.evicted += 1;
        }
    }

    /// Known processes, and those that were forgotten while they lived.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.evicted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str) -> Entry {
        Entry::new(Arc::new(Image { name: name.to_owned(), ..Image::default() }), User::default(), Timestamp(0))
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_boot_ns: u64::from(pid) * 10 }
    }

    fn table(entries_max: usize) -> ProcessTable {
        ProcessTable::new(Boot::new("00000000-0000-4000-8000-000000000000"), entries_max, 100)
    }

    #[test]
    fn an_ended_process_is_known_for_the_grace_period() {
        let mut table = table(100);
        table.insert(key(1), entry("one"));
        table.exit(key(1), 1_000);
        table.expire(1_099);
        assert!(table.get(key(1)).is_some());
        table.expire(1_100);
        assert!(table.get(key(1)).is_none());
    }

    #[test]
    fn what_is_not_listed_any_more_has_ended() {
        let mut table = table(100);
        for pid in 1..=4 {
            table.insert(key(pid), entry("any"));
        }
        table.exit(key(3), 20);
        // 4 began after the list was made.
        assert_eq!(table.exit_unlisted(&HashSet::from([key(1)]), 35), 1);
        table.expire(135);
        let known: Vec<bool> = (1..=4).map(|pid| table.get(key(pid)).is_some()).collect();
        assert_eq!(known, [true, false, false, true]);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut table = table(100);
        table.insert(key(1), entry("one"));
        assert!(table.get(ProcessKey { pid: 1, start_boot_ns: 11 }).is_none());
    }

    #[test]
    fn the_least_recently_seen_go_first_and_the_size_is_bounded() {
        let mut table = table(64);
        for pid in 1..=64 {
            table.insert(key(pid), entry("x"));
        }
        table.get(key(1));
        for pid in 65..=1_000 {
            table.insert(key(pid), entry("x"));
            table.get(key(1));
            assert!(table.size().0 <= 64);
        }
        assert!(table.get(key(1)).is_some(), "seen all the time");
        assert!(table.get(key(2)).is_none());
    }

    #[test]
    fn churn_leaves_nothing_behind() {
        let mut table = table(1_000);
        for pid in 1..200_000_u32 {
            table.insert(key(pid), entry("x"));
            table.exit(key(pid), u64::from(pid));
            table.expire(u64::from(pid));
        }
        assert!(table.entries.len() <= 101, "{} entries", table.entries.len());
        assert!(table.exited.len() <= 101, "{} ends", table.exited.len());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32),
        Exit(u32),
        Expire,
        Look(u32),
    }

    proptest! {
        /// With room for all, the table is exactly: inserted, and not ended longer than the grace period ago.
        #[test]
        fn the_table_is_its_model(steps in proptest::collection::vec(prop_oneof![
            (1..20_u32).prop_map(Step::Insert), (1..20_u32).prop_map(Step::Exit), Just(Step::Expire), (1..20_u32).prop_map(Step::Look),
        ], 1..300)) {
            let mut table = table(1_000);
            let (mut live, mut ended) = (HashSet::new(), HashMap::new());
            for (now, step) in (0_u64..).zip(steps) {
                let now = now * 20;
                match step {
                    Step::Insert(pid) => {
                        table.insert(key(pid), entry("x"));
                        if !ended.contains_key(&pid) {
                            live.insert(pid);
                        }
                    }
                    Step::Exit(pid) => {
                        table.exit(key(pid), now);
                        if live.remove(&pid) {
                            ended.insert(pid, now);
                        }
                    }
                    Step::Expire => {
                        table.expire(now);
                        ended.retain(|_, at| *at + 100 > now);
                    }
                    Step::Look(pid) => prop_assert_eq!(table.get(key(pid)).is_some(), live.contains(&pid) || ended.contains_key(&pid)),
                }
                prop_assert_eq!(table.size().0, live.len() + ended.len());
            }
        }
    }
}
