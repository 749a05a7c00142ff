//! Attempts that were refused, kept for the admin: who, why, how often.
//!
//! Whoever reaches a port can cause refusals, so that recording one costs no I/O, same refusals of the same peer within a minute are one
//! row with a count, and the number of peers told apart within a minute is bounded.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use picket_event::{DeviceUid, Timestamp};
use tracing::{error, warn};

use crate::{
    clock,
    metrics::Metrics,
    state::{RefusalRow, State, StateError},
};

/// Same refusals within this time share a row.
const SAME_ROW_NS: i64 = 60_000_000_000;
/// Peers and reasons told apart at a time. An adversary with more addresses than that shares one row, whose address is `0.0.0.0`.
const KEYS_MAX: usize = 4_096;
const DETAIL_CHARS_MAX: usize = 256;
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

/// Why a peer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// An agent call without a client certificate.
    NoCertificate,
    /// A certificate that our CA has not signed.
    UnknownCa,
    /// A certificate that has expired.
    Expired,
    /// A certificate from the future.
    NotYetValid,
    /// A certificate that cannot be used for this.
    BadCertificate,
    /// A device that an admin revoked.
    Revoked,
    /// A message or certificate that claims to be another device.
    IdentityMismatch,
    /// Two hosts with one identity at once.
    PossibleClone,
    /// An enrolment token or sign-in code that is not good.
    BadToken,
    /// Too many attempts.
    RateLimited,
    /// Bytes that are not what the contract says.
    Malformed,
    /// Messages in an order that the contract forbids.
    ProtocolViolation,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::NoCertificate,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::BadCertificate,
        Self::Revoked,
        Self::IdentityMismatch,
        Self::PossibleClone,
        Self::BadToken,
        Self::RateLimited,
        Self::Malformed,
        Self::ProtocolViolation,
    ];

    /// The name in the API, the log and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownCa => "unknown_ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BadCertificate => "bad_certificate",
            Self::Revoked => "revoked",
            Self::IdentityMismatch => "identity_mismatch",
            Self::PossibleClone => "possible_clone",
            Self::BadToken => "bad_token",
            Self::RateLimited => "rate_limited",
            Self::Malformed => "malformed",
            Self::ProtocolViolation => "protocol_violation",
        }
    }
}

/// Records refusals and writes them in the background.
pub struct Refusals {
    state: State,
    metrics: Arc<Metrics>,
    open: Mutex<HashMap<Key, Entry>>,
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    peer: IpAddr,
    reason: RefusalReason,
    device: Option<DeviceUid>,
}

struct Entry {
    row: RefusalRow,
    dirty: bool,
}

impl Refusals {
    /// Nothing recorded yet.
    #[must_use]
    pub fn new(state: State, metrics: Arc<Metrics>) -> Self {
        Self { state, metrics, open: Mutex::default(), flushing: tokio::sync::Mutex::default() }
    }

    /// Records one refusal. `device` is the proven or claimed one.
    pub fn record(&self, peer: IpAddr, reason: RefusalReason, device: Option<DeviceUid>, detail: &str) {
        self.metrics.refused(reason);
        let now = clock::now();
        let detail = sanitise(detail, DETAIL_CHARS_MAX);
        let mut key = Key { peer, reason, device };
        let mut open = self.open.lock();
        if !open.contains_key(&key) && open.len() >= KEYS_MAX {
            key = Key { peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED), reason, device: None };
        }
        match open.get_mut(&key) {
            Some(entry) if now.0.saturating_sub(entry.row.first_at.0) < SAME_ROW_NS => {
                entry.row.count = entry.row.count.saturating_add(1);
                entry.row.last_at = now;
                entry.row.detail = detail;
                entry.dirty = true;
            }
            _ => {
                warn!(peer = %key.peer, reason = reason.name(), device = ?key.device, %detail, "refused");
                open.insert(key, Entry { row: key.row(now, detail), dirty: true });
            }
        }
    }

    /// Writes what is not written yet; after it the state store tells everything recorded before the call.
    pub async fn flush(&self) -> Result<(), StateError> {
        let _one_at_a_time = self.flushing.lock().await;
        let (keys, rows): (Vec<_>, Vec<_>) = {
            let now = clock::now();
            let mut open = self.open.lock();
            open.retain(|_, entry| entry.dirty || now.0.saturating_sub(entry.row.first_at.0) < SAME_ROW_NS);
            let dirty = open.iter_mut().filter(|(_, entry)| entry.dirty);
            dirty
                .map(|(key, entry)| {
                    entry.dirty = false;
                    (*key, entry.row.clone())
                })
                .unzip()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.state.save_refusals(&rows).await;
        let mut open = self.open.lock();
        for (index, (key, row)) in keys.iter().zip(&rows).enumerate() {
            // A row that began anew in the meantime is another one.
            let Some(entry) = open.get_mut(key).filter(|entry| entry.row.first_at == row.first_at) else { continue };
            match &written {
                Ok(ids) => entry.row.id = ids.get(index).copied(),
                Err(_) => entry.dirty = true,
            }
        }
        written.map(|_| ())
    }

    /// Writes in the background until told to stop, and once more then.
    pub async fn run(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(FLUSH_INTERVAL) => false,
            };
            if let Err(error) = self.flush().await {
                error!(error = &error as &dyn std::error::Error, "cannot write refusals; they stay in memory");
            }
            if last {
                return;
            }
        }
    }
}

impl Key {
    fn row(&self, at: Timestamp, detail: String) -> RefusalRow {
        RefusalRow {
            id: None,
            first_at: at,
            last_at: at,
            peer_address: self.peer.to_string(),
            reason: self.reason.name().to_owned(),
            device_uid: self.device.map(|device| device.to_string()).unwrap_or_default(),
            detail,
            count: 1,
        }
    }
}

/// A peer's text, fit for a log line and a table: no control characters, not longer than `chars_max`.
#[must_use]
pub fn sanitise(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusals() -> (tempfile::TempDir, Refusals) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let metrics = Arc::new(Metrics::new());
        (folder, Refusals::new(state, metrics))
    }

    #[tokio::test]
    async fn the_same_refusal_is_one_row_with_a_count() {
        let (_folder, refusals) = refusals().await;
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        for round in 0..5 {
            refusals.record(peer, RefusalReason::UnknownCa, None, &format!("round {round}\n"));
            refusals.flush().await.unwrap();
        }
        refusals.record(peer, RefusalReason::Expired, None, "");
        refusals.flush().await.unwrap();
        let rows = refusals.state.refusals(10).await.unwrap();
        assert_eq!(rows.len(), 2);
        let counted = rows.iter().find(|row| row.reason == "unknown_ca").unwrap();
        assert_eq!((counted.count, counted.detail.as_str()), (5, "round 4\u{fffd}"));
    }

    #[tokio::test]
    async fn a_flood_from_many_addresses_stays_bounded_and_counted() {
        let (_folder, refusals) = refusals().await;
        let addresses = 3 * u32::try_from(KEYS_MAX).unwrap();
        for address in 0..addresses {
            refusals.record(IpAddr::V4(Ipv4Addr::from(address + 1)), RefusalReason::BadToken, None, "");
        }
        assert!(refusals.open.lock().len() <= KEYS_MAX + 1);
        refusals.flush().await.unwrap();
        let total: i64 = refusals.state.refusals(100_000).await.unwrap().iter().map(|row| row.count).sum();
        assert_eq!(total, i64::from(addresses));
    }
}
