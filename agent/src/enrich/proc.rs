//! `/proc` where the kernel's record does not tell: processes that are older than the agent, or whose exec was lost.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const TEXT_BYTES_MAX: u64 = 64 << 10;
/// Look-ups a second. Without it a flood of short-lived strangers would spend the agent's budget on `/proc`.
const LOOKUPS_PER_SECOND: u32 = 500;

/// What `/proc/PID` says of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcText {
    /// NUL-separated.
    pub(crate) args: Vec<u8>,
    pub(crate) exe: String,
    pub(crate) cwd: String,
    pub(crate) environment: Vec<(String, String)>,
}

/// Reads `/proc`, at a bounded rate.
pub(crate) struct ProcReader {
    proc: PathBuf,
    names: HashSet<String>,
    window: Instant,
    left: u32,
}

impl ProcReader {
    /// Keeps only the environment variables in `names`.
    pub(crate) fn new(names: &[String]) -> Self {
        Self { proc: PathBuf::from("/proc"), names: names.iter().cloned().collect(), window: Instant::now(), left: LOOKUPS_PER_SECOND }
    }

    /// Of the process `pid` that started at `start_boot_ns`; `None` where it is gone or the pid is another's now.
    pub(crate) fn read(&mut self, pid: u32, start_boot_ns: u64) -> Option<ProcText> {
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.window = Instant::now();
            self.left = LOOKUPS_PER_SECOND;
        }
        self.left = self.left.checked_sub(1)?;
        self.read_unlimited(pid, start_boot_ns)
    }

    /// The same at start, where the processes of the host are the bound.
    pub(crate) fn read_unlimited(&self, pid: u32, start_boot_ns: u64) -> Option<ProcText> {
        let folder = self.proc.join(pid.to_string());
        let text = ProcText {
            args: super::read_capped(&folder.join("cmdline"), TEXT_BYTES_MAX),
            exe: link(&folder.join("exe")),
            cwd: link(&folder.join("cwd")),
            environment: select(&super::read_capped(&folder.join("environ"), TEXT_BYTES_MAX), &self.names),
        };
        // Last: what was read before is this process's only if it is still there.
        (started(&folder)? == start_boot_ns / 10_000_000).then_some(text)
    }
}

/// Field 22 of `stat`, clock ticks since boot. The kernel's `USER_HZ` is 100 on every architecture we build for.
fn started(folder: &Path) -> Option<u64> {
    let stat = super::read_capped(&folder.join("stat"), 4_096);
    // The name in brackets may hold anything, brackets too.
    let (_, rest) = std::str::from_utf8(&stat).ok()?.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn link(path: &Path) -> String {
    std::fs::read_link(path).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default()
}

fn select(environ: &[u8], names: &HashSet<String>) -> Vec<(String, String)> {
    pairs(environ).filter(|(name, _)| names.contains(name)).collect()
}

/// `NAME=value` pairs of a NUL-separated block.
pub(crate) fn pairs(block: &[u8]) -> impl Iterator<Item = (String, String)> {
    let texts = block.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    texts.filter_map(|text| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_start_and_not_by_another() {
        let reader = ProcReader::new(&["PATH".to_owned()]);
        let pid = std::process::id();
        let ticks = started(Path::new(&format!("/proc/{pid}"))).unwrap();
        let text = reader.read_unlimited(pid, ticks * 10_000_000 + 5).unwrap();
        assert_eq!(text.exe, std::env::current_exe().unwrap().to_string_lossy());
        assert!(!text.args.is_empty());
        assert!(text.environment.iter().all(|(name, _)| name == "PATH"));
        assert_eq!(reader.read_unlimited(pid, (ticks + 1) * 10_000_000), None);
    }

    #[test]
    fn look_ups_are_bounded() {
        let mut reader = ProcReader::new(&[]);
        reader.left = 1;
        reader.read(1, 0);
        assert_eq!(reader.read(std::process::id(), 0), None);
        assert_eq!(reader.left, 0);
    }
}
