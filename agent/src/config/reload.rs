//! Takes up changes of the configuration file while running: all of a valid new one, or nothing.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use notify::{EventKind, RecursiveMode, Watcher};

use super::{Config, ConfigError};

/// Editors write, rename and chmod in bursts; one burst is one reload.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Calls `changed` with each valid new configuration, and `refused` with each that is not, until the returned guard is dropped.
///
/// The folder is watched, not the file: a rename over the file, and the symlink swap of a Kubernetes ConfigMap, leave the old inode behind.
pub(crate) fn watch(
    path: &Path,
    changed: impl Fn(Arc<Config>) + Send + 'static,
    refused: impl Fn(ConfigError) + Send + 'static,
) -> Result<notify::RecommendedWatcher, notify::Error> {
    let path: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let (told, news) = mpsc::sync_channel::<()>(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file makes access events itself. An error (a queue overflow) may hide a change.
        if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
            let _ = told.try_send(());
        }
    })?;
    watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    let mut last = std::fs::read(&path).ok();
    let reload = move || {
        while news.recv().is_ok() {
            let quiet_at = Instant::now() + DEBOUNCE;
            while news.recv_timeout(quiet_at.saturating_duration_since(Instant::now())).is_ok() {}
            let now = std::fs::read(&path).ok();
            if now == last {
                continue;
            }
            last = now;
            match Config::read(&path) {
                Ok(config) => changed(Arc::new(config)),
                Err(error) => refused(error),
            }
        }
    };
    std::thread::Builder::new().name("config".to_owned()).spawn(reload).map_err(notify::Error::io)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_change_is_taken_up_and_an_invalid_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, "").unwrap();
        let (told, news) = mpsc::channel();
        let also = told.clone();
        let guard =
            watch(&path, move |config| told.send(Ok(config.budget.over_seconds)).unwrap(), move |error| also.send(Err(error.to_string())).unwrap()).unwrap();
        let next = || news.recv_timeout(Duration::from_secs(20)).unwrap();
        std::fs::write(&path, "[budget]\nover_seconds = 7\n").unwrap();
        assert_eq!(next(), Ok(7));
        std::fs::write(&path, "[budget]\nover_secs = 7\n").unwrap();
        assert!(next().unwrap_err().contains("agent.toml:2:1: "));
        // As an editor does it: a new file over the old one.
        let new = folder.path().join(".agent.toml.swp");
        std::fs::write(&new, "[budget]\nover_seconds = 8\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(next(), Ok(8));
        drop(guard);
    }
}
