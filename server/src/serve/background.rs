//! Work that nobody asks for: the server's certificate, old certificates, systemd's watchdog.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{clock, pki::ServerCertificate, state::State};

/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);
const PRUNE_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// An expired certificate stays known for a while, so that its key cannot be used again.
const PRUNE_AFTER_S: u64 = 90 * 24 * 3600;

/// Replaces the server's certificate before it expires.
pub(super) async fn renew_certificate(certificate: Arc<ServerCertificate>, stop: CancellationToken) {
    loop {
        let until = u64::try_from(certificate.renew_at().0.saturating_sub(clock::now().0)).unwrap_or(0);
        // At most a minute at a time: a clock that was stepped moves the due time too.
        let nap = Duration::from_nanos(until).clamp(Duration::from_millis(100), Duration::from_secs(60));
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(nap) => {}
        }
        if clock::now() < certificate.renew_at() {
            continue;
        }
        match certificate.renew() {
            Ok(()) => info!("the server's certificate was renewed"),
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the server's certificate could not be renewed");
                sleep(RETRY).await;
            }
        }
    }
}

/// Forgets certificates that expired long ago.
pub(super) async fn prune_certificates(state: State, stop: CancellationToken) {
    loop {
        let before = picket_event::Timestamp(clock::now().0.saturating_sub(clock::after(picket_event::Timestamp(0), PRUNE_AFTER_S).0));
        if let Err(error) = state.prune_certificates(before).await {
            warn!(error = &error as &dyn std::error::Error, "old certificates could not be forgotten");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(PRUNE_INTERVAL) => {}
        }
    }
}

/// Tells systemd that the runtime still turns, where it wants to know.
pub(super) async fn watchdog(stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    loop {
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
            warn!(%error, "systemd cannot be told");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(limit / 3) => {}
        }
    }
}
