//! What the agent holds: configuration in, records, states and counters out.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::Btf;

use crate::attach::{Attached, attach, load_iterators, reason};
use crate::bpffs::PinDir;
use crate::canary::Canary;
use crate::config::SensorConfig;
use crate::decode::{decode, kind};
use crate::guard::{self, Links, Remedy, Tampering, TamperingKind};
use crate::kernel::{KernelSupport, kernel_support};
use crate::layout::{ENVIRONMENT_NAME, EXTENSION_MAX, KIND_DNS, KIND_FILE, KIND_FLOW, KIND_SOCKET, SOCKET_NAME};
use crate::objects::{Maps, Objects};
use crate::record::Record;
use crate::traffic::Rounds;
use crate::watches::{Watches, without_kernel_side};
use crate::{existing, losses, sys};

/// Something to watch: a directory (the whole tree below it, on its file system) or one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// Id that records carry; from 1.
    pub id: u32,
    /// Absolute path; symbolic links are followed.
    pub path: PathBuf,
}

/// What became of a [`WatchSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// As given.
    pub id: u32,
    /// As given.
    pub path: PathBuf,
    /// True where the kernel matches it now.
    pub active: bool,
    /// Why not, or what the watch does not see; empty where there is nothing to say.
    pub reason: String,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeState {
    /// What it sees: `process_exec`, `file_open`, …
    pub name: String,
    /// The kernel hook in use, or the last one tried.
    pub hook: String,
    /// True where it runs.
    pub attached: bool,
    /// Why not; empty where it is attached.
    pub reason: String,
}

/// Classes that losses are counted by. The discriminant is the index into the arrays of [`Counters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Fork, exec, exit.
    Process = 0,
    /// File activity.
    File = 1,
    /// Flows.
    Network = 2,
}

/// Counted since load. Arrays are indexed by [`Class`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written to the ring.
    pub produced: [u64; 3],
    /// Records that found the ring full.
    pub dropped: [u64; 3],
    /// Records handed out by [`Sensor::drain`].
    pub consumed: [u64; 3],
    /// State that found its map full, so that later records know less (an owner, an open file).
    pub map_full: [u64; 3],
    /// Records that one process caused beyond its share.
    pub limited: [u64; 3],
    /// Records left out by [`Sensor::shed_reads`].
    pub shed: [u64; 3],
    /// Runs that the kernel left out because another of the same program was under way on that CPU; the last are those of programs that serve
    /// several classes. A program that hooks functions may be interrupted by itself where the kernel preempts its own code.
    pub missed: [u64; 4],
    /// Failures by cause; only causes that happened.
    pub errors: Vec<(String, u64)>,
    /// `dropped`, for each possible CPU.
    pub dropped_per_cpu: Vec<[u64; 3]>,
}

/// What one [`Sensor::drain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed out.
    pub records: u64,
    /// Bytes of the ring consumed.
    pub bytes: usize,
    /// Records that were not what their header claims.
    pub decode_errors: u64,
    /// True where the limit ended the call, not the end of the ring.
    pub more: bool,
}

/// Why there is no sensor, or why it could not answer.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The configuration asks for what the maps cannot hold.
    #[error("sensor configuration: {0}")]
    Misuse(String),
    /// This kernel or this process cannot load any probe.
    #[error("{0}")]
    Unsupported(String),
    /// A map could not be read or written.
    #[error("{what}: {reason}")]
    Map {
        /// What was attempted.
        what: &'static str,
        /// What the kernel or the loader said.
        reason: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The error.
        #[source]
        source: std::io::Error,
    },
}

/// The loaded probes and maps. Dropping it detaches them; [`Sensor::detach`] also removes the pinned counters.
pub struct Sensor {
    /// Keeps the kernel's measuring on.
    run_time: Option<OwnedFd>,
    probes: Vec<ProbeState>,
    kernel: KernelSupport,
    environment: Vec<String>,
    previous: Option<Counters>,
    watches: Watches,
    swept: Instant,
    sweep_interval: Duration,
    rings_swept: Instant,
    forgot: Instant,
    rounds: Rounds,
    attached: Option<Attached>,
    links: Links,
    consumed: [u64; 3],
    maps: Maps,
    objects: Objects,
    pins: PinDir,
}

/// How often sums of io_uring submissions are told, see `bpf/kernel.h`.
const RINGS_SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How often cached verdicts are thrown away: a directory renamed by a way that no probe sees is judged wrong for so long at most.
const FORGET_EVERY: Duration = Duration::from_secs(10);

