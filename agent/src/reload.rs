//! A changed configuration file: watches, roles and budget change now, the rest waits for a restart and the status says so.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::{
    capabilities,
    config::{self, Config, ConfigError, ConfigWatch},
    dial::with_sources,
    enrich::Roles,
    pipeline::{Chunk, Numbered, Rules},
    source::Watches,
    state::{AgentState, ConfigState},
    watches::WatchIds,
};

/// What a reload changes.
pub(crate) struct Reload {
    pub(crate) file: PathBuf,
    pub(crate) state: Arc<AgentState>,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) sensor: Watches,
    pub(crate) watch_ids: Mutex<WatchIds>,
    /// For the new capability report.
    pub(crate) events: SyncSender<Chunk>,
}

impl Reload {
    /// Watches the file until the guard is dropped.
    pub(crate) fn start(self) -> Result<ConfigWatch, notify::Error> {
        let file = self.file.clone();
        let this = Arc::new(self);
        let refusing = Arc::clone(&this);
        config::watch(&file, move |new| this.take_up(&new), move |error| refusing.refuse(&error))
    }

    fn take_up(&self, new: &Config) {
        let roles = match Roles::load(new.roles_file.as_deref()) {
            Ok(roles) => roles,
            Err(error) => return self.refused(&with_sources(&error)),
        };
        let old = self.state.config.load_full();
        let restart_needed = old.restart_needed(new);
        let merged = Config { watch: new.watch.clone(), roles_file: new.roles_file.clone(), budget: new.budget.clone(), ..Config::clone(&old) };
        if merged.watch != old.watch {
            // A path on a server that does not answer hangs here, not in the reader of the ring.
            for watch in &merged.watch {
                let _ = std::fs::metadata(&watch.path);
            }
        }
        let specs = {
            let mut ids = self.watch_ids.lock().unwrap_or_else(PoisonError::into_inner);
            let specs = ids.specs(&merged.watch);
            self.rules.store(Arc::new(Rules::new(&merged, roles, &ids)));
            specs
        };
        let watches_changed = merged.watch != old.watch;
        if watches_changed && !self.sensor.set(specs) {
            tracing::error!("the sensor did not take up the new watches");
        }
        self.state.config.store(Arc::new(merged));
        let (file, hash) = (self.file.display().to_string(), file_hash(&self.file));
        if !restart_needed.is_empty() {
            tracing::warn!(?restart_needed, "the configuration changed; these parts wait for a restart");
        }
        self.state.config_state.store(Arc::new(ConfigState { file, hash, restart_needed, error: String::new() }));
        tracing::info!("the configuration was taken up");
        if watches_changed {
            let event = capabilities::event(&self.state.snapshot.load(), &self.state.config.load());
            let _ = self.events.send(vec![Numbered::own(event)]);
        }
    }

    fn refuse(&self, error: &ConfigError) {
        self.refused(&with_sources(error));
    }

    fn refused(&self, error: &str) {
        tracing::error!(error, "the new configuration is not used; the old one stays in force");
        let state = ConfigState { error: error.to_owned(), ..ConfigState::clone(&self.state.config_state.load()) };
        self.state.config_state.store(Arc::new(state));
    }
}

/// SHA-256 of a file, empty where there is none.
pub(crate) fn file_hash(path: &Path) -> String {
    std::fs::read(path).map(|bytes| hex::encode(Sha256::digest(bytes))).unwrap_or_default()
}
