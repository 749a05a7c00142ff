//! The list of files that make up one version of the table, with the statistics that rule files out.

use std::{collections::BTreeMap, sync::Arc};

use picket_event::columns::PARTITION;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schema::Day;

/// Tag of a file whose rows are sorted, for other readers of the log. Ours goes by the name: the library does not hand out tags.
pub(crate) const SORTED_TAG: &str = "picket.sorted";
/// First part of a file's name: as received, sorted by device and time, or that and all of a day that is over.
pub(crate) const FRESH: &str = "fresh";
pub(crate) const SORTED: &str = "sorted";
pub(crate) const WHOLE_DAY: &str = "whole";

/// One Parquet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    /// Relative to the table's folder.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) day: Day,
    pub(crate) stats: FileStats,
}

/// What is known of a file's rows. Absent where a stranger wrote the file without statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileStats {
    /// Lowest and highest `time`, microseconds; the highest may be rounded up.
    pub(crate) time: Option<(i64, i64)>,
    /// Lowest and highest `device_uid`.
    pub(crate) device: Option<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeltaStats {
    num_records: u64,
    #[serde(default)]
    min_values: Bounds,
    #[serde(default)]
    max_values: Bounds,
}

#[derive(Default, Serialize, Deserialize)]
struct Bounds {
    time: Option<String>,
    device_uid: Option<String>,
}

impl FileMeta {
    /// The statistics as Delta Lake writes them: times in whole milliseconds, the highest rounded up.
    pub(crate) fn stats_json(&self) -> String {
        let time = |micros: i64| jiff::Timestamp::from_millisecond(micros).map(|time| format!("{time:.3}")).unwrap_or_default();
        let mut min = serde_json::Map::new();
        let mut max = serde_json::Map::new();
        let mut nulls = serde_json::Map::new();
        if let Some((low, high)) = self.stats.time {
            min.insert("time".into(), time(low.div_euclid(1000)).into());
            max.insert("time".into(), time(high.div_euclid(1000) + i64::from(high.rem_euclid(1000) != 0)).into());
            nulls.insert("time".into(), 0.into());
        }
        if let Some((low, high)) = &self.stats.device {
            min.insert("device_uid".into(), low.as_str().into());
            max.insert("device_uid".into(), high.as_str().into());
            nulls.insert("device_uid".into(), 0.into());
        }
        json!({ "numRecords": self.rows, "minValues": min, "maxValues": max, "nullCount": nulls }).to_string()
    }

    /// From the parts of an add action. `None` where the file is not one that this server can read.
    pub(crate) fn from_add(path: &str, bytes: i64, partition: Option<&str>, stats: Option<&str>) -> Option<Self> {
        // The log is ours, but others may write to the table: nothing outside its folder.
        if path.starts_with('/') || path.contains("://") || path.split('/').any(|part| part == "..") {
            return None;
        }
        let day = Day::parse(partition?)?;
        let parsed: Option<DeltaStats> = stats.and_then(|stats| serde_json::from_str(stats).ok());
        let rows = parsed.as_ref().map_or(0, |stats| stats.num_records);
        let mut known = FileStats::default();
        if let Some(DeltaStats { min_values, max_values, .. }) = parsed {
            let micros = |text: Option<String>| Some(text?.parse::<jiff::Timestamp>().ok()?.as_microsecond());
            known.time = micros(min_values.time).zip(micros(max_values.time).map(|high| high.saturating_add(999)));
            known.device = min_values.device_uid.zip(max_values.device_uid);
        }
        Some(Self { path: path.to_owned(), bytes: u64::try_from(bytes).ok()?, rows, day, stats: known })
    }

    fn stem(&self) -> &str {
        self.path.rsplit('/').next().and_then(|name| name.split('-').next()).unwrap_or_default()
    }

    /// Part of a day that is over and merged.
    pub(crate) fn is_whole_day(&self) -> bool {
        self.stem() == WHOLE_DAY
    }

    /// Sorted by device and time.
    pub(crate) fn is_sorted(&self) -> bool {
        matches!(self.stem(), SORTED | WHOLE_DAY)
    }

    pub(crate) fn partition_values(&self) -> std::collections::HashMap<String, Option<String>> {
        [(PARTITION.to_owned(), Some(self.day.to_string()))].into()
    }
}

/// All files of one version.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileSet {
    pub(crate) version: u64,
    /// By day, then as added.
    pub(crate) days: BTreeMap<Day, Vec<Arc<FileMeta>>>,
}

impl FileSet {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FileMeta>> {
        self.days.values().flatten()
    }

    pub(crate) fn count(&self) -> u64 {
        self.days.values().map(|files| files.len() as u64).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.iter().map(|file| file.rows).sum()
    }

    pub(crate) fn add(&mut self, file: FileMeta) {
        self.days.entry(file.day).or_default().push(Arc::new(file));
    }

    pub(crate) fn remove(&mut self, file: &FileMeta) {
        if let Some(files) = self.days.get_mut(&file.day) {
            files.retain(|kept| kept.path != file.path);
            if files.is_empty() {
                self.days.remove(&file.day);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_never_exclude_a_row() {
        for (low, high) in [(0, 0), (1_700_000_000_123_456, 1_700_000_000_999_999), (-1, 1), (1_700_000_000_123_000, 1_700_000_000_123_000)] {
            let file = FileMeta {
                path: "day=2026-11-21/a.parquet".into(),
                bytes: 5,
                rows: 7,
                day: Day(20_778),
                stats: FileStats { time: Some((low, high)), device: Some(("a".into(), "b".into())) },
            };
            let read = FileMeta::from_add(&file.path, 5, Some("2026-11-21"), Some(&file.stats_json())).unwrap();
            let (read_low, read_high) = read.stats.time.unwrap();
            assert!(read_low <= low && low - read_low < 1000 && read_high >= high && read_high - high < 2000, "{low} {high} {read:?}");
            assert_eq!((read.rows, read.stats.device), (7, file.stats.device));
        }
    }

    #[test]
    fn files_outside_the_table_are_not_read() {
        for path in ["/etc/passwd", "day=2026-11-21/../../x.parquet", "file:///etc/passwd"] {
            assert_eq!(FileMeta::from_add(path, 5, Some("2026-11-21"), None), None);
        }
    }
}
