//! Deterministic events of a busy machine-learning host: heavy-tailed processes, paths and addresses, realistic strings. The same seed
//! and host give the same events for ever, whatever the version of any random-number crate.
//!
//! ```
//! use picket_tests::generator::Generator;
//! let (mut one, mut two) = (Generator::new(7, 3), Generator::new(7, 3));
//! assert_eq!(one.next_event(), two.next_event());
//! ```

use std::net::{IpAddr, Ipv4Addr};

use picket_event::{
    Access, Activity, Actor, Direction, Endpoint, Event, EventFlags, File, FileActivityKind, FileSystemActivity, Job, LaunchType, NetworkActivity,
    NetworkActivityKind, ParentProcess, Process, ProcessActivity, ProcessActivityKind, ProcessMethod, ProcessRole, ProcessUid, Severity, Timestamp, Transport,
    User,
};

/// SplitMix64: eight lines that never change their output.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform below `n`; 0 where `n` is 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { ((self.next() as u128 * n as u128) >> 64) as u64 }
    }

    /// Log-uniform below `n`: the k-th value is about as frequent as 1/k (Zipf), as names and addresses are on real hosts.
    pub fn skewed(&mut self, n: u64) -> u64 {
        let bits = 64 - n.max(1).leading_zeros();
        let magnitude = self.below(u64::from(bits));
        let low = (1_u64 << magnitude) - 1;
        (low + self.below(low + 1)).min(n.saturating_sub(1))
    }

    /// True in `percent` of 100 cases.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, list: &'a [&'a str]) -> &'a str {
        let index = usize::try_from(self.skewed(list.len() as u64)).unwrap_or_default();
        list.get(index).copied().unwrap_or_default()
    }
}

/// Start of the generated time line: 2026-01-01T00:00:00Z.
const EPOCH_NS: i64 = 1_767_225_600_000_000_000;
/// Live processes a host has at most; the oldest are replaced.
const PROCESSES_MAX: usize = 400;
/// File paths a host knows: the head is opened all day, the tail once.
const PATHS: u64 = 200_000;
/// Addresses the hosts talk to.
const ADDRESSES: u64 = 50_000;

const PROGRAMS: &[(&str, &str, &str, ProcessRole)] = &[
    ("python3", "/usr/bin/python3.11", "python3 train.py --model llama-70b --config configs/run-{n}.yaml --resume", ProcessRole::Trainer),
    ("bash", "/usr/bin/bash", "bash -c cd /srv/jobs/{n} && ./launch.sh", ProcessRole::Shell),
    ("pt_data_worker", "/usr/bin/python3.11", "pt_data_worker --shard {n} --prefetch 4 --pin-memory", ProcessRole::Trainer),
    ("vllm", "/opt/vllm/bin/python3", "/opt/vllm/bin/python3 -m vllm.entrypoints.api_server --model /srv/models/m-{n} --port 8000", ProcessRole::Server),
    ("ld", "/usr/bin/x86_64-linux-gnu-ld.bfd", "ld -o build/obj-{n} --hash-style=gnu --as-needed", ProcessRole::Other),
    ("rsync", "/usr/bin/rsync", "rsync -a --partial /srv/checkpoints/step-{n} backup:/vol/ckpt/", ProcessRole::Deployer),
    ("pip", "/usr/bin/python3.11", "pip install --no-deps wheel-{n}==1.{n}.0", ProcessRole::Installer),
    ("jupyter-lab", "/opt/conda/bin/python3", "jupyter-lab --no-browser --port 8888 --notebook-dir /home/user-{n}", ProcessRole::Notebook),
    ("slurmstepd", "/usr/sbin/slurmstepd", "slurmstepd: [{n}.batch]", ProcessRole::Orchestrator),
    ("curl", "/usr/bin/curl", "curl -sSf https://artifacts.example.net/v2/blob/{n}", ProcessRole::Other),
];
const FAMILIES: &[&str] = &["llama-70b", "mistral-8x7b", "qwen-32b", "sdxl", "whisper-large", "bert-base", "resnet-50"];
const SUFFIXES: &[&str] = &["safetensors", "parquet", "arrow", "bin", "pt", "gguf", "tar", "npy", "json"];
const USERS: &[&str] = &["svc-train", "root", "svc-infer", "ada", "grace", "alan", "edsger"];

/// Events of one host.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: Rng,
    host: u32,
    time: i64,
    clock: u64,
    next_pid: u32,
    processes: Vec<Process>,
    made: u64,
}