impl Sensor {
    /// Loads every probe that this kernel takes.
    ///
    /// # Errors
    /// Only where nothing at all can load, or the configuration does not fit, with what to do about it.
    pub fn load(config: &SensorConfig) -> Result<Self, SensorError> {
        config.check()?;
        let kernel = kernel_support();
        let btf = Btf::from_sys_fs().map_err(|error| {
            SensorError::Unsupported(format!(
                "no kernel type information at /sys/kernel/btf/vmlinux ({error}): the probes need a kernel with CONFIG_DEBUG_INFO_BTF=y"
            ))
        })?;
        let pins = PinDir::open(config.pin_dir.as_deref())?;
        let previous = if pins.keeps() { losses::left_behind(&pins) } else { None };
        let pins = if pins.keeps() { PinDir::open(config.pin_dir.as_deref())? } else { pins };
        let mut objects = Objects::create(&btf, config, &pins);
        if let Some(reason) = objects.all_failed() {
            pins.clear();
            return Err(SensorError::Unsupported(format!("no probe can load: {reason}; run as root or with CAP_BPF and CAP_PERFMON, on Linux 5.15 or newer")));
        }
        pins.loaded();
        let frozen = guard::to_freeze(&objects);
        let iterators = load_iterators(&mut objects, &btf);
        let attached = attach(&mut objects, &btf);
        let links = Links::census(&attached.programs);
        let maps = objects.maps()?;
        let mut probes = attached.states.clone();
        probes.extend(iterators);
        let run_time = config
            .measure_run_time
            .then(sys::measure_run_time)
            .and_then(|measured| measured.inspect_err(|error| tracing::warn!(%error, "the run time of the probes is not measured")).ok());
        let mut sensor = Self {
            run_time,
            probes,
            kernel,
            environment: config.environment.clone(),
            previous,
            watches: Watches::default(),
            swept: Instant::now(),
            sweep_interval: config.sweep_interval,
            rings_swept: Instant::now(),
            forgot: Instant::now(),
            rounds: Rounds::new(&config.network),
            attached: Some(attached),
            links,
            consumed: [0; 3],
            maps,
            objects,
            pins,
        };
        sensor.configure(config)?;
        guard::freeze(&frozen);
        Ok(sensor)
    }

    fn configure(&mut self, config: &SensorConfig) -> Result<(), SensorError> {
        let failed = |what: &'static str| move |error: aya::maps::MapError| SensorError::Map { what, reason: reason(&error) };
        for pid in existing::kernel_pids(&mut self.objects, &config.own_pids)? {
            self.maps.own.insert(pid, 1, 0).map_err(failed("picket_own"))?;
        }
        if let Some(names) = &mut self.maps.environment {
            for name in &config.environment {
                let [first, second, third] = words::<ENVIRONMENT_NAME, 3>(name.as_bytes(), false);
                names.insert([first, second, third], 1, 0).map_err(failed("picket_environment"))?;
            }
        }
        if let Some(watch) = &mut self.maps.watch {
            let mut known = watch.config();
            for extension in &config.extensions {
                watch.extensions.insert(words::<EXTENSION_MAX, 2>(extension.as_bytes(), true), 1, 0).map_err(failed("picket_extensions"))?;
                note_ending(&mut known, extension.as_bytes());
            }
            watch.set_config(known).map_err(failed("picket_config"))?;
        }
        if let Some(names) = &mut self.maps.socket_names {
            for name in &config.network.local_sockets {
                names.insert(words::<SOCKET_NAME, 4>(name.as_bytes(), false), 1, 0).map_err(failed("picket_socket_names"))?;
            }
        }
        if let Some(network) = &mut self.maps.network {
            network.set(0, config.network.dns_words(), 0).map_err(failed("picket_network"))?;
        }
        Ok(())
    }

    /// Every probe, attached or not.
    #[must_use]
    pub fn probes(&self) -> &[ProbeState] {
        &self.probes
    }

    /// What this kernel offers.
    #[must_use]
    pub fn kernel(&self) -> KernelSupport {
        self.kernel.clone()
    }

    /// Replaces the set of watches. A watch that stays misses no open meanwhile. A path is resolved now: a directory or file that later
    /// takes its place (renamed over it) is watched from the next call on.
    pub fn set_watches(&mut self, watches: &[WatchSpec]) -> Vec<WatchState> {
        match &mut self.maps.watch {
            Some(maps) => self.watches.replace(watches, &mut self.objects, maps),
            None => without_kernel_side(watches),
        }
    }

