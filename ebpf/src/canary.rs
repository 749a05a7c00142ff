//! Whether the attached probes are still called. A link says that a program is attached; a kernel that was told to call none (`kernel.ftrace_enabled=0`), or to call
//! another in its place (`BPF_LINK_UPDATE`), says nothing. So the loader does a few harmless things of its own, which the probes leave out of their records, and
//! looks whether the kernel has counted a run of each program that they must reach.
//!
//! One round costs two reads of `/proc/self/fdinfo` a program, a thread, a datagram to itself, a refused connection to itself, and a file that is linked, renamed and removed.
//!
//! Not seen: programs that the dispatcher jumps to (the kernel counts the dispatcher's run alone; the table that it jumps by is frozen), and those whose hook the
//! loader has no harmless way to reach (exec, ptrace, mounts, modules, clocks).

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::guard::{Tampering, TamperingKind, fdinfo, number, probe_of};

/// What reaches which programs. Where it cannot be done here, nothing is said of them.
const REACHES: [(Act, &[&str]); 5] = [
    (Act::Thread, &["sched_process_fork", "sched_process_fork_files", "sched_process_exit", "sched_process_exit_files", "sched_process_exit_rings"]),
    (Act::Open, &["sys_exit", "do_filp_open", "do_file_open", "locks_remove_file"]),
    (Act::Name, &["vfs_link", "vfs_link_done", "vfs_rename", "vfs_rename_done", "vfs_unlink", "vfs_unlink_done"]),
    (Act::Datagram, &["sock_create", "sock_release", "post_bind4", "packet_egress", "packet_ingress"]),
    (Act::Connect, &["inet_sock_set_state"]),
];

/// A run that the kernel left out, because another of the same program was under way on that CPU, or that comes a moment later, is no silence.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// A datagram or an answer to oneself takes microseconds; a firewall may swallow it.
const ANSWER_MAX: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
enum Act {
    Thread,
    Open,
    Name,
    Datagram,
    Connect,
}

/// See the module. Works on any thread, beside the sensor.
#[derive(Debug)]
pub struct Canary {
    folder: PathBuf,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    act: usize,
    program: String,
    fd: i32,
    /// The kernel's number of the program: the descriptor may be another's once the sensor is gone.
    number: u32,
    silent: bool,
}

impl Canary {
    /// `programs`: those that are attached, with their descriptors.
    pub(crate) fn new(programs: &[(String, i32)], folder: &Path) -> Self {
        let watched = programs.iter().filter_map(|(program, fd)| {
            let act = REACHES.iter().position(|(_, reached)| reached.contains(&program.as_str()))?;
            Some(Watched { act, program: program.clone(), fd: *fd, number: number(&fdinfo(*fd)?, "prog_id:")?, silent: false })
        });
        Self { folder: folder.to_owned(), watched: watched.collect() }
    }

    /// The programs that it looks after.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.watched.iter().map(|watched| watched.program.as_str())
    }

    /// One round: programs that have fallen silent, each told once, and once more when it is called again. Takes milliseconds, a second where a firewall swallows what it sends.
    pub fn sing(&mut self) -> Vec<Tampering> {
        let mut heard = vec![None; self.watched.len()];
        for (act, (kind, _)) in REACHES.iter().enumerate() {
            if self.watched.iter().any(|watched| watched.act == act) {
                self.reach(act, *kind, &mut heard);
            }
        }
        self.watched.iter_mut().zip(heard).filter_map(|(watched, heard)| watched.told(heard?)).collect()
    }

    /// Does it until all its programs have run, or no try is left. `heard` stays as it is where it cannot be done.
    fn reach(&self, act: usize, kind: Act, heard: &mut [Option<bool>]) {
        for attempt in 0..TRIES {
            let before: Vec<_> = self.watched.iter().map(|watched| if watched.act == act { watched.runs() } else { None }).collect();
            if let Err(error) = kind.perform(&self.folder) {
                tracing::debug!(?kind, %error, "the probes behind it are not looked after this time");
                return;
            }
            if attempt > 0 {
                thread::sleep(BETWEEN_TRIES);
            }
            for ((watched, before), heard) in self.watched.iter().zip(before).zip(&mut *heard) {
                if let (Some(before), Some(after)) = (before, watched.runs()) {
                    *heard = Some(*heard == Some(true) || after > before);
                }
            }
            if self.watched.iter().zip(&*heard).all(|(watched, heard)| watched.act != act || *heard == Some(true)) {
                return;
            }
        }
    }
}

impl Watched {
    fn runs(&self) -> Option<u64> {
        let text = fdinfo(self.fd)?;
        (number(&text, "prog_id:") == Some(self.number)).then(|| number(&text, "run_cnt:"))?
    }

    fn told(&mut self, heard: bool) -> Option<Tampering> {
        let changed = std::mem::replace(&mut self.silent, !heard) == heard;
        let detail = if heard { "is called again" } else { "is attached and the kernel does not call it" };
        changed.then(|| Tampering {
            kind: TamperingKind::ProbeSilent,
            subject: probe_of(&self.program),
            detail: format!("{} {detail}", self.program),
            healed: heard,
        })
    }
}

impl Act {
    fn perform(self, folder: &Path) -> io::Result<()> {
        match self {
            Self::Thread => thread::Builder::new().name("canary".to_owned()).spawn(|| ())?.join().map_err(|_| io::Error::other("the thread panicked")),
            Self::Open => File::open("/dev/null").map(drop),
            Self::Name => name(folder),
            Self::Datagram => datagram(),
            Self::Connect => connect(),
        }
    }
}

/// A file of one link is removed twice, under both names that it had: rename, link and unlink in three calls.
fn name(folder: &Path) -> io::Result<()> {
    let [one, other] = ["canary", "canary.renamed"].map(|name| folder.join(format!("{name}.{}", std::process::id())));
    for left in [&one, &other] {
        match fs::remove_file(left) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::create_new(&one)?;
    fs::rename(&one, &other).and_then(|()| fs::hard_link(&other, &one))?;
    fs::remove_file(&one).and(fs::remove_file(&other))
}

fn datagram() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.send_to(b"canary", socket.local_addr()?)?;
    // Where it does not arrive, a firewall stands before the probes.
    socket.recv(&mut [0; 8]).map(drop)
}

/// To a port that only datagrams are taken at: the state changes twice, whether it is refused or swallowed.
fn connect() -> io::Result<()> {
    let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let _ = TcpStream::connect_timeout(&held.local_addr()?, ANSWER_MAX);
    Ok(())
}
