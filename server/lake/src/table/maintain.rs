//! What to merge, what to expire, what to delete.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::files::{FileMeta, FileSet};
use crate::{LakeError, Retention, schema::Day};

/// Files of about the same size in one day that are worth a merge. Each row of a day is rewritten once a tier, four times at most before the day ends.
const TIER_FILES: usize = 10;
/// Upper bounds of the tiers, in rows. A larger file waits for the end of its day.
const TIER_ROWS: [u64; 4] = [32_768, 262_144, 2_097_152, 16_777_216];

/// Files to be replaced by sorted ones.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) day: Day,
    pub(crate) files: Vec<Arc<FileMeta>>,
    /// All of a day that is over.
    pub(crate) whole_day: bool,
}

/// The most useful merge: a whole day that is over, else a full tier of today's files. `open` is the first day that may still receive rows.
pub(crate) fn compaction_plan(files: &FileSet, open: Day) -> Option<Plan> {
    let closed = files.days.range(..open).find_map(|(day, files)| whole_day(*day, files));
    closed.or_else(|| {
        files.days.range(open..).find_map(|(day, files)| {
            let mut low = 0;
            TIER_ROWS.iter().find_map(|high| {
                let tier: Vec<_> = files.iter().filter(|file| (low..*high).contains(&file.rows)).cloned().collect();
                low = *high;
                (tier.len() >= TIER_FILES).then_some(Plan { day: *day, files: tier, whole_day: false })
            })
        })
    })
}

/// The merge of all of a day, where it is not done yet.
pub(crate) fn whole_day(day: Day, files: &[Arc<FileMeta>]) -> Option<Plan> {
    files.iter().any(|file| !file.is_whole_day()).then(|| Plan { day, files: files.to_vec(), whole_day: true })
}

/// The days that are over the retention, oldest first, with the reason. `today` is never among them.
pub(crate) fn expiry_plan(files: &FileSet, retention: Retention, today: Day) -> Vec<(Day, &'static str)> {
    let mut bytes = files.bytes();
    let mut expired = Vec::new();
    for (day, files) in files.days.range(..today) {
        let age = today.0.saturating_sub(day.0);
        let too_old = retention.days.is_some_and(|days| i64::from(age) >= i64::from(days.max(1)));
        let too_many = retention.bytes.is_some_and(|max| bytes > max);
        if !(too_old || too_many) {
            break;
        }
        bytes -= files.iter().map(|file| file.bytes).sum::<u64>();
        expired.push((*day, if too_old { "age" } else { "bytes" }));
    }
    expired
}

/// Deletes Parquet files that are in no version a query can still read: not in `files`, and so for longer than `grace`. `orphans` remembers since when.
pub(crate) fn vacuum(dir: &Path, files: &FileSet, grace: Duration, orphans: &mut HashMap<String, Instant>) -> Result<u64, LakeError> {
    let kept: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut seen = HashSet::new();
    let mut deleted = 0;
    let sweep = |orphans: &mut HashMap<String, Instant>, seen: &mut HashSet<String>, deleted: &mut u64| -> std::io::Result<()> {
        for folder in fs::read_dir(dir)? {
            let folder = folder?;
            let Some(folder_name) = folder.file_name().to_str().map(str::to_owned) else { continue };
            if !folder_name.starts_with("day=") {
                continue;
            }
            let mut empty = true;
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                empty = false;
                let name = file.file_name();
                let Some(name) = name.to_str().filter(|name| name.ends_with(".parquet")) else { continue };
                let path = format!("{folder_name}/{name}");
                if kept.contains(path.as_str()) {
                    continue;
                }
                let since = *orphans.entry(path.clone()).or_insert_with(Instant::now);
                // A file that is still being written is in no version either, but its modification time moves.
                let untouched = SystemTime::now().duration_since(file.metadata()?.modified()?).unwrap_or_default();
                if since.elapsed() >= grace && untouched >= grace {
                    fs::remove_file(file.path())?;
                    *deleted += 1;
                } else {
                    seen.insert(path);
                }
            }
            if empty {
                // Fails when a flush has just put a file there: as it should.
                let _ = fs::remove_dir(folder.path());
            }
        }
        Ok(())
    };
    sweep(orphans, &mut seen, &mut deleted).map_err(LakeError::io("vacuuming", dir))?;
    orphans.retain(|path, _| seen.contains(path));
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::files::FileStats;

    fn files(list: &[(i32, &str, u64)]) -> FileSet {
        let mut set = FileSet::default();
        for (day, name, rows) in list {
            set.add(FileMeta { path: format!("day={}/{name}", Day(*day)), bytes: *rows, rows: *rows, day: Day(*day), stats: FileStats::default() });
        }
        set
    }

    #[test]
    fn merges_closed_days_once_and_full_tiers_of_today() {
        let set = files(&[(1, "whole-a.parquet", 5), (2, "fresh-a.parquet", 5), (3, "fresh-b.parquet", 5)]);
        let plan = compaction_plan(&set, Day(3)).unwrap();
        assert_eq!((plan.day, plan.files.len(), plan.whole_day), (Day(2), 1, true));
        let set = files(&[(1, "whole-a.parquet", 5), (3, "fresh-b.parquet", 5)]);
        assert!(compaction_plan(&set, Day(3)).is_none());
        let mut list: Vec<_> = (0..10).map(|_| (3, "fresh-x.parquet", 100)).collect();
        list.push((3, "sorted-y.parquet", 100_000));
        let plan = compaction_plan(&files(&list), Day(3)).unwrap();
        assert_eq!((plan.files.len(), plan.whole_day), (10, false));
        list.truncate(9);
        assert!(compaction_plan(&files(&list), Day(3)).is_none());
    }

    #[test]
    fn expires_whole_days_oldest_first_and_never_today() {
        let set = files(&[(1, "whole-a.parquet", 10), (2, "whole-b.parquet", 10), (3, "fresh-c.parquet", 10)]);
        let days = |retention| expiry_plan(&set, retention, Day(3)).into_iter().map(|(day, why)| (day.0, why)).collect::<Vec<_>>();
        assert_eq!(days(Retention::default()), []);
        assert_eq!(days(Retention { days: Some(2), bytes: None }), [(1, "age")]);
        assert_eq!(days(Retention { days: Some(1), bytes: None }), [(1, "age"), (2, "age")]);
        assert_eq!(days(Retention { days: None, bytes: Some(20) }), [(1, "bytes")]);
        assert_eq!(days(Retention { days: None, bytes: Some(0) }), [(1, "bytes"), (2, "bytes")]);
    }
}
