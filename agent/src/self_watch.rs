//! What is wrong with this agent's own sight, and since when: told as loss events with their time span, and in a heartbeat that does not wait for its turn.
//!
//! The reader of the ring looks after its links and maps ([`picket_ebpf::Sensor::inspect`]) and after its own pauses, and hands over what it finds without waiting.
//! A thread of its own looks at the rest once a second: whether the reader still turns, whether a thread is traced, whether configuration and program are still
//! there; and every [`SING_EVERY`] whether the kernel still calls the probes ([`picket_ebpf::Canary`]).

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use picket_ebpf::{Canary, Tampering, TamperingKind};
use picket_event::{Activity, LossCause, SensorLoss, Timestamp};
use picket_proto::v1;
use tokio::sync::Notify;

use crate::{
    boot::wall_now,
    pipeline::{Chunk, Numbered},
    side::{SideGuard, SideSink},
    stdout::own_event,
    supervisor::Beats,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A host that went blind is to be known within a minute.
const SING_EVERY: Duration = Duration::from_secs(15);
/// The reader turns every few milliseconds, and waits at most for a change of the watches.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// A problem that is over stays in the heartbeats of a session for at least one of them.
const HEALED_KEPT: Duration = Duration::from_secs(15);
/// Different problems remembered at once.
const PROBLEMS_MAX: usize = 64;

/// Why the agent does not see, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    ProbeDetached,
    ProbeSilent,
    MapChanged,
    ReaderStuck,
    AgentPaused,
    Traced,
    ConfigMissing,
    ProgramMissing,
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::ProbeDetached => "probe_detached",
            Self::ProbeSilent => "probe_silent",
            Self::MapChanged => "map_changed",
            Self::ReaderStuck => "reader_stuck",
            Self::AgentPaused => "agent_paused",
            Self::Traced => "traced",
            Self::ConfigMissing => "config_missing",
            Self::ProgramMissing => "program_missing",
        }
    }

    /// As a loss; `None` where nothing was missed.
    const fn loss(self) -> Option<LossCause> {
        match self {
            Self::ProbeDetached => Some(LossCause::ProbeDetached),
            Self::ProbeSilent | Self::MapChanged | Self::ReaderStuck | Self::AgentPaused | Self::Traced => Some(LossCause::SensorTampered),
            Self::ConfigMissing | Self::ProgramMissing => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Problem {
    detail: String,
    since: Timestamp,
    /// When it was seen to be over, or when the session began that can tell of it.
    healed: Option<Instant>,
}

#[derive(Default)]
struct State {
    problems: BTreeMap<(Cause, String), Problem>,
    untold: Vec<SensorLoss>,
}

impl State {
    /// Makes room, where there is none, by forgetting what is over.
    fn has_room_for(&mut self, key: &(Cause, String)) -> bool {
        if self.problems.len() >= PROBLEMS_MAX && !self.problems.contains_key(key) {
            self.problems.retain(|_, problem| problem.healed.is_none());
        }
        self.problems.len() < PROBLEMS_MAX || self.problems.contains_key(key)
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct SelfWatch {
    state: Mutex<State>,
    news: Arc<Notify>,
}

impl SelfWatch {
    // Entries are complete whenever the lock is free.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified where a heartbeat should not wait.
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// What the kernel side found: something may have been missed from `since` to now. Never waits for anything but the lock.
    pub(crate) fn tampered(&self, found: Vec<Tampering>, since: Timestamp) {
        for Tampering { kind, subject, detail, healed } in found {
            let cause = match kind {
                TamperingKind::ProbeDetached => Cause::ProbeDetached,
                TamperingKind::ProbeSilent => Cause::ProbeSilent,
                TamperingKind::MapChanged => Cause::MapChanged,
            };
            tracing::error!(cause = cause.name(), subject, detail, healed, "the sensor was tampered with");
            self.note(cause, &subject, &detail, since, healed);
        }
    }

    /// The reader did not run between the two.
    pub(crate) fn paused(&self, since: Timestamp, until: Timestamp) {
        let seconds = until.0.saturating_sub(since.0) / 1_000_000_000;
        let detail = format!("the agent did not run for {seconds} s: stopped from outside, or starved");
        tracing::error!(detail, "the agent was paused");
        self.note(Cause::AgentPaused, "agent", &detail, since, true);
    }

    /// A problem is there, or was (`healed`), since `since`.
    fn note(&self, cause: Cause, subject: &str, detail: &str, since: Timestamp, healed: bool) {
        let mut state = self.state();
        let key = (cause, subject.to_owned());
        let known = state.problems.get(&key).is_some_and(|problem| problem.healed.is_none());
        if known && !healed {
            return;
        }
        if let Some(loss) = cause.loss() {
            let message = format!("{subject}: {detail}: what happened in this time may not have been seen");
            state.untold.push(SensorLoss { cause: loss, class: None, count: None, cpu: None, since, until: wall_now(), healed: None, message });
        }
        if state.has_room_for(&key) {
            state.problems.insert(key, Problem { detail: detail.to_owned(), since, healed: healed.then(Instant::now) });
        }
        drop(state);
        self.news.notify_one();
    }

    /// It is over.
    fn over(&self, cause: Cause, subject: &str) {
        let mut state = self.state();
        let Some(problem) = state.problems.get_mut(&(cause, subject.to_owned())).filter(|problem| problem.healed.is_none()) else { return };
        problem.healed = Some(Instant::now());
        if let Some(loss) = cause.loss() {
            let (since, message) = (problem.since, format!("{subject}: {}: it is over", problem.detail));
            state.untold.push(SensorLoss { cause: loss, class: None, count: None, cpu: None, since, until: wall_now(), healed: None, message });
        }
        drop(state);
        self.news.notify_one();
    }

    /// A session begins: what was over before it, no heartbeat may have told.
    pub(crate) fn connected(&self) {
        for problem in self.state().problems.values_mut() {
            problem.healed = problem.healed.map(|_| Instant::now());
        }
    }

    /// For the next heartbeat.
    pub(crate) fn tell(&self) -> Vec<v1::SensorProblem> {
        self.state().problems.retain(|_, problem| problem.healed.is_none_or(|at| at.elapsed() < HEALED_KEPT));
        self.problems()
    }

    /// Those that are, and those that are over and that a heartbeat has yet to tell.
    pub(crate) fn problems(&self) -> Vec<v1::SensorProblem> {
        let wire = |((cause, subject), problem): (&(Cause, String), &Problem)| v1::SensorProblem {
            cause: cause.name().to_owned(),
            subject: subject.clone(),
            detail: problem.detail.clone(),
            healed: problem.healed.is_some(),
            since_ns: problem.since.0,
        };
        self.state().problems.iter().map(wire).collect()
    }

    fn take_untold(&self) -> Vec<SensorLoss> {
        std::mem::take(&mut self.state().untold)
    }

    /// Looks until the guard is dropped.
    pub(crate) fn start(
        self: &Arc<Self>,
        beats: Arc<Beats>,
        config_file: Option<PathBuf>,
        canary: Option<Canary>,
        sink: (SideSink, SideGuard),
    ) -> std::io::Result<SelfWatchGuard> {
        let (stop, (sink, guard)) = (Arc::<AtomicBool>::default(), sink);
        let (watch, stopped) = (Arc::clone(self), Arc::clone(&stop));
        let now = Instant::now();
        let look = Look { watch, beats, config_file, program: Program::own(), canary, sung: now, sung_at: wall_now(), last: 0, turned: now, looked: now };
        std::thread::Builder::new().name("self-watch".to_owned()).spawn(move || look.run(&sink, &stopped))?;
        Ok(SelfWatchGuard { stop, _sink: guard })
    }
}

/// Ends the thread when it is dropped.
pub(crate) struct SelfWatchGuard {
    stop: Arc<AtomicBool>,
    _sink: SideGuard,
}

impl Drop for SelfWatchGuard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Look {
    watch: Arc<SelfWatch>,
    beats: Arc<Beats>,
    config_file: Option<PathBuf>,
    program: Option<Program>,
    canary: Option<Canary>,
    sung: Instant,
    sung_at: Timestamp,
    last: u64,
    turned: Instant,
    looked: Instant,
}

impl Look {
    fn run(mut self, sink: &SideSink, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.reader();
            self.tracer();
            self.config();
            self.program();
            self.sing();
            let events: Chunk = self.watch.take_untold().into_iter().map(|loss| Numbered::own(own_event(Activity::Loss(loss), wall_now()))).collect();
            if !sink.send(events) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// This thread was stopped with the reader where it did not look for a while: then the reader has time to turn first.
    fn reader(&mut self) {
        let now = Instant::now();
        let beat = self.beats.sensor.load(Ordering::Relaxed);
        if beat != self.last || now.duration_since(self.looked) > 2 * LOOK_EVERY {
            (self.last, self.turned) = (beat, now);
        }
        self.looked = now;
        let stands = now.duration_since(self.turned);
        if stands >= STUCK_AFTER {
            let since = Timestamp(wall_now().0.saturating_sub(i64::try_from(stands.as_nanos()).unwrap_or(0)));
            self.watch.note(Cause::ReaderStuck, "reader", "nothing is read from the kernel", since, false);
        } else {
            self.watch.over(Cause::ReaderStuck, "reader");
        }
    }

    fn tracer(&self) {
        match tracer_of_any_thread() {
            None => self.watch.over(Cause::Traced, "agent"),
            Some(pid) => {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let detail = format!("process {pid} ({}) can change what the agent does", name.trim());
                self.watch.note(Cause::Traced, "agent", &detail, wall_now(), false);
            }
        }
    }

    fn sing(&mut self) {
        let Some(canary) = self.canary.as_mut().filter(|_| self.sung.elapsed() >= SING_EVERY) else { return };
        self.sung = Instant::now();
        let since = std::mem::replace(&mut self.sung_at, wall_now());
        self.watch.tampered(canary.sing(), since);
    }

    fn program(&self) {
        let Some(program) = &self.program else { return };
        if program.stands() {
            self.watch.over(Cause::ProgramMissing, "program");
        } else {
            let what = if is_gone(&program.path) { "is gone" } else { "is another file" };
            let detail = format!("{} {what}: the agent goes on with what it was started from until it is restarted", program.path.display());
            self.watch.note(Cause::ProgramMissing, "program", &detail, wall_now(), false);
        }
    }

    fn config(&self) {
        let Some(file) = &self.config_file else { return };
        if is_gone(file) {
            let detail = format!("{} is gone: the agent goes on with what it read, and cannot start again with it", file.display());
            self.watch.note(Cause::ConfigMissing, "configuration", &detail, wall_now(), false);
        } else {
            self.watch.over(Cause::ConfigMissing, "configuration");
        }
    }
}

/// A thread is traced on its own: the status of the process tells of its first thread alone.
fn tracer_of_any_thread() -> Option<u32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok()).find_map(|status| tracer(&status))
}

/// The file that this process was started from.
struct Program {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Program {
    fn own() -> Option<Self> {
        let (path, file) = (std::fs::read_link("/proc/self/exe").ok()?, std::fs::metadata("/proc/self/exe").ok()?);
        Some(Self { path, device: file.dev(), inode: file.ino() })
    }

    fn stands(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode))
    }
}

fn is_gone(file: &Path) -> bool {
    std::fs::metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// `TracerPid` of `/proc/PID/status`.
fn tracer(status: &str) -> Option<u32> {
    let pid = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()?;
    (pid != 0).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_and_its_end_once() {
        let watch = SelfWatch::default();
        for _ in 0..3 {
            watch.note(Cause::ReaderStuck, "reader", "stands", Timestamp(5), false);
        }
        assert_eq!(watch.take_untold().iter().map(|loss| (loss.cause, loss.since.0, loss.count)).collect::<Vec<_>>(), [(LossCause::SensorTampered, 5, None)]);
        assert_eq!(watch.problems().iter().map(|problem| problem.healed).collect::<Vec<_>>(), [false]);
        for _ in 0..3 {
            watch.over(Cause::ReaderStuck, "reader");
        }
        let told = watch.take_untold();
        assert!(told.len() == 1 && told.iter().all(|loss| loss.since.0 == 5 && loss.until.0 > 5), "{told:?}");
        assert_eq!(watch.problems().iter().map(|problem| problem.healed).collect::<Vec<_>>(), [true], "a heartbeat tells that it is over");
    }

    #[test]
    fn what_was_over_while_nobody_listened_is_told_in_the_next_session() {
        let watch = SelfWatch::default();
        watch.paused(Timestamp(1), Timestamp(6_000_000_000));
        let long_ago = Instant::now().checked_sub(2 * HEALED_KEPT).unwrap();
        watch.state().problems.values_mut().for_each(|problem| problem.healed = Some(long_ago));
        assert_eq!(watch.problems().len(), 1, "nobody was told");
        watch.connected();
        assert_eq!(watch.tell().len(), 1);
        watch.state().problems.values_mut().for_each(|problem| problem.healed = Some(long_ago));
        assert!(watch.tell().is_empty());
    }

    #[test]
    fn each_tampering_is_told_and_they_are_bounded() {
        let watch = SelfWatch::default();
        let one = |subject: String| Tampering { kind: TamperingKind::MapChanged, subject, detail: "changed".to_owned(), healed: true };
        watch.tampered(vec![one("picket_roots".to_owned()), one("picket_roots".to_owned())], Timestamp(1));
        assert_eq!(watch.take_untold().len(), 2, "each time something was missed");
        watch.tampered((0..1_000).map(|number| one(number.to_string())).collect(), Timestamp(1));
        assert_eq!(watch.take_untold().len(), 1_000, "each is a loss");
        assert!((1..=PROBLEMS_MAX).contains(&watch.problems().len()), "what is over makes room");
        watch.note(Cause::ReaderStuck, "reader", "stands", Timestamp(1), false);
        assert!(watch.problems().iter().any(|problem| problem.cause == "reader_stuck"));
    }

    #[test]
    fn a_missing_configuration_is_a_problem_and_no_loss() {
        let watch = SelfWatch::default();
        watch.note(Cause::ConfigMissing, "configuration", "gone", Timestamp(1), false);
        assert!(watch.take_untold().is_empty());
        assert_eq!(watch.problems().iter().map(|problem| problem.cause.as_str()).collect::<Vec<_>>(), ["config_missing"]);
    }

    #[test]
    fn the_tracer_is_read_from_the_status() {
        assert_eq!(tracer("Name:\tx\nTracerPid:\t0\n"), None);
        assert_eq!(tracer("Name:\tx\nTracerPid:\t4711\n"), Some(4711));
    }
}
