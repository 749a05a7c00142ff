//! What the figures are compared with: the agent itself attached, auditd with equivalent rules, a bpftrace one-liner. Each is started
//! for one round and stopped after it, so that all rounds alternate under the same machine load.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_tests::{binaries::program, wait};

/// Who watches during a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// Nobody.
    Bare,
    /// `picket-agent run --stdout`, probes attached.
    Picket,
    /// The same while the kernel measures what each program costs, as `[budget] measure_probes` has it.
    PicketMeasured,
    /// auditd with equivalent rules.
    Auditd,
    /// A bpftrace one-liner.
    Bpftrace,
}

impl Watcher {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Picket => "picket",
            Self::PicketMeasured => "measured",
            Self::Auditd => "auditd",
            Self::Bpftrace => "bpftrace",
        }
    }
}

/// Rules of the peers for one kind of activity.
pub(crate) struct Rules {
    /// Arguments of `auditctl`, one rule each.
    pub(crate) audit: Vec<Vec<String>>,
    /// The bpftrace program.
    pub(crate) bpftrace: String,
}

/// The watchers that can run here; a peer that is missing is installed from the distribution where that is possible, else left out by
/// name.
pub(crate) fn available() -> Vec<Watcher> {
    let mut watchers = vec![Watcher::Bare, Watcher::Picket, Watcher::PicketMeasured];
    for (watcher, package, tool) in [(Watcher::Auditd, "auditd", "auditctl"), (Watcher::Bpftrace, "bpftrace", "bpftrace")] {
        if on_path(tool).is_some() || (install(package) && on_path(tool).is_some()) {
            watchers.push(watcher);
        } else {
            eprintln!("SKIPPED {}: {package} is not installed and could not be", watcher.name());
        }
    }
    watchers
}

fn on_path(tool: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(tool)).find(|path| path.is_file())
}

fn install(package: &str) -> bool {
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "--no-install-recommends", package]).env("DEBIAN_FRONTEND", "noninteractive");
    // The package would start its daemon; here it runs only within a round.
    command.env("RUNLEVEL", "1").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// One that watches now; stopped when dropped.
pub(crate) struct Watching {
    watcher: Watcher,
    child: Option<Child>,
    folder: tempfile::TempDir,
    mounted: bool,
}

/// The switch by which the kernel measures programs, beside the descriptor that the agent takes.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where the kernel describes its tracepoints to bpftrace; not mounted everywhere.
const TRACEFS: &str = "/sys/kernel/tracing";

impl Watching {
    pub(crate) fn start(watcher: Watcher, rules: &Rules) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut watching = Self { watcher, child: None, folder, mounted: false };
        match watcher {
            Watcher::Bare => {}
            Watcher::Picket => watching.picket()?,
            Watcher::PicketMeasured => {
                watching.picket()?;
                std::fs::write(STATISTICS, "1").context(STATISTICS)?;
            }
            Watcher::Auditd => watching.auditd(rules)?,
            Watcher::Bpftrace => watching.bpftrace(rules)?,
        }
        // What the start itself stirs up settles.
        std::thread::sleep(Duration::from_millis(500));
        Ok(watching)
    }

    fn picket(&mut self) -> Result<()> {
        let out = self.folder.path().join("out");
        let file = std::fs::File::create(&out)?;
        self.child = Some(Command::new(program("picket-agent")?).args(["run", "--stdout"]).stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn()?);
        self.wait_for("the agent's capability report", &out, "5002")
    }

    fn auditd(&mut self, rules: &Rules) -> Result<()> {
        let folder = self.folder.path();
        let config = format!(
            "local_events = yes\nlog_file = {}\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\nfreq = 50\nnum_logs = 2\nmax_log_file = 200\nmax_log_file_action = ROTATE\n\
             space_left = 75\nspace_left_action = IGNORE\nadmin_space_left = 50\nadmin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\n",
            folder.join("audit.log").display()
        );
        let file = folder.join("auditd.conf");
        std::fs::write(&file, config)?;
        std::fs::create_dir_all(folder.join("plugins.d"))?;
        private(&file)?;
        let tool = on_path("auditd").context("auditd")?;
        self.child = Some(Command::new(tool).arg("-n").arg("-c").arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        std::thread::sleep(Duration::from_millis(500));
        auditctl(&["-D".to_owned()])?;
        auditctl(&["-b".to_owned(), "8192".to_owned()])?;
        auditctl(&["-e".to_owned(), "1".to_owned()])?;
        for rule in &rules.audit {
            auditctl(rule)?;
        }
        Ok(())
    }

    fn bpftrace(&mut self, rules: &Rules) -> Result<()> {
        if !Path::new(TRACEFS).join("events").exists() {
            self.mounted = Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]).status().is_ok_and(|status| status.success());
        }
        let out = self.folder.path().join("out");
        let file = std::fs::File::create(&out)?;
        let script = format!("BEGIN {{ printf(\"attached\\n\"); }} {}", rules.bpftrace);
        let tool = on_path("bpftrace").context("bpftrace")?;
        self.child = Some(Command::new(tool).arg("-B").arg("line").arg("-e").arg(script).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?);
        self.wait_for("bpftrace attaches", &out, "attached")
    }

    fn wait_for(&mut self, what: &str, out: &Path, word: &str) -> Result<()> {
        wait::until(what, Duration::from_secs(30), || {
            if let Some(status) = self.child.as_mut().context("a child")?.try_wait()? {
                bail!("ended with {status}: {}", std::fs::read_to_string(out).unwrap_or_default());
            }
            Ok(std::fs::read_to_string(out).unwrap_or_default().contains(word).then_some(()))
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if self.watcher == Watcher::Auditd {
            for arguments in [["-D"].as_slice(), ["-e", "0"].as_slice()] {
                let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
                let _ = auditctl(&arguments);
            }
        }
        if self.watcher == Watcher::PicketMeasured {
            let _ = std::fs::write(STATISTICS, "0");
        }
        if let Some(child) = self.child.as_mut() {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            let _ = wait::until("the watcher ends", Duration::from_secs(10), || Ok(child.try_wait()?.map(|_| ())));
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.mounted {
            let _ = Command::new("umount").arg(TRACEFS).status();
        }
    }
}

fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
}

fn auditctl(arguments: &[String]) -> Result<()> {
    let tool = on_path("auditctl").context("auditctl")?;
    let output = Command::new(tool).args(arguments).output()?;
    if output.status.success() { Ok(()) } else { bail!("auditctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)) }
}
