//! The book-keeping behind "nothing lost": what was made, what is stored, what the loss events own up to.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{ctl::Ctl, host_load::NumberedFiles};

/// File activities a number makes: create (1), update (3), delete (4).
const ACTIVITIES: u64 = 3;
/// One row a number must fit into one answer of the server.
const NUMBERS_MAX: u64 = 99_000;

/// What the store says about the numbered files.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Activities that were made.
    pub made: u64,
    /// Activities that are stored.
    pub stored: u64,
    /// Updates that are stored without a name: the file was closed while a fork of another thread still held it, and removed before the
    /// sensor's sweep came by. They are stored activities whose number nobody can tell any more.
    pub nameless: u64,
    /// Activities that are not stored.
    pub missing: u64,
    /// File events that loss events count.
    pub counted: u64,
    /// Loss events that could not count.
    pub uncounted: u64,
}

/// One loss event.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the cause is read in the messages of a failure, by Debug")]
struct Loss {
    cause: String,
    count: Option<u64>,
    since_us: i64,
    until_us: i64,
}

/// Compares what `files` made with what the server of `ctl` stores. Fails where an activity is stored twice, or is missing and no loss
/// event owns up to it: by count where every loss could be counted, else by the span of time.
pub fn balance(ctl: &Ctl, files: &NumberedFiles, suffix: &str) -> Result<Account> {
    ensure!(files.made() <= NUMBERS_MAX, "{} numbers are more than one answer holds", files.made());
    let stored = stored_activities(ctl, suffix)?;
    let losses = losses(ctl)?;
    let mut account = Account { made: files.made() * ACTIVITIES, ..Account::default() };
    let mut missing_numbers = BTreeSet::new();
    for number in 0..files.made() {
        let kinds = stored.get(&number).copied().unwrap_or_default();
        ensure!(kinds <= ACTIVITIES, "number {number} has {kinds} kinds of activity, {ACTIVITIES} were made");
        account.stored += kinds;
        account.missing += ACTIVITIES - kinds;
        if kinds < ACTIVITIES {
            missing_numbers.insert(number);
        }
    }
    account.nameless = ctl.number("SELECT count(*) FROM events WHERE class_uid = 1001 AND activity_id = 3 AND (file_name IS NULL OR file_name = '')")?;
    ensure!(account.nameless <= account.missing, "{account:?}: more nameless updates than numbers without one");
    account.stored += account.nameless;
    account.missing -= account.nameless;
    // What is there of the first incomplete numbers says which kind of activity went missing.
    let sample: Vec<_> = missing_numbers.iter().take(8).map(|number| kinds_of(ctl, suffix, *number)).collect::<Result<_>>()?;
    account.counted = losses.iter().filter_map(|loss| loss.count).sum();
    account.uncounted = losses.iter().filter(|loss| loss.count.is_none()).count() as u64;
    if account.uncounted == 0 {
        ensure!(account.missing == account.counted, "{account:?}: what is missing is not what was counted; incomplete: {sample:?}; losses: {losses:?}");
    } else {
        ensure!(account.missing >= account.counted, "{account:?}: more was counted as lost than is missing; losses: {losses:?}");
    }
    let mut nameless = account.nameless;
    for number in missing_numbers {
        // A number that lacks nothing but its update may be one of the nameless.
        if nameless > 0 && stored.get(&number) == Some(&(ACTIVITIES - 1)) {
            nameless -= 1;
            continue;
        }
        let at_us = files.made_at(number).context("a number that was made")?.div_euclid(1_000);
        // A file lives for well under 100 ms; its activities may fall on either side of a span's edge.
        let owned = losses.iter().any(|loss| loss.since_us - 100_000 <= at_us && at_us <= loss.until_us + 100_000);
        ensure!(
            owned,
            "number {number}, made at {at_us} us, is missing and no loss event spans it; of it: {}; losses: {losses:?}",
            kinds_of(ctl, suffix, number)?
        );
    }
    Ok(account)
}

/// How many different activities of each number are stored; fails where one is stored twice.
fn stored_activities(ctl: &Ctl, suffix: &str) -> Result<BTreeMap<u64, u64>> {
    let rows = ctl.sql(&format!(
        "SELECT file_name, count(DISTINCT activity_id) AS kinds, count(*) AS times FROM events \
         WHERE class_uid = 1001 AND activity_id IN (1, 3, 4) AND file_name LIKE 'n-%{suffix}' GROUP BY file_name"
    ))?;
    let mut stored = BTreeMap::new();
    for row in rows {
        let name = row.get("file_name").and_then(Value::as_str).with_context(|| format!("row {row}"))?;
        let number = name.strip_prefix("n-").and_then(|name| name.strip_suffix(suffix)).with_context(|| format!("file {name}"))?;
        let field = |name: &str| row.get(name).and_then(Value::as_u64).with_context(|| format!("{name} of {row}"));
        let (kinds, times) = (field("kinds")?, field("times")?);
        ensure!(kinds == times, "number {number}: {times} events of {kinds} kinds, so one is stored twice");
        stored.insert(number.parse()?, kinds);
    }
    Ok(stored)
}

fn kinds_of(ctl: &Ctl, suffix: &str, number: u64) -> Result<String> {
    let rows = ctl.sql(&format!("SELECT activity_id, flags, time, metadata_sequence FROM events WHERE file_name = 'n-{number}{suffix}' ORDER BY time"))?;
    Ok(format!("{number}: {}", Value::from(rows)))
}

/// Losses that may hold files. What the spool refuses it counts by class, so that a count of its without one is of rarer classes.
fn losses(ctl: &Ctl) -> Result<Vec<Loss>> {
    let rows = ctl.sql(
        "SELECT loss_cause, loss_count, arrow_cast(loss_start_time, 'Int64') AS since_us, arrow_cast(loss_end_time, 'Int64') AS until_us FROM events \
         WHERE loss_cause IS NOT NULL AND (loss_class_uid = 1001 OR coalesce(loss_class_uid, 0) = 0) \
         AND NOT (loss_cause = 'spool_full' AND coalesce(loss_class_uid, 0) = 0)",
    )?;
    rows.iter()
        .map(|row| {
            let time = |name: &str| row.get(name).and_then(Value::as_i64).with_context(|| format!("{name} of {row}"));
            let cause = row.get("loss_cause").and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(Loss {
                // Runs of probes are not all events.
                count: row.get("loss_count").and_then(Value::as_u64).filter(|_| cause != "probe_missed"),
                cause,
                since_us: time("since_us")?,
                until_us: time("until_us")?,
            })
        })
        .collect()
}
