//! Layers of container images: a system's files, with links from its root and marks for what is removed.

use crate::path;
use std::collections::{HashMap, HashSet};

/// Folders of which a system has several.
const FOLDERS: &[&str] = &["etc", "usr", "bin", "lib", "var", "opt", "sbin", "root", "proc", "sys", "dev", "home", "tmp", "run"];
/// Links remembered; a system has some ten thousand.
const LINKS_MAX: usize = 100_000;
/// The mark before a removed file's name, and the one that empties its folder.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// True for a tar with three folders of a system at its root, or with marks for removed files.
pub(super) fn is_layer(names: &HashSet<&str>) -> bool {
    let roots: HashSet<&str> = names.iter().filter_map(|name| name.split('/').next()).filter(|root| FOLDERS.contains(root)).collect();
    let marked = names.iter().any(|name| name.rsplit('/').next().is_some_and(|last| last.starts_with(WHITEOUT)));
    roots.len() >= 3 || (marked && !roots.is_empty())
}

/// A mark whose name, once the mark is cut off, leads upwards.
pub(super) fn is_whiteout_outside(name: &str) -> bool {
    let Some((_, last)) = name.rsplit_once('/').or(Some(("", name))) else { return false };
    let Some(removed) = last.strip_prefix(WHITEOUT) else { return false };
    last != OPAQUE && (removed == ".." || removed == "." || removed.is_empty() || removed.contains('\\'))
}

/// Links met so far that lead outside of the folder the archive is unpacked to.
#[derive(Default)]
pub(super) struct Links(HashMap<String, String>);

impl Links {
    pub(super) fn remember(&mut self, name: &str, target: &str) {
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let outside = target.starts_with('/') || path::escapes(format!("{parent}/{target}").trim_start_matches('/'));
        if outside && self.0.len() < LINKS_MAX {
            self.0.insert(path::normal(name), target.to_owned());
        }
    }

    /// The link that a member lies below, and where it leads.
    pub(super) fn above(&self, name: &str) -> Option<(String, String)> {
        if self.0.is_empty() {
            return None;
        }
        let name = path::normal(name);
        let ends = name.match_indices('/').map(|(at, _)| at);
        ends.filter_map(|at| name.get(..at)).find_map(|parent| self.0.get(parent).map(|target| (parent.to_owned(), target.clone())))
    }
}
