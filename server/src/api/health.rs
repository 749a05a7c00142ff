//! `/livez` and `/readyz`: no token needed, nothing told but ready or what is not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::sync::Mutex;

use super::Api;

/// Anyone may ask, so that the database is asked at most that often.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The last readiness check.
#[derive(Default)]
pub struct Readiness(Mutex<Option<(Instant, bool)>>);

pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(readyz)).with_state(api)
}

async fn readyz(State(api): State<Arc<Api>>) -> (StatusCode, &'static str) {
    if api.lake.stats().disk_full {
        return (StatusCode::SERVICE_UNAVAILABLE, "disk nearly full\n");
    }
    if !api.state_is_ready().await {
        return (StatusCode::SERVICE_UNAVAILABLE, "state store does not answer\n");
    }
    (StatusCode::OK, "ready\n")
}

impl Api {
    async fn state_is_ready(&self) -> bool {
        let mut last = self.readiness.0.lock().await;
        match *last {
            Some((at, ready)) if at.elapsed() < CHECK_INTERVAL => ready,
            _ => {
                let ready = tokio::time::timeout(Duration::from_secs(2), self.state.is_ready()).await.unwrap_or(false);
                *last = Some((Instant::now(), ready));
                ready
            }
        }
    }
}
