//! Scans artifacts when they land, when the server asks, and by schedule.
//!
//! The pipeline offers each change of a file ([`Intake`]); one thread waits until the file is quiet, opens it, passes the descriptor to the locked-in
//! scanner ([`client`]), and turns the verdict into events. Everything is bounded: what does not fit is counted as lost.

mod cache;
mod client;
mod digests;
mod events;
mod job;
mod open;
mod outcome;
mod pace;
mod pending;
mod status;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use picket_event::{Activity, Event, EventClass, FileActivityKind, LossCause};

use crate::{
    boot::wall_now,
    config::Config,
    loss::{LossLedger, Pending as Loss},
    pipeline::Chunk,
};

pub(crate) use client::Launcher;
pub(crate) use status::ScanStatus;

use client::Client;
use pending::{Touched, is_partial};
use thread::Scans;

/// Changes on their way to the thread, which takes them up at once and holds them itself.
const OFFERED_MAX: usize = 1_024;

/// Paths of one command.
const PATHS_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 4_096;

/// What reaches the thread.
enum Message {
    Touched(Box<Touched>),
    Command(Command),
}

/// What the server asked.
struct Command {
    uid: String,
    paths: Vec<PathBuf>,
}

/// The pipeline's end. Never waits.
#[derive(Clone)]
pub(crate) struct Intake {
    sender: SyncSender<Message>,
    ledger: Arc<LossLedger>,
}

impl Intake {
    /// Takes up a file that was written and closed, or moved into its place.
    pub(crate) fn offer(&self, event: &Event) {
        let Activity::File(activity) = &event.activity else { return };
        let file = match activity.kind {
            FileActivityKind::Update => &activity.file,
            FileActivityKind::Rename => activity.file_result.as_ref().unwrap_or(&activity.file),
            _ => return,
        };
        if is_partial(&file.path) || !file.path.starts_with('/') {
            return;
        }
        let touched = Touched { path: file.path.clone(), inode: file.inode, asset_class: file.asset_class.clone(), actor: event.actor.clone() };
        if self.sender.try_send(Message::Touched(Box::new(touched))).is_err() {
            lost(&self.ledger, 1);
        }
    }

    /// Takes up a scan that the server asked for, or says why not.
    pub(crate) fn command(&self, uid: &str, paths: &[String]) -> Result<(), String> {
        if paths.is_empty() || paths.len() > PATHS_MAX {
            return Err(format!("a scan takes 1 to {PATHS_MAX} paths"));
        }
        if let Some(path) = paths.iter().find(|path| !path.starts_with('/') || path.len() > PATH_BYTES_MAX || path.contains('\0')) {
            return Err(format!("{:?} is no absolute path", path.chars().take(100).collect::<String>()));
        }
        let command = Command { uid: uid.to_owned(), paths: paths.iter().map(PathBuf::from).collect() };
        self.sender.try_send(Message::Command(command)).map_err(|_| "too many scans and changes wait on this host".to_owned())
    }
}

/// A file that will not be scanned although it changed is a gap like any other.
fn lost(ledger: &LossLedger, count: u64) {
    let at = wall_now();
    ledger.add(Loss { cause: LossCause::Scan, class: Some(EventClass::ScanActivity), cpu: None, count, produced: 0, since: at, until: at });
}

/// The running thread.
pub(crate) struct ScanThread {
    pub(crate) intake: Intake,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Starts the launcher; before the agent gives up its rights, because the launcher keeps some of them.
pub(crate) fn launch(config: &Config) -> Option<Launcher> {
    if !config.scan.enabled {
        return None;
    }
    let Some(program) = config.scan.program.clone().or_else(Launcher::beside) else {
        tracing::warn!("picket-scanner is not beside this program: artifacts are not scanned on this host");
        return None;
    };
    let arguments: Vec<String> = config.scan.yara.iter().flat_map(|path| ["--yara".to_owned(), path.to_string_lossy().into_owned()]).collect();
    match Launcher::start(&program, &arguments) {
        Ok(launcher) => Some(launcher),
        Err(error) => {
            tracing::warn!(%error, program = %program.display(), "picket-scanner does not start: artifacts are not scanned on this host");
            None
        }
    }
}

/// Starts the thread.
pub(crate) fn start(
    launcher: Launcher,
    config: Arc<ArcSwap<Config>>,
    ledger: &Arc<LossLedger>,
    events: SyncSender<Chunk>,
    status: Arc<ScanStatus>,
) -> std::io::Result<ScanThread> {
    let (sender, inbox) = mpsc::sync_channel(OFFERED_MAX);
    let intake = Intake { sender, ledger: Arc::clone(ledger) };
    let stop = Arc::<AtomicBool>::default();
    let scans = Scans::new(Client::new(launcher, Arc::clone(&stop)), config, Arc::clone(ledger), events, status, Arc::clone(&stop));
    let thread = std::thread::Builder::new().name("scan".to_owned()).spawn(move || scans.run(&inbox))?;
    Ok(ScanThread { intake, stop, thread })
}

impl ScanThread {
    /// Ends at once; the file in work is given up. What waits was not scanned: it is in the ledger when this returns.
    pub(crate) fn stop(self) -> std::thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join()
    }
}

/// How long an idle worker keeps its memory.
const IDLE_MAX: Duration = Duration::from_secs(60);