    /// From now on, or no longer: opens for reading of files that only an extension matched are counted instead of told, and so are the bytes read
    /// through them. What costs the least when there is too much of everything.
    ///
    /// # Errors
    /// When the kernel cannot be told.
    pub fn shed_reads(&mut self, shed: bool) -> Result<(), SensorError> {
        let Some(watch) = &mut self.maps.watch else { return Ok(()) };
        let failed = |error: aya::maps::MapError| SensorError::Map { what: "picket_config", reason: reason(&error) };
        let mut config = watch.config();
        let [.., flag] = &mut config;
        *flag = shed.into();
        watch.set_config(config).map_err(failed)
    }

    /// Hands out what is in the ring, at most `bytes_max` of it (one record more at most). Never waits and does no I/O; call it every
    /// few milliseconds. A few times a second it also lets the kernel side look for files that were closed unseen.
    pub fn drain(&mut self, handle: &mut dyn FnMut(Record), bytes_max: usize) -> Drained {
        self.sweep();
        if let (Some(attached), Some(state)) = (&self.attached, &mut self.maps.traffic) {
            self.rounds.run_if_due(&attached.tellers, state, &mut self.objects);
        }
        let mut drained = Drained::default();
        while drained.bytes < bytes_max {
            let Some(item) = self.maps.ring.next() else { break };
            let class = match kind(&item) {
                KIND_FILE => Class::File,
                KIND_FLOW | KIND_DNS | KIND_SOCKET => Class::Network,
                _ => Class::Process,
            };
            // A record's header and its padding in the ring.
            drained.bytes += item.len().next_multiple_of(8) + 8;
            if let Some(count) = self.consumed.get_mut(class as usize) {
                *count += 1;
            }
            match decode(&item) {
                Ok(record) => {
                    drained.records += 1;
                    handle(record);
                }
                Err(error) => {
                    drained.decode_errors += 1;
                    tracing::debug!(%error, "record refused");
                }
            }
        }
        drained.more = drained.bytes >= bytes_max;
        if drained.bytes > 0
            && let Err(error) = self.maps.consumed.set(0, self.consumed, 0)
        {
            tracing::warn!(%error, "cannot keep the count of consumed records");
        }
        drained
    }

    fn sweep(&mut self) {
        if self.swept.elapsed() < self.sweep_interval {
            return;
        }
        self.swept = Instant::now();
        self.sweep_rings();
        let Some(watch) = &mut self.maps.watch else { return };
        if self.forgot.elapsed() >= FORGET_EVERY {
            self.forgot = Instant::now();
            crate::watches::forget_verdicts(watch);
        }
        let (writers, uses) = watch.state.get(&0, 0).map_or((0, 0), |[_, writers, uses, _]| (writers, uses));
        if writers == 0 && uses == 0 {
            return;
        }
        for sweep in self.attached.iter().flat_map(|attached| &attached.sweeps) {
            if let Err(error) = sweep.open().and_then(run) {
                tracing::warn!(%error, "cannot look for closed files");
            }
        }
    }

    fn sweep_rings(&mut self) {
        if self.rings_swept.elapsed() < RINGS_SWEEP_EVERY {
            return;
        }
        self.rings_swept = Instant::now();
        let Some(sweep) = self.attached.as_ref().and_then(|attached| attached.ring_sweep.as_ref()) else { return };
        if let Err(error) = sweep.open().and_then(run) {
            tracing::warn!(%error, "cannot read the sums of io_uring submissions");
        }
    }