impl Generator {
    /// The events of host number `host` under `seed`.
    #[must_use]
    pub fn new(seed: u64, host: u32) -> Self {
        let mut rng = Rng::new(seed ^ u64::from(host).wrapping_mul(0xA24B_AED4_963E_E407));
        rng.next();
        let mut generator = Self { rng, host, time: EPOCH_NS, clock: 60_000_000_000, next_pid: 1_000, processes: Vec::new(), made: 0 };
        for _ in 0..32 {
            generator.launch();
        }
        generator
    }

    /// Name of the host.
    #[must_use]
    pub fn hostname(&self) -> String {
        format!("gpu-{:04}.example.net", self.host)
    }

    /// Moves the generated time line, so that events carry present times.
    #[must_use]
    pub const fn starting_at(mut self, time: Timestamp) -> Self {
        self.time = time.0;
        self
    }

    /// The next event; every file event carries its number ([`Self::numbered`] gives only such ones).
    pub fn next_event(&mut self) -> Event {
        let step = self.rng.below(2_000_000);
        self.time = self.time.wrapping_add(i64::try_from(step).unwrap_or_default());
        self.clock = self.clock.wrapping_add(step);
        self.made += 1;
        match self.rng.below(100) {
            0..=29 => self.process_event(),
            30..=69 => self.file_event(),
            _ => self.network_event(),
        }
    }

    /// A file event whose path ends in `/n-<number>.safetensors`: a reader of the store can tell which numbers are there, and how often.
    pub fn numbered(&mut self, number: u64) -> Event {
        self.time = self.time.wrapping_add(1_000);
        let path = format!("/srv/numbered/{}/n-{number}.safetensors", self.rng.pick(FAMILIES));
        let actor = self.actor();
        self.file_activity(actor, FileActivityKind::Open, path)
    }

    fn actor(&mut self) -> Process {
        let index = usize::try_from(self.rng.skewed(self.processes.len() as u64)).unwrap_or_default();
        self.processes.get(index).cloned().unwrap_or_default()
    }

    fn launch(&mut self) -> Process {
        let program = usize::try_from(self.rng.skewed(PROGRAMS.len() as u64)).unwrap_or_default();
        let (name, path, template, role) = PROGRAMS.get(program).copied().unwrap_or(("sh", "/bin/sh", "sh", ProcessRole::Shell));
        let parent = if self.processes.is_empty() { None } else { Some(self.actor()) };
        let user = self.rng.pick(USERS).to_owned();
        let pid = self.next_pid;
        self.next_pid = self.next_pid.checked_add(1 + u32::try_from(self.rng.below(7)).unwrap_or_default()).unwrap_or(1_000);
        let uid = ProcessUid::new(&format!("{:08x}", self.host), 0xF000_0000, pid, self.clock);
        let job = (role == ProcessRole::Trainer).then(|| Job {
            scheduler: "slurm".to_owned(),
            uid: format!("{}", 40_000 + self.rng.skewed(500)),
            step: "0".to_owned(),
            rank: Some(u32::try_from(self.rng.below(8)).unwrap_or_default()),
        });
        let process = Process {
            exec_tree: parent.as_ref().map_or_else(|| uid.clone(), |parent| parent.exec_tree.clone()),
            uid,
            pid,
            tid: pid,
            name: name.to_owned(),
            path: path.to_owned(),
            exe_inode: 1_000 + program as u64,
            exe_device: 8 << 20 | 1,
            cmd_line: template.replace("{n}", &self.rng.skewed(5_000).to_string()),
            working_directory: "/srv/jobs".to_owned(),
            user: User { uid: u32::try_from(1_000 + user.len()).unwrap_or(1_000), euid: 1_000, gid: 1_000, auid: 1_000, name: user },
            created_time: Timestamp(self.time),
            role,
            job,
            parent: parent.map(|parent| ParentProcess { uid: parent.uid, pid: parent.pid, name: parent.name, path: parent.path, cmd_line: parent.cmd_line }),
            ..Process::default()
        };
        if self.processes.len() < PROCESSES_MAX {
            self.processes.push(process.clone());
        } else {
            let index = usize::try_from(self.rng.below(PROCESSES_MAX as u64)).unwrap_or_default();
            if let Some(slot) = self.processes.get_mut(index) {
                *slot = process.clone();
            }
        }
        process
    }

