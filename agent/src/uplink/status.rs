use std::sync::Arc;

use arc_swap::ArcSwap;
use picket_event::Timestamp;
use serde::Serialize;

use crate::{boot::wall_now, identity::Identity};

/// How the connection is, for `picket-agent status`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LinkState {
    /// `not_enrolled`, `connecting`, `connected`.
    pub(crate) state: &'static str,
    pub(crate) server: String,
    pub(crate) device_uid: String,
    /// Unix seconds.
    pub(crate) certificate_not_after: Option<i64>,
    /// Unix milliseconds of the last change of `state`.
    pub(crate) since_ms: i64,
    pub(crate) sessions: u64,
    pub(crate) batches_sent: u64,
    pub(crate) batches_refused: u64,
    pub(crate) last_error: String,
}

/// Shared; replaced as a whole.
#[derive(Clone, Default)]
pub(crate) struct LinkStatus(Arc<ArcSwap<LinkState>>);

impl LinkStatus {
    pub(crate) fn load(&self) -> Arc<LinkState> {
        self.0.load_full()
    }

    fn change(&self, change: impl Fn(&mut LinkState)) {
        self.0.rcu(|state| {
            let mut state = LinkState::clone(state);
            let before = state.state;
            change(&mut state);
            if state.state != before {
                state.since_ms = Timestamp(wall_now().0).as_millis();
            }
            state
        });
    }

    pub(super) fn not_enrolled(&self, problem: &str) {
        self.change(|state| {
            state.state = "not_enrolled";
            problem.clone_into(&mut state.last_error);
        });
    }

    pub(super) fn connecting(&self, identity: &Identity) {
        self.change(|state| {
            state.state = "connecting";
            identity.server_url.as_str().clone_into(&mut state.server);
            state.device_uid = identity.device_uid.to_string();
            state.certificate_not_after = identity.validity().ok().map(|validity| validity.not_after);
        });
    }

    pub(super) fn connected(&self) {
        self.change(|state| {
            state.state = "connected";
            state.sessions += 1;
            state.last_error.clear();
        });
    }

    pub(super) fn failed(&self, reason: &str, identity: &Identity) {
        self.connecting(identity);
        self.change(|state| reason.clone_into(&mut state.last_error));
    }

    pub(super) fn sent(&self, batches: u64) {
        self.change(|state| state.batches_sent += batches);
    }

    pub(super) fn refused(&self) {
        self.change(|state| state.batches_refused += 1);
    }
}