    /// The counters now.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counters, SensorError> {
        losses::read(&self.maps.counters, &self.maps.consumed, self.programs())
    }

    /// Looks whether everything is as it was left, and puts right what can be: what was not since the last call. Every few seconds is enough.
    pub fn inspect(&mut self) -> Vec<Tampering> {
        let mut found = Vec::new();
        let Some(attached) = &mut self.attached else { return found };
        let lost = self.links.lost();
        for lost in &lost {
            let again = match lost.remedy {
                Remedy::Attach => attached.again(&mut self.objects, &lost.program),
                Remedy::Update { link, program } => sys::update_link(link, program).map_err(|error| format!("it cannot be put back: {error}")),
                Remedy::None => Err("only a restart of the agent attaches it again".into()),
            };
            let probe = guard::probe_of(&lost.program);
            let detail = match &again {
                Ok(()) => format!("{}: {}", lost.program, lost.detail),
                Err(reason) => format!("{}: {}; {reason}", lost.program, lost.detail),
            };
            if again.is_err()
                && let Some(state) = self.probes.iter_mut().find(|state| state.name == probe)
            {
                state.attached = false;
                state.reason.clone_from(&detail);
            }
            found.push(Tampering { kind: TamperingKind::ProbeDetached, subject: probe, detail, healed: again.is_ok() });
        }
        if !lost.is_empty() {
            // Links that were made again are watched from now on; those that stay lost were told.
            self.links = Links::census(&attached.programs);
        }
        if let Some(maps) = &mut self.maps.watch {
            found.extend(self.watches.inspect(maps));
        }
        found
    }

    /// What notices probes that are attached and not called. `folder`: where a file may come and go. `None` where the kernel does not count runs
    /// ([`SensorConfig::measure_run_time`]).
    #[must_use]
    pub fn canary(&self, folder: &Path) -> Option<Canary> {
        self.run_time.is_some().then(|| Canary::new(self.programs(), folder))
    }

    /// Counters left behind by an earlier run on this boot that did not end in order: `produced - consumed` records were lost with it.
    /// One agent a pin folder: the caller holds a lock.
    #[must_use]
    pub fn previous(&self) -> Option<Counters> {
        self.previous.clone()
    }

    /// Every process that exists now, as [`crate::record::Body::Exec`] with `PREEXISTING`. Arguments and environment come from /proc,
    /// and `USER_FAULT` says where they could not be read. Kernel threads have an empty executable.
    ///
    /// # Errors
    /// When the iterator cannot run.
    pub fn processes(&mut self) -> Result<Vec<Record>, SensorError> {
        existing::processes(&mut self.objects, &self.environment)
    }

    /// Every process that exists now, as [`Sensor::processes`] gives it but without arguments and environment: no file is read for it, so that
    /// whoever empties the ring can call it after a loss.
    ///
    /// # Errors
    /// When the iterator cannot run.
    pub fn running(&mut self) -> Result<Vec<Record>, SensorError> {
        existing::running(&mut self.objects)
    }

    /// Every established TCP socket, as [`crate::record::FlowOp::Existing`], of every network namespace, with the first process that
    /// holds it; sockets that no process holds only of this namespace. Called at start and after losses: later closes then know their owner.
    ///
    /// # Errors
    /// When the iterator cannot run.
    pub fn flows(&mut self) -> Result<Vec<Record>, SensorError> {
        existing::flows(&mut self.objects)
    }

    /// CPU time that the probes used, where it is measured ([`SensorConfig::measure_run_time`], or `kernel.bpf_stats_enabled` is on).
    #[must_use]
    pub fn run_time_ns(&self) -> Option<u64> {
        losses::run_time_ns(self.programs(), self.run_time.is_some())
    }

    fn programs(&self) -> &[(String, i32)] {
        self.attached.as_ref().map_or(&[], |attached| attached.programs.as_slice())
    }

    /// Detaches every probe and removes what is pinned. What is in the ring can still be drained.
    pub fn detach(&mut self) {
        self.attached = None;
        self.objects.unload();
        self.pins.clear();
        for probe in &mut self.probes {
            probe.attached = false;
            "detached".clone_into(&mut probe.reason);
        }
    }
}

fn run(mut sweep: File) -> std::io::Result<usize> {
    sweep.read_to_end(&mut Vec::new())
}

/// Sets the bit of an extension's last two letters in `struct watch_config`: a name with another ending needs no lookup.
fn note_ending(config: &mut [u64; 12], extension: &[u8]) {
    let (Some(last), Some(before)) = (extension.last(), extension.len().checked_sub(2).and_then(|at| extension.get(at))) else { return };
    let bit = (u32::from(before | 0x20) * 31 + u32::from(last | 0x20)) % 256;
    if let Some(word) = config.get_mut(6 + bit as usize / 64) {
        *word |= 1 << (bit % 64);
    }
}

/// A key as the kernel side builds it: `N` words of the text, from the front, or moved to the end with the case bit set.
fn words<const BYTES: usize, const N: usize>(text: &[u8], at_end: bool) -> [u64; N] {
    let mut bytes = [0_u8; BYTES];
    let start = if at_end { BYTES.saturating_sub(text.len()) } else { 0 };
    for (slot, byte) in bytes.iter_mut().skip(start).zip(text) {
        *slot = if at_end { byte | 0x20 } else { *byte };
    }
    let mut out = [0; N];
    for (word, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.try_into().map_or(0, u64::from_ne_bytes);
    }
    out
}