    fn process_event(&mut self) -> Event {
        let (process, kind) = if self.rng.chance(50) {
            (self.launch(), ProcessActivityKind::Launch(LaunchType::Exec))
        } else {
            (self.actor(), ProcessActivityKind::Terminate { exit_code: i32::from(self.rng.chance(3)), signal: 0 })
        };
        self.event(process.clone(), Activity::Process(ProcessActivity { kind, process, method: ProcessMethod::None }))
    }

    fn file_event(&mut self) -> Event {
        let kind = match self.rng.below(10) {
            0 => FileActivityKind::Create,
            1 => FileActivityKind::Update,
            2 => FileActivityKind::Delete,
            _ => FileActivityKind::Open,
        };
        let path = format!("/srv/models/{}/shard-{:06}.{}", self.rng.pick(FAMILIES), self.rng.skewed(PATHS), self.rng.pick(SUFFIXES));
        let actor = self.actor();
        self.file_activity(actor, kind, path)
    }

    fn file_activity(&mut self, actor: Process, kind: FileActivityKind, path: String) -> Event {
        let file = File {
            path,
            inode: 1 + self.rng.skewed(PATHS),
            device: 8 << 20 | 2,
            size_bytes: Some(self.rng.skewed(1 << 36)),
            mode: 0o100_644,
            owner_uid: 1_000,
            asset_class: "model".to_owned(),
            sha256: None,
        };
        let access = if matches!(kind, FileActivityKind::Open) { Access::READ } else { Access::WRITE };
        self.event(actor, Activity::File(FileSystemActivity::new(kind, access, file)))
    }

    fn network_event(&mut self) -> Event {
        let rank = self.rng.skewed(ADDRESSES);
        let remote = Rng::new(rank).next();
        let ip = IpAddr::V4(Ipv4Addr::from(u32::try_from(remote >> 32).unwrap_or_default() | 0x0100_0000));
        let local = IpAddr::V4(Ipv4Addr::from(0x0A00_0000 | self.host));
        let kind = if self.rng.chance(50) { NetworkActivityKind::Open } else { NetworkActivityKind::Close };
        let closed = matches!(kind, NetworkActivityKind::Close);
        let network = NetworkActivity {
            kind,
            direction: Direction::Outbound,
            transport: Transport::Tcp,
            src: Endpoint { ip: local, port: u16::try_from(32_768 + self.rng.below(28_000)).unwrap_or_default() },
            dst: Endpoint { ip, port: if self.rng.chance(80) { 443 } else { 22 } },
            bytes_out: if closed { self.rng.skewed(1 << 30) } else { 0 },
            bytes_in: if closed { self.rng.skewed(1 << 30) } else { 0 },
            flow_uid: self.rng.next() >> 1,
            duration_ns: if closed { self.rng.skewed(1 << 40) } else { 0 },
            app: None,
        };
        let actor = self.actor();
        self.event(actor, Activity::Network(network))
    }

    const fn event(&self, actor: Process, activity: Activity) -> Event {
        Event { time: Timestamp(self.time), severity: Severity::Informational, flags: EventFlags(0), actor: Some(Actor { process: actor }), activity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_events_and_other_seed_others() {
        let take = |seed, host| {
            let mut generator = Generator::new(seed, host);
            (0..500).map(|_| generator.next_event()).collect::<Vec<_>>()
        };
        assert_eq!(take(1, 1), take(1, 1));
        assert_ne!(take(1, 1), take(2, 1));
        assert_ne!(take(1, 1), take(1, 2));
    }

    #[test]
    fn every_kind_appears_and_names_are_heavy_tailed() {
        let mut generator = Generator::new(5, 0);
        let mut counts = [0_u32; 3];
        let mut paths = std::collections::HashMap::<String, u32>::new();
        for _ in 0..20_000 {
            match generator.next_event().activity {
                Activity::Process(_) => counts[0] += 1,
                Activity::File(file) => {
                    counts[1] += 1;
                    *paths.entry(file.file.path).or_default() += 1;
                }
                Activity::Network(_) => counts[2] += 1,
                _ => panic!("the generator makes only these three"),
            }
        }
        assert!(counts.iter().all(|count| *count > 4_000), "{counts:?}");
        let once = paths.values().filter(|count| **count == 1).count();
        let most = paths.values().max().copied().unwrap_or_default();
        assert!(once > 1_000 && most > 20, "{once} paths seen once, the commonest {most} times");
    }

    #[test]
    fn numbers_stand_in_the_path() {
        let mut generator = Generator::new(5, 0);
        let Activity::File(file) = generator.numbered(42).activity else { panic!("a file event") };
        assert!(file.file.path.ends_with("/n-42.safetensors"), "{}", file.file.path);
    }
}
