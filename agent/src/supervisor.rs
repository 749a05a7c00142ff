//! systemd: readiness, one line of state, and a watchdog that hears of the real loops.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use sd_notify::NotifyState;

/// Moved on by the loops that must not stand still.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    pub(crate) sensor: AtomicU64,
    pub(crate) spooler: AtomicU64,
}

/// Does nothing where systemd does not supervise.
pub(crate) struct Supervisor {
    every: Option<Duration>,
    last: Instant,
    seen: (u64, u64),
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 3), last: Instant::now(), seen: (0, 0) }
    }

    pub(crate) fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    pub(crate) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    pub(crate) fn status(&self, text: &str) {
        notify(&[NotifyState::Status(text)]);
    }

    /// Called every second. A loop that stands still is not vouched for, and systemd restarts the agent.
    pub(crate) fn tick(&mut self, beats: &Beats) {
        let Some(every) = self.every else { return };
        let now = (beats.sensor.load(Ordering::Relaxed), beats.spooler.load(Ordering::Relaxed));
        if self.last.elapsed() >= every && now.0 != self.seen.0 && now.1 != self.seen.1 {
            self.last = Instant::now();
            self.seen = now;
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
