//! Rules over one region.

use crate::RuleSet;
use crate::compile::{GLOBALS, Loaded};
use picket_artifact::{Region, RegionMatch, RegionOutcome, RegionRules};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use yara_x::errors::ScanError;
use yara_x::{Rules, Scanner};

/// What one region may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds; the engine's clock ticks once a second. A pattern that backtracks over hostile bytes is stopped then, and the scan is partial.
    pub time_max_s: u64,
    /// Matches kept a pattern: a file of one repeated word would otherwise fill memory.
    pub matches_max: usize,
    /// Matched bytes shown.
    pub excerpt_bytes_max: usize,
    /// Rules reported of one region; the rest is counted in the reason that the scan is partial.
    pub rules_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time_max_s: 10, matches_max: 1_000, excerpt_bytes_max: 120, rules_max: 100 }
    }
}

thread_local! {
    /// This thread's scanner, and the set it belongs to.
    static SCANNER: RefCell<Option<(&'static Rules, Scanner<'static>)>> = const { RefCell::new(None) };
}

impl RegionRules for RuleSet {
    fn apply(&self, region: &Region<'_>) -> RegionOutcome {
        if !self.may_match(region.bytes) {
            return RegionOutcome::default();
        }
        match self.loaded() {
            Ok(loaded) => self.scan(loaded, region),
            Err(errors) => stopped(&format!("the YARA rules could not be loaded: {errors}")),
        }
    }

    fn identity(&self) -> String {
        RuleSet::identity(self)
    }
}

impl RuleSet {
    /// Loads the rules and has this thread make what it needs to apply them: memory for code and the engine's clock, which a process that locks itself
    /// in can make no more.
    ///
    /// # Errors
    /// Why the rules cannot be applied.
    pub fn warm_up(&self) -> Result<(), String> {
        let loaded = self.loaded().map_err(ToString::to_string)?;
        let region = Region { member: "", name: "", format: picket_artifact::Format::Empty, offset: 0, bytes: &[], deadline: None };
        self.scan(loaded, &region).incomplete.map_or(Ok(()), Err)
    }

    fn scan(&self, loaded: &Loaded, region: &Region<'_>) -> RegionOutcome {
        let left = region.deadline.map_or(u64::MAX, |deadline| deadline.saturating_duration_since(Instant::now()).as_secs() + 1);
        SCANNER.with(|cell| {
            // Only a rule that calls back into this thread could hold it, and there is none.
            let Ok(mut slot) = cell.try_borrow_mut() else { return stopped("YARA is busy in this thread") };
            let mut scanner = match slot.take() {
                Some((of, scanner)) if std::ptr::eq(of, loaded.rules) => scanner,
                _ => Scanner::new(loaded.rules),
            };
            scanner.set_timeout(Duration::from_secs(self.limits.time_max_s.min(left)));
            scanner.max_matches_per_pattern(self.limits.matches_max);
            // The engine is memory-safe Rust; a panic in it is a bug that must not end the scan of everything else. The scanner is not used again then.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.with(&mut scanner, loaded, region)));
            match outcome {
                Ok(outcome) => {
                    *slot = Some((loaded.rules, scanner));
                    outcome
                }
                Err(_) => stopped("YARA failed on this content"),
            }
        })
    }
}

fn stopped(why: &str) -> RegionOutcome {
    RegionOutcome { matches: Vec::new(), incomplete: Some(why.to_owned()) }
}

impl RuleSet {
    fn with(&self, scanner: &mut Scanner<'static>, loaded: &Loaded, region: &Region<'_>) -> RegionOutcome {
        let offset = i64::try_from(region.offset).unwrap_or(i64::MAX);
        for (name, value) in GLOBALS.into_iter().zip([region.format.name(), region.member, region.name]) {
            if let Err(error) = scanner.set_global(name, value) {
                return stopped(&format!("YARA could not be told about the file: {error}"));
            }
        }
        if let Err(error) = scanner.set_global("picket_offset", offset) {
            return stopped(&format!("YARA could not be told about the file: {error}"));
        }
        let results = match scanner.scan(region.bytes) {
            Ok(results) => results,
            Err(ScanError::Timeout) => return stopped("YARA rules took longer than their time"),
            Err(error) => return stopped(&format!("YARA rules could not be applied: {error}")),
        };
        let mut outcome = RegionOutcome::default();
        let mut more = 0_u64;
        for rule in results.matching_rules() {
            if rule.is_private() {
                continue;
            }
            if outcome.matches.len() >= self.limits.rules_max {
                more += 1;
                continue;
            }
            if let Some(matched) = self.matched(loaded, &rule, region) {
                outcome.matches.push(matched);
            }
        }
        if more > 0 {
            outcome.incomplete = Some(format!("{more} more YARA rules matched than are shown"));
        }
        outcome
    }

    fn matched(&self, loaded: &Loaded, rule: &yara_x::Rule<'_, 'static>, region: &Region<'_>) -> Option<RegionMatch> {
        let meta = loaded.metas.get(&(rule.namespace(), rule.identifier()))?;
        let mut first: Option<(usize, String, &[u8])> = None;
        let mut places = 0_usize;
        for pattern in rule.patterns() {
            for one in pattern.matches() {
                places += 1;
                let range = one.range();
                if first.as_ref().is_none_or(|(start, ..)| range.start < *start) {
                    let end = range.end.min(range.start.saturating_add(self.limits.excerpt_bytes_max));
                    first = Some((range.start, pattern.identifier().to_owned(), region.bytes.get(range.start..end).unwrap_or_default()));
                }
            }
        }
        let mut explanation = meta.explanation.clone();
        if places > 1 {
            explanation = format!("{explanation} ({places} places in all)");
        }
        Some(RegionMatch {
            rule: meta.rule,
            offset: first.as_ref().map(|(start, ..)| *start as u64),
            pattern: first.as_ref().map(|(_, pattern, _)| pattern.clone()),
            excerpt: first.map(|(_, _, bytes)| excerpt(bytes, meta)),
            explanation,
        })
    }
}

/// Text where it is text, else bytes in hex. A credential is never repeated in a report.
fn excerpt(bytes: &[u8], meta: &crate::meta::Meta) -> String {
    if meta.rule.techniques.contains(&CREDENTIALS_IN_FILES) {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(SECRET_CHARS_SHOWN).collect();
        return format!("{shown}…");
    }
    let text = String::from_utf8_lossy(bytes);
    let readable = text.chars().filter(|c| !c.is_control() && *c != '\u{fffd}').count();
    if readable * 4 >= text.chars().count() * 3 {
        text.into_owned()
    } else {
        bytes.iter().take(60).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    }
}

/// ATT&CK T1552.001 Credentials In Files.
const CREDENTIALS_IN_FILES: &str = "T1552.001";
/// The kind of a credential is told by how it begins.
const SECRET_CHARS_SHOWN: usize = 8;
