//! The agent's side of the two sockets to `picket-scanner`: starts its launcher, passes descriptors, and takes what comes back as what it is,
//! the word of a process that has read hostile bytes.

use std::{
    fs::File,
    io::IoSlice,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::{
    socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, setsockopt, socketpair, sockopt},
    time::{TimeVal, TimeValLike},
};
use picket_event::Sha256;
use serde::Deserialize;
use serde_json::json;

use super::outcome::{Outcome, Report};

/// How often a wait looks at the other socket.
const LOOK_EVERY_MS: i64 = 50;
/// Compiling a large collection of rules on a loaded host takes seconds.
const READY_MAX: Duration = Duration::from_secs(60);
const EXIT_MAX: Duration = Duration::from_secs(5);
/// Beyond the time that the worker gives itself: a read that hangs on a dead file server never comes back.
const GRACE: Duration = Duration::from_secs(10);
const PACKET_BYTES_MAX: usize = 256 << 10;
/// Files judged by one worker: what a bug leaves behind in it is gone with it.
const FILES_PER_WORKER: u64 = 1_000;
/// Waits between failed starts.
const BACKOFF: [u64; 6] = [1, 2, 5, 15, 30, 60];
/// Files up to this size get a sha256.
const HASH_BYTES_MAX: u64 = 64 << 20;

/// Priority of the scanner: it runs when nothing else wants to. The programs are part of every distribution; without them it runs as the agent does.
const LESS: [(&str, &[&str]); 2] = [("/usr/bin/nice", &["-n", "19"]), ("/usr/bin/ionice", &["-c", "3", "-t"])];

/// How the worker said that it is locked in.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Ready {
    pub(crate) rules: String,
    pub(crate) rules_errors: Vec<String>,
    pub(crate) sandbox: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ready(Ready),
    /// Of a file that the worker holds in memory; it waits to be told whether to judge it.
    Digest {
        id: u64,
        sha256: Sha256,
        cpu_us: u64,
        bytes_read: u64,
    },
    Done {
        id: u64,
        report: Box<Report>,
        name_counts_by_ending: bool,
        cpu_us: u64,
        bytes_read: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Started {},
    Exited { code: Option<i32>, signal: Option<i32>, last_words: String },
    Failed { why: String },
}

/// The running launcher. Started before the agent gives up its rights; it ends with the agent's end of its sockets.
pub(crate) struct Launcher {
    child: Child,
    files: OwnedFd,
    control: OwnedFd,
}

impl Launcher {
    /// `program` with its arguments for workers.
    pub(crate) fn start(program: &Path, arguments: &[String]) -> std::io::Result<Self> {
        let ((files, worker), (control, launcher)) = (pair()?, pair()?);
        let mut line: Vec<&str> = Vec::new();
        for (less, options) in LESS {
            if Path::new(less).exists() {
                line.push(less);
                line.extend(options);
            }
        }
        let program = program.to_string_lossy();
        line.push(&program);
        let (first, rest) = line.split_first().ok_or_else(|| std::io::Error::other("no program"))?;
        let child = Command::new(first)
            .args(rest)
            .arg("launch")
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(worker))
            .stdout(Stdio::from(launcher))
            .spawn()?;
        Ok(Self { child, files, control })
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program beside this one.
    pub(crate) fn beside() -> Option<PathBuf> {
        let path = std::env::current_exe().ok()?.with_file_name("picket-scanner");
        path.is_file().then_some(path)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Its sockets are closed after this; waiting for it here would wait for that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK_EVERY_MS))?;
    Ok((ours, theirs))
}

/// One worker at a time, started when it is needed.
pub(crate) struct Client {
    launcher: Launcher,
    ready: Option<Ready>,
    /// What the last worker said of itself.
    pub(crate) last: Ready,
    judged: u64,
    id: u64,
    /// Workers started so far.
    workers: u64,
    failures: usize,
    not_before: Option<Instant>,
    stop: Arc<AtomicBool>,
}

/// Why a wait for the worker ended.
enum End {
    Reply(Reply),
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
        last_words: String,
    },
    TimeUp,
    /// The launcher itself is gone, or does not speak as it should.
    Broken(String),
}

