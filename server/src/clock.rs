//! The server's wall clock, in the units of the event model and of the API.

use std::time::{SystemTime, UNIX_EPOCH};

use picket_event::Timestamp;

/// Now, by the server's clock. A clock before 1970 reads as 1970: every certificate is then not yet valid, so that nothing is accepted.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}

/// `at` and that many seconds.
#[must_use]
pub fn after(at: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000)))
}

/// As the API's messages carry it.
#[must_use]
pub fn to_proto(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1_000_000_000)).unwrap_or(0);
    prost_types::Timestamp { seconds: at.0.div_euclid(1_000_000_000), nanos }
}

/// From an API message; what no event can have (before 1678, after 2262) is cut to the nearest that one can.
#[must_use]
pub fn from_proto(at: &prost_types::Timestamp) -> Timestamp {
    Timestamp(at.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(at.nanos)))
}

/// RFC 3339, for people.
#[must_use]
pub fn text(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.0)).map_or_else(|_| at.0.to_string(), |at| format!("{at:.3}"))
}
