//! Values of typed fields: numbers, moments, captions.

use picket_event::EventClass;

use super::{QueryError, fields::closest};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A moment as it was written: a whole day has two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Microseconds since the Unix epoch.
    pub(super) start: i64,
    /// Where it ends, exclusive: the next day for a date, the next microsecond for a time.
    pub(super) end: i64,
}

/// Reads an integer.
pub(super) fn integer(text: &str, position: usize) -> Result<i64, QueryError> {
    text.parse().map_err(|_| QueryError::new(format!("{text:?} is not a number"), position))
}

/// Reads a date, a time with its zone, `now`, or how long ago (`15m`, `24h`, `7d`).
pub(super) fn moment(text: &str, now: i64, position: usize) -> Result<Moment, QueryError> {
    let at = |start: i64| Moment { start, end: start.saturating_add(1) };
    if text == "now" {
        return Ok(at(now));
    }
    if let Some(ago) = duration(text) {
        return Ok(at(now.saturating_sub(ago)));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(at(time.as_microsecond()));
    }
    if let Some(day) = crate::schema::Day::parse(text) {
        let start = i64::from(day.0) * MICROS_PER_DAY;
        return Ok(Moment { start, end: start + MICROS_PER_DAY });
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>().map_err(drop).and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).map_err(drop)) {
        return Ok(at(time.timestamp().as_microsecond()));
    }
    Err(QueryError::new(format!("{text:?} is not a time; write 2026-11-21, 2026-11-21T14:00:00Z, or how long ago: 15m, 24h, 7d"), position))
}

fn duration(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: i64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
    count.checked_mul(seconds)?.checked_mul(MICROS_PER_SECOND)
}

/// Classes by a word of their caption, or what people call them.
const CLASSES: &[(&str, i32)] = &[
    ("process", EventClass::ProcessActivity.uid()),
    ("file", EventClass::FileSystemActivity.uid()),
    ("network", EventClass::NetworkActivity.uid()),
    ("connection", EventClass::NetworkActivity.uid()),
    ("log", EventClass::EventLogActivity.uid()),
    ("loss", EventClass::EventLogActivity.uid()),
    ("config", EventClass::DeviceConfigState.uid()),
    ("capabilities", EventClass::DeviceConfigState.uid()),
    ("finding", EventClass::DetectionFinding.uid()),
    ("compliance", EventClass::ComplianceFinding.uid()),
    ("posture", EventClass::ComplianceFinding.uid()),
    ("dns", EventClass::DnsActivity.uid()),
    ("memory", EventClass::MemoryActivity.uid()),
    ("module", EventClass::ModuleActivity.uid()),
    ("kernel", EventClass::KernelActivity.uid()),
    ("extension", EventClass::KernelExtensionActivity.uid()),
    ("scan", EventClass::ScanActivity.uid()),
    ("gpu", EventClass::DeviceInventoryInfo.uid()),
];

/// Reads a class.
pub(super) fn class(text: &str, position: usize) -> Result<i32, QueryError> {
    let word = text.to_ascii_lowercase();
    if let Ok(uid) = word.parse() {
        return Ok(uid);
    }
    if let Some(class) = EventClass::ALL.into_iter().find(|class| class.caption().eq_ignore_ascii_case(&word)) {
        return Ok(class.uid());
    }
    let exact = CLASSES.iter().find(|(name, _)| *name == word || word.strip_suffix('s') == Some(name) || word.strip_suffix("es") == Some(name));
    exact.map(|(_, uid)| *uid).ok_or_else(|| unknown("class", text, CLASSES.iter().map(|(name, _)| *name), position))
}

/// What one activity word means: class, `activity_id`, and what sets it apart further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    word: &'static str,
    pub(super) class: i32,
    pub(super) activity: i32,
    /// A column and its value.
    pub(super) detail: Option<(&'static str, i32)>,
}

const fn deed(word: &'static str, class: i32, activity: i32) -> Deed {
    Deed { word, class, activity, detail: None }
}

