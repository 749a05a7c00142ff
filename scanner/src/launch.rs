//! The launcher: keeps the few rights that starting and ending a worker need, and one worker.

use crate::message::{Order, Told};
use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sched::CloneFlags;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How soon an exit is told.
const LOOK_EVERY_MS: i64 = 50;
/// Of what a worker wrote before its end.
const LAST_WORDS_BYTES_MAX: usize = 600;
/// Nobody: a user that owns nothing, where the packaging made none for this program.
const NOBODY: u32 = 65_534;
const ORDER_BYTES_MAX: usize = 4096;

struct Running {
    child: Child,
    words: mpsc::Receiver<String>,
}

/// Serves orders until the agent is gone. `rest` is handed to each worker.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    // An agent that was killed takes its launcher with it: the socket ends, and this as well if it hangs.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).context("set the signal of the parent's death")?;
    let control = std::io::stdout().as_fd().try_clone_to_owned().context("take the control socket")?;
    setsockopt(&control, sockopt::ReceiveTimeout, &TimeVal::milliseconds(LOOK_EVERY_MS)).context("standard output is not the agent's socket")?;
    let uid = lock_in()?;
    let mut running: Option<Running> = None;
    loop {
        match order(&control) {
            Ok(Some(Order::Start)) => {
                kill(&mut running);
                match start(rest, uid) {
                    Ok(started) => {
                        tell(&control, &Told::Started { pid: started.child.id() })?;
                        running = Some(started);
                    }
                    Err(error) => tell(&control, &Told::Failed { why: format!("{error:#}") })?,
                }
            }
            Ok(Some(Order::Kill)) => {
                if let Some(one) = running.as_mut() {
                    // It may have ended just now; the exit is told either way.
                    let _ = one.child.kill();
                }
            }
            Ok(None) => {}
            Err(Gone) => {
                kill(&mut running);
                return Ok(());
            }
        }
        if let Some(one) = running.as_mut()
            && let Some(status) = one.child.try_wait().context("wait for the worker")?
        {
            let last_words = one.words.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            running = None;
            tell(&control, &Told::Exited { code: status.code(), signal: status.signal(), last_words })?;
        }
    }
}

/// The agent's end of the socket is closed.
struct Gone;

fn order(control: &OwnedFd) -> Result<Option<Order>, Gone> {
    let mut packet = [0; ORDER_BYTES_MAX];
    match recv(control.as_raw_fd(), &mut packet, MsgFlags::empty()) {
        Ok(0) => Err(Gone),
        // An order that is none is the agent's bug; ending is the one answer that it cannot miss.
        Ok(length) => serde_json::from_slice(packet.get(..length).unwrap_or_default()).map(Some).map_err(|_| Gone),
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
        Err(_) => Err(Gone),
    }
}

fn tell(control: &OwnedFd, told: &Told) -> Result<()> {
    let packet = serde_json::to_vec(told)?;
    send(control.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL).context("tell the agent")?;
    Ok(())
}

fn kill(running: &mut Option<Running>) {
    if let Some(mut one) = running.take() {
        let _ = one.child.kill();
        let _ = one.child.wait();
    }
}

/// The user for workers, where this process may choose one. Everything that only root may do is given up but starting and killing them.
fn lock_in() -> Result<Option<u32>> {
    let failed = |error: caps::errors::CapsError| anyhow::anyhow!("drop capabilities: {error}");
    let root = nix::unistd::geteuid().is_root();
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    if permitted.contains(&Capability::CAP_SYS_ADMIN) {
        // Best effort: a worker reports what it is in, and seccomp refuses sockets in any case.
        let _ = nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC);
    }
    let kept: CapsHashSet = [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL].into_iter().filter(|one| permitted.contains(one)).collect();
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding).map_err(failed)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(failed)?;
    caps::set(None, CapSet::Effective, &kept).map_err(failed)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed)?;
    nix::sys::prctl::set_no_new_privs().context("set no_new_privs")?;
    if !root || !kept.contains(&Capability::CAP_SETUID) {
        return Ok(None);
    }
    let own = nix::unistd::User::from_name("picket-scanner").ok().flatten();
    Ok(Some(own.map_or(NOBODY, |user| user.uid.as_raw())))
}

fn start(rest: &[String], uid: Option<u32>) -> Result<Running> {
    let mut command = Command::new("/proc/self/exe");
    // Standard input is the socket to the agent.
    command.arg("worker").args(rest).env_clear().current_dir("/").stdin(Stdio::inherit()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let mut child = command.spawn().context("start the worker")?;
    let (sender, words) = mpsc::channel();
    if let Some(mut stderr) = child.stderr.take() {
        std::thread::Builder::new().name("words".to_owned()).spawn(move || {
            let _ = sender.send(last_words(&mut stderr));
        })?;
    }
    Ok(Running { child, words })
}

/// The end of a stream, read to its end whatever its length.
fn last_words(stream: &mut impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let excess = kept.len().saturating_sub(LAST_WORDS_BYTES_MAX);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}
