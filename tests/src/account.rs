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
        let kinds = stored.get(&number).copied().unwrap_or_default().kinds;
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
    account.counted = losses.iter().filter_map(|loss| loss.count).sum();
    account.uncounted = losses.iter().filter(|loss| loss.count.is_none()).count() as u64;
    let made_at_us = |number| files.made_at(number).map(|at_ns| at_ns.div_euclid(1_000)).context("a number that was made");
    let missing = missing_numbers.into_iter().map(|number| Ok((number, made_at_us(number)?))).collect::<Result<Vec<_>>>()?;
    let evidence = || evidence(ctl, suffix, &missing, &losses);
    if account.uncounted == 0 {
        ensure!(account.missing == account.counted, "{account:?}: what is missing is not what was counted; {}", evidence()?);
    } else {
        ensure!(account.missing >= account.counted, "{account:?}: more was counted as lost than is missing; {}", evidence()?);
    }
    if let Some((number, at_us)) = unowned(&missing, &stored, &losses, account.nameless) {
        anyhow::bail!("{account:?}: number {number}, made at {at_us} us, is missing and no loss event spans it; {}", evidence()?);
    }
    Ok(account)
}

/// The first of the missing numbers, each with when it was made in microseconds, that neither a loss event nor an update without a name owns up to.
fn unowned(missing: &[(u64, i64)], stored: &BTreeMap<u64, Stored>, losses: &[Loss], mut nameless: u64) -> Option<(u64, i64)> {
    let mut left = missing.iter().filter(|(_, at_us)| !spanned(losses, *at_us));
    left.find(|(number, _)| {
        // What no loss owns may be one of the nameless, where it lacks nothing but its update.
        let may_be_nameless = stored.get(number).is_some_and(|stored| stored.kinds == ACTIVITIES - 1 && !stored.updated);
        let is_nameless = may_be_nameless && nameless > 0;
        nameless -= u64::from(is_nameless);
        !is_nameless
    })
    .copied()
}

/// What is stored of a number.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    /// Different activities.
    kinds: u64,
    /// The update is one of them.
    updated: bool,
}

/// Fails where an activity is stored twice.
fn stored_activities(ctl: &Ctl, suffix: &str) -> Result<BTreeMap<u64, Stored>> {
    let rows = ctl.sql(&format!(
        "SELECT file_name, count(DISTINCT activity_id) AS kinds, count(*) AS times, \
         count(*) FILTER (WHERE activity_id = 3) AS updates FROM events \
         WHERE class_uid = 1001 AND activity_id IN (1, 3, 4) AND file_name LIKE 'n-%{suffix}' GROUP BY file_name"
    ))?;
    let mut stored = BTreeMap::new();
    for row in rows {
        let name = row.get("file_name").and_then(Value::as_str).with_context(|| format!("row {row}"))?;
        let number = name.strip_prefix("n-").and_then(|name| name.strip_suffix(suffix)).with_context(|| format!("file {name}"))?;
        let field = |name: &str| row.get(name).and_then(Value::as_u64).with_context(|| format!("{name} of {row}"));
        let (kinds, times) = (field("kinds")?, field("times")?);
        if kinds != times {
            let rows = ctl.sql(&format!("SELECT * FROM events WHERE file_name = '{name}' ORDER BY time"))?;
            anyhow::bail!("number {number}: {times} events of {kinds} kinds, so one is stored twice: {}", Value::from(rows));
        }
        stored.insert(number.parse()?, Stored { kinds, updated: field("updates")? > 0 });
    }
    Ok(stored)
}

/// A file lives for well under 100 ms; its activities may fall on either side of a span's edge.
fn spanned(losses: &[Loss], at_us: i64) -> bool {
    losses.iter().any(|loss| loss.since_us - 100_000 <= at_us && at_us <= loss.until_us + 100_000)
}

/// What is stored of the first numbers that are missing outside of every loss, and which updates came without a name.
fn evidence(ctl: &Ctl, suffix: &str, missing: &[(u64, i64)], losses: &[Loss]) -> Result<String> {
    let columns = "file_name, activity_id, flags, time, metadata_sequence";
    let outside = missing.iter().filter(|(_, at_us)| !spanned(losses, *at_us)).take(40);
    let names: Vec<_> = outside.map(|(number, _)| format!("'n-{number}{suffix}'")).chain(["''".to_owned()]).collect();
    let outside = ctl.sql(&format!("SELECT {columns} FROM events WHERE file_name IN ({}) ORDER BY time", names.join(", ")))?;
    let nameless =
        ctl.sql(&format!("SELECT {columns} FROM events WHERE class_uid = 1001 AND activity_id = 3 AND coalesce(file_name, '') = '' ORDER BY time LIMIT 40"))?;
    Ok(format!("outside of losses: {}; without a name: {}; losses: {losses:?}", Value::from(outside), Value::from(nameless)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_without_a_name_is_that_of_a_number_that_no_loss_owns() {
        let loss = Loss { cause: "agent_down".to_owned(), count: None, since_us: 1_000_000, until_us: 4_000_000 };
        let whole_but_delete = Stored { kinds: 2, updated: true };
        let whole_but_update = Stored { kinds: 2, updated: false };
        // At the edge of the span one number lost its delete, and one its update; of a third, long after, the update came without a name.
        let stored = BTreeMap::from([(7, whole_but_delete), (8, whole_but_update), (11, whole_but_update), (12, whole_but_delete)]);
        let edge = [(7, 950_000), (8, 1_050_000)];
        let with = |number: u64| [edge.as_slice(), &[(number, 4_200_000)]].concat();
        assert_eq!(unowned(&with(11), &stored, std::slice::from_ref(&loss), 1), None);
        assert_eq!(unowned(&with(11), &stored, std::slice::from_ref(&loss), 0), Some((11, 4_200_000)));
        assert_eq!(unowned(&with(12), &stored, std::slice::from_ref(&loss), 1), Some((12, 4_200_000)), "it has its update");
        assert_eq!(unowned(&with(13), &stored, &[loss], 1), Some((13, 4_200_000)), "nothing of it is stored");
    }
}
