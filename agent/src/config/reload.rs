//! Takes up changes of the configuration file while running: all of a valid new one, or nothing.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use notify::{EventKind, RecursiveMode, Watcher};

use super::{Config, ConfigError};
use crate::enrich::own_file;

/// Editors write, rename and chmod in bursts; one burst is one reload.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Watches until it is dropped.
pub(crate) struct ConfigWatch {
    _watcher: Shared,
}

type Shared = Arc<Mutex<notify::RecommendedWatcher>>;

/// Calls `changed` with each valid new configuration, and `refused` with each that is not, until the returned guard is dropped. A change of
/// the roles that the configuration names is a change of it.
///
/// The folders are watched, not the files: a rename over the file, and the symlink swap of a Kubernetes ConfigMap, leave the old inode behind.
pub(crate) fn watch(
    path: &Path,
    changed: impl Fn(Arc<Config>) + Send + 'static,
    refused: impl Fn(ConfigError) + Send + 'static,
) -> Result<ConfigWatch, notify::Error> {
    let path: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let (told, news) = mpsc::sync_channel::<()>(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file makes access events itself. An error (a queue overflow) may hide a change.
        if event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
            let _ = told.try_send(());
        }
    })?;
    let watcher: Shared = Arc::new(Mutex::new(watcher));
    lock(&watcher).watch(folder_of(&path), RecursiveMode::NonRecursive)?;
    let mut roles = roles_of(&path).unwrap_or_else(|| own_file(None));
    let mut roles_folder = Watched::default();
    roles_folder.follow(&watcher, folder_of(&roles), folder_of(&path));
    let mut last = (std::fs::read(&path).ok(), std::fs::read(&roles).ok());
    let weak = Arc::downgrade(&watcher);
    let reload = move || {
        while news.recv().is_ok() {
            let quiet_at = Instant::now() + DEBOUNCE;
            while news.recv_timeout(quiet_at.saturating_duration_since(Instant::now())).is_ok() {}
            let now = (std::fs::read(&path).ok(), std::fs::read(&roles).ok());
            if now == last {
                continue;
            }
            last = now;
            match Config::read(&path) {
                Ok(config) => {
                    roles = own_file(config.roles_file.as_deref());
                    last.1 = std::fs::read(&roles).ok();
                    if let Some(watcher) = weak.upgrade() {
                        roles_folder.follow(&watcher, folder_of(&roles), folder_of(&path));
                    }
                    changed(Arc::new(config));
                }
                Err(error) => refused(error),
            }
        }
    };
    std::thread::Builder::new().name("config".to_owned()).spawn(reload).map_err(notify::Error::io)?;
    Ok(ConfigWatch { _watcher: watcher })
}

/// The folder of the roles, where it is not the configuration's own.
#[derive(Default)]
struct Watched(Option<PathBuf>);

impl Watched {
    fn follow(&mut self, watcher: &Shared, folder: &Path, always: &Path) {
        if self.0.as_deref() == Some(folder) {
            return;
        }
        if let Some(old) = self.0.take() {
            let _ = lock(watcher).unwatch(&old);
        }
        // A folder that does not exist holds no roles; it is looked for again with the next change of the configuration.
        if folder != always && lock(watcher).watch(folder, RecursiveMode::NonRecursive).is_ok() {
            self.0 = Some(folder.to_path_buf());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn roles_of(path: &Path) -> Option<PathBuf> {
    Config::read(path).ok().map(|config| own_file(config.roles_file.as_deref()))
}

fn lock(watcher: &Shared) -> std::sync::MutexGuard<'_, notify::RecommendedWatcher> {
    watcher.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_change_of_the_roles_is_taken_up_wherever_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let (path, roles) = (folder.path().join("agent.toml"), elsewhere.path().join("roles.toml"));
        std::fs::write(&roles, "role = []\n").unwrap();
        std::fs::write(&path, "").unwrap();
        let (told, news) = mpsc::channel();
        let guard = watch(&path, move |config| told.send(config.roles_file.clone()).unwrap(), |error| panic!("{error}")).unwrap();
        let next = || news.recv_timeout(Duration::from_secs(20)).unwrap();
        std::fs::write(&path, format!("roles_file = {:?}\n", roles.display().to_string())).unwrap();
        assert_eq!(next(), Some(roles.clone()));
        std::fs::write(&roles, "built_in = false\n").unwrap();
        assert_eq!(next(), Some(roles));
        drop(guard);
    }
}