impl Client {
    pub(crate) fn new(launcher: Launcher, stop: Arc<AtomicBool>) -> Self {
        Self { launcher, ready: None, last: Ready::default(), judged: 0, id: 0, workers: 0, failures: 0, not_before: None, stop }
    }

    pub(crate) fn running(&self) -> bool {
        self.ready.is_some()
    }

    /// Frees the worker's memory; the next file starts another.
    pub(crate) fn stop(&mut self) {
        if self.ready.take().is_some() {
            self.kill();
        }
    }

    /// When a worker may be started again.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// The number of the worker that runs, or ran last.
    pub(crate) fn number(&self) -> u64 {
        self.workers
    }

    /// Has a file judged, unless `known` says under these rules that its bytes were. Comes back within `time` and some seconds whatever the file does.
    pub(crate) fn judge(&mut self, file: &File, name: &str, size: u64, time: Duration, known: &mut dyn FnMut(&str, Sha256) -> bool) -> Outcome {
        if let Err(why) = self.worker() {
            return Outcome::Unavailable { why };
        }
        self.id += 1;
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = json!({ "id": self.id, "name": name, "size": size, "time_ms": time_ms, "hash_up_to": HASH_BYTES_MAX, "ask": true }).to_string();
        let fds = [file.as_raw_fd()];
        let sent = sendmsg::<()>(
            self.launcher.files.as_raw_fd(),
            &[IoSlice::new(request.as_bytes())],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        if let Err(error) = sent {
            self.failed();
            return Outcome::Unavailable { why: format!("the scanner takes no file: {error}") };
        }
        let until = Instant::now() + time + GRACE;
        match self.expect(until) {
            End::Reply(Reply::Digest { id, sha256, cpu_us, bytes_read }) if id == self.id => {
                let judge = !known(&self.last.rules, sha256);
                let answer = json!({ "id": id, "judge": judge }).to_string();
                if let Err(error) = send(self.launcher.files.as_raw_fd(), answer.as_bytes(), MsgFlags::MSG_NOSIGNAL) {
                    self.failed();
                    return Outcome::Unavailable { why: format!("the scanner takes no answer: {error}") };
                }
                if judge {
                    let end = self.expect(until);
                    return self.outcome(end, time, Some(sha256));
                }
                self.judged += 1;
                self.failures = 0;
                Outcome::Known { sha256, cpu_us, bytes_read }
            }
            end => self.outcome(end, time, None),
        }
    }

    /// What the end of a wait says of the file. `held` is the digest of the bytes that the worker judges from memory.
    fn outcome(&mut self, end: End, time: Duration, held: Option<Sha256>) -> Outcome {
        match end {
            End::Reply(Reply::Done { id, mut report, name_counts_by_ending, cpu_us, bytes_read })
                if id == self.id && (held.is_none() || report.sha256 == held) =>
            {
                self.judged += 1;
                self.failures = 0;
                report.name_counts_by_ending = name_counts_by_ending;
                Outcome::Judged { report, held: held.is_some(), cpu_us, bytes_read }
            }
            End::Reply(_) => {
                self.stop();
                Outcome::Killed { why: "it made the scanner answer out of turn".to_owned() }
            }
            End::Exited { code, signal, last_words } => {
                self.ready = None;
                self.failed();
                Outcome::Killed { why: cause(code, signal, &last_words) }
            }
            End::TimeUp => {
                self.stop();
                self.failed();
                Outcome::Killed { why: format!("the scanner did not come back from it in {} s and was killed", (time + GRACE).as_secs()) }
            }
            End::Broken(why) => {
                self.failed();
                Outcome::Unavailable { why }
            }
        }
    }

    /// Makes sure that a worker runs.
    fn worker(&mut self) -> Result<(), String> {
        if self.judged >= FILES_PER_WORKER {
            self.stop();
        }
        if self.ready.is_some() {
            return Ok(());
        }
        self.judged = 0;
        self.drain();
        self.order("start").map_err(|error| format!("the scanner's launcher is gone: {error}"))?;
        match self.expect(Instant::now() + READY_MAX) {
            End::Reply(Reply::Ready(ready)) => {
                self.last = ready.clone();
                self.ready = Some(ready);
                self.workers += 1;
                Ok(())
            }
            End::Reply(_) => Err(self.failed_to_start("it answered before it was asked")),
            End::Exited { code, signal, last_words } => Err(self.failed_to_start(&cause(code, signal, &last_words))),
            End::TimeUp => {
                self.kill();
                Err(self.failed_to_start("it was not ready in time"))
            }
            End::Broken(why) => Err(self.failed_to_start(&why)),
        }
    }

    fn failed_to_start(&mut self, why: &str) -> String {
        self.failed();
        format!("the scanner does not start: {why}")
    }

    fn failed(&mut self) {
        let seconds = BACKOFF.get(self.failures).or(BACKOFF.last()).copied().unwrap_or(60);
        self.failures += 1;
        self.not_before = Some(Instant::now() + Duration::from_secs(seconds));
    }

    fn order(&self, order: &str) -> nix::Result<usize> {
        send(self.launcher.control.as_raw_fd(), json!(order).to_string().as_bytes(), MsgFlags::MSG_NOSIGNAL)
    }

    /// Kills the worker and waits until the launcher says that it is gone.
    fn kill(&mut self) {
        if self.order("kill").is_err() {
            return;
        }
        let until = Instant::now() + EXIT_MAX;
        while Instant::now() < until {
            if matches!(packet::<Told>(&self.launcher.control), Ok(Some(Told::Exited { .. })) | Err(_)) {
                break;
            }
        }
        self.drain();
    }

    /// Throws away what an earlier worker still said.
    fn drain(&self) {
        let mut buffer = [0; 1];
        while recv(self.launcher.files.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0) {}
        while recv(self.launcher.control.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0) {}
    }

    fn expect(&self, until: Instant) -> End {
        loop {
            match packet::<Reply>(&self.launcher.files) {
                Ok(Some(reply)) => return End::Reply(reply),
                Ok(None) => {}
                Err(why) => return End::Broken(why),
            }
            match packet_now::<Told>(&self.launcher.control) {
                Ok(Some(Told::Exited { code, signal, last_words })) => return End::Exited { code, signal, last_words },
                Ok(Some(Told::Failed { why })) => return End::Broken(why),
                Ok(Some(Told::Started {}) | None) => {}
                Err(why) => return End::Broken(why),
            }
            if self.stop.load(Ordering::Relaxed) {
                return End::Broken("the agent is stopping".to_owned());
            }
            if Instant::now() >= until {
                return End::TimeUp;
            }
        }
    }
}

/// The next packet, waited for a moment.
fn packet<T: for<'de> Deserialize<'de>>(socket: &OwnedFd) -> Result<Option<T>, String> {
    receive(socket, MsgFlags::empty())
}

fn packet_now<T: for<'de> Deserialize<'de>>(socket: &OwnedFd) -> Result<Option<T>, String> {
    receive(socket, MsgFlags::MSG_DONTWAIT)
}

fn receive<T: for<'de> Deserialize<'de>>(socket: &OwnedFd, flags: MsgFlags) -> Result<Option<T>, String> {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    match recv(socket.as_raw_fd(), &mut buffer, flags) {
        Ok(0) => Err("the scanner's launcher is gone".to_owned()),
        Ok(length) => {
            serde_json::from_slice(buffer.get(..length).unwrap_or_default()).map(Some).map_err(|error| format!("the scanner speaks another protocol: {error}"))
        }
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
        Err(error) => Err(format!("the scanner's socket: {error}")),
    }
}

/// In words that say what to think of the file.
fn cause(code: Option<i32>, signal: Option<i32>, last_words: &str) -> String {
    // SIGSYS, SIGKILL, SIGXCPU, SIGSEGV, SIGBUS, SIGILL.
    let why = match signal {
        Some(6) if last_words.contains("memory allocation") => "it used up the scanner's memory".to_owned(),
        Some(31) => "the scanner tried what it may never do (a forbidden system call) and was killed".to_owned(),
        Some(9) => "the scanner was killed, by the kernel for memory or by somebody".to_owned(),
        Some(24) => "it used up the scanner's CPU time".to_owned(),
        Some(signal @ (4 | 6 | 7 | 11)) => format!("the scanner crashed on it (signal {signal})"),
        Some(signal) => format!("the scanner ended by signal {signal}"),
        None => format!("the scanner ended with code {}", code.unwrap_or(-1)),
    };
    let words: String = last_words.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    if words.is_empty() { why } else { format!("{why}: {words}") }
}
