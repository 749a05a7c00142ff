//! Posture: what on this host makes an attack easy, by checks that are data (`rules/posture/*.toml`) over a snapshot that is plain data.
//! Nothing is contacted and nothing is changed.

mod check;
mod collect;
mod command;
mod config;
mod evaluate;
mod files;
mod schedule;
mod snapshot;
#[cfg(test)]
mod tests;
mod version;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub(crate) use check::{Check, CheckSeverity, load};
pub(crate) use command::run;
pub(crate) use evaluate::{Outcome, Status};
pub(crate) use schedule::PostureWatch;

use crate::config::WatchConfig;

/// Looks at the host below `root` and judges it.
pub(crate) fn assess(root: &Path, checks: &[Check], watches: &[WatchConfig]) -> Vec<Outcome> {
    let mut assets: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    for watch in watches {
        assets.entry(watch.asset_class.name()).or_default().push(watch.path.clone());
    }
    let snapshot = collect::collect(root, &collect::Wanted::of(checks), &assets);
    evaluate::evaluate(checks, &snapshot)
}
