//! Points in time as people type them, and as tables show them.

use jiff::{SignedDuration, Timestamp, Unit};

/// `15m`, `24h`, `7d` before `now`, or an RFC 3339 instant.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no time: say 15m, 24h, 7d, or 2026-01-31T12:00:00Z");
    if let Some(age) = span(text) {
        return now.checked_sub(age).map_err(|_| wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// A length of time: `90s`, `15m`, `24h`, `7d`, `2w`.
pub(crate) fn span(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(seconds).map(SignedDuration::from_secs)
}

/// Of the wire.
pub(crate) fn to_wire(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// Of the wire, where it is in range.
pub(crate) fn from_wire(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
}

/// `2026-01-31 12:00:00Z`, or `-` where there is none.
pub(crate) fn date(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// How long ago, in one unit: `3s`, `5m`, `4h`, `9d`.
pub(crate) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "-".to_owned() };
    short(now.duration_since(at))
}

/// A length in its largest whole unit; what lies in the future has a minus.
pub(crate) fn short(span: SignedDuration) -> String {
    let seconds = span.as_secs();
    let sign = if seconds < 0 { "-" } else { "" };
    let seconds = seconds.unsigned_abs();
    let (value, unit) = match seconds {
        0..=119 => (seconds, "s"),
        120..=7_199 => (seconds / 60, "m"),
        7_200..=172_799 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{sign}{value}{unit}")
}

/// Rounded to milliseconds, with or without the date.
pub(crate) fn event_time(milliseconds: i64, dated: bool) -> String {
    let Ok(at) = Timestamp::from_millisecond(milliseconds) else { return "?".to_owned() };
    let at = at.round(Unit::Millisecond).unwrap_or(at);
    at.strftime(if dated { "%m-%d %H:%M:%S" } else { "%H:%M:%S%.3f" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-02-03T04:05:06Z".parse().unwrap()
    }

    #[test]
    fn ages_and_instants_are_understood() {
        for (text, expected) in [
            ("15m", "2026-02-03T03:50:06Z"),
            ("24h", "2026-02-02T04:05:06Z"),
            ("7d", "2026-01-27T04:05:06Z"),
            ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"),
        ] {
            assert_eq!(parse(text, now()).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "h", "-5m", "5", "5y", "yesterday", "99999999999999999999d", "9223372036854775807w", "9223372036854775d", "1.5h", "٣h"] {
            assert!(parse(text, now()).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_read_short() {
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d"), (-5, "-5s")] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
        assert_eq!(ago(None, now()), "-");
    }

    #[test]
    fn event_times_are_utc() {
        assert_eq!(event_time(1_700_000_000_123, false), "22:13:20.123");
        assert_eq!(event_time(1_700_000_000_123, true), "11-14 22:13:20");
        assert_eq!(event_time(i64::MAX, true), "?");
    }
}