const DEEDS: &[Deed] = &[
    deed("launch", 1007, 1),
    Deed { detail: Some(("launch_type_id", 2)), ..deed("fork", 1007, 1) },
    Deed { detail: Some(("launch_type_id", 3)), ..deed("exec", 1007, 1) },
    deed("terminate", 1007, 2),
    deed("exit", 1007, 2),
    deed("reach", 1007, 3),
    deed("inject", 1007, 4),
    deed("set_user_id", 1007, 5),
    deed("create", 1001, 1),
    deed("read", 1001, 2),
    deed("update", 1001, 3),
    deed("write", 1001, 3),
    deed("delete", 1001, 4),
    deed("rename", 1001, 5),
    deed("set_attributes", 1001, 6),
    deed("set_security", 1001, 7),
    deed("mount", 1001, 12),
    deed("unmount", 1001, 13),
    deed("link", 1001, 99),
    deed("open", 1001, 14),
    deed("open", 4001, 1),
    Deed { detail: Some(("connection_info_direction_id", 2)), ..deed("connect", 4001, 1) },
    Deed { detail: Some(("connection_info_direction_id", 1)), ..deed("accept", 4001, 1) },
    deed("close", 4001, 2),
    deed("fail", 4001, 4),
    deed("refuse", 4001, 5),
    deed("traffic", 4001, 6),
    deed("listen", 4001, 7),
    deed("query", 4003, 1),
    deed("response", 4003, 2),
    deed("invoke", 1003, 4),
    deed("load", 1005, 1),
    deed("load", 1002, 1),
    deed("unload", 1002, 2),
    deed("map", 1004, 9),
    deed("read", 1004, 7),
    deed("write", 1004, 8),
    deed("loss", 1008, 99),
    deed("start", 1008, 6),
    deed("stop", 1008, 7),
];

/// Reads what was done; several meanings are alternatives.
pub(super) fn deeds(text: &str, position: usize) -> Result<Vec<Deed>, QueryError> {
    let word = text.to_ascii_lowercase();
    let found: Vec<_> = DEEDS.iter().filter(|deed| deed.word == word).copied().collect();
    if found.is_empty() { Err(unknown("activity", text, DEEDS.iter().map(|deed| deed.word), position)) } else { Ok(found) }
}

const SEVERITIES: [&str; 7] = ["unknown", "informational", "low", "medium", "high", "critical", "fatal"];

/// Reads a severity.
pub(super) fn severity(text: &str, position: usize) -> Result<i64, QueryError> {
    let word = text.to_ascii_lowercase();
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let found = (0..).zip(SEVERITIES).find(|(_, name)| *name == word);
    found.map(|(id, _)| id).ok_or_else(|| unknown("severity", text, SEVERITIES.into_iter(), position))
}

fn unknown(what: &str, text: &str, known: impl Iterator<Item = &'static str> + Clone, position: usize) -> QueryError {
    let word = text.to_ascii_lowercase();
    let hint = closest(&word, known.clone()).map_or_else(
        || {
            let mut names: Vec<_> = known.collect();
            names.dedup();
            format!("known are {}", names.join(", "))
        },
        |name| format!("did you mean {name:?}?"),
    );
    QueryError::new(format!("no {what} {text:?}; {hint}"), position)
}

#[cfg(test)]
mod tests {
    use picket_event::Severity;

    use super::*;

    #[test]
    fn severities_are_those_of_the_schema() {
        for (id, name) in (0..).zip(SEVERITIES) {
            assert_eq!(Severity::from_id(id).caption().to_ascii_lowercase(), name);
        }
    }

    #[test]
    fn moments() {
        let day = 20_778 * MICROS_PER_DAY;
        let now = day + 5;
        assert_eq!(moment("2026-11-21", now, 0), Ok(Moment { start: day, end: day + MICROS_PER_DAY }));
        assert_eq!(moment("2026-11-21T00:00:01Z", now, 0).unwrap().start, day + MICROS_PER_SECOND);
        assert_eq!(moment("2026-11-21T01:00:00+01:00", now, 0).unwrap().start, day);
        assert_eq!(moment("2026-11-21T00:00:01", now, 0).unwrap().start, day + MICROS_PER_SECOND);
        assert_eq!(moment("1h", now, 0).unwrap().start, now - 3_600 * MICROS_PER_SECOND);
        assert_eq!(moment("now", now, 0).unwrap().start, now);
        for bad in ["", "yesterday", "h", "-5m", "99999999999999999999d", "9223372036854775807w", "2026-13-01", "é"] {
            assert!(moment(bad, now, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn captions() {
        assert_eq!(class("File", 0), Ok(1001));
        assert_eq!(class("processes", 0), Ok(1007));
        assert_eq!(class("Network Activity", 0), Ok(4001));
        assert_eq!(class("2004", 0), Ok(2004));
        assert!(class("procss", 0).unwrap_err().message.contains("did you mean \"process\"?"));
        assert_eq!(deeds("open", 0).unwrap().len(), 2);
        assert_eq!(severity("HIGH", 0), Ok(4));
    }
}
