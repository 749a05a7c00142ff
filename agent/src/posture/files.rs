//! Files by pattern, and the Python packages of every environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Component, Path, PathBuf},
};

use super::{
    check::{Ecosystem, FileType},
    collect::read,
    snapshot::{FileFacts, Package, ProcessFacts},
};
use crate::enrich::matches;

/// Files that one pattern may find; what lies beyond is said as a gap.
const FOUND_MAX: usize = 10_000;
/// Entries that one pattern may look at.
const LOOKED_MAX: usize = 200_000;
const DEPTH_MAX: usize = 16;
const TEXT_BYTES_MAX: u64 = 1 << 20;
const PACKAGES_MAX: usize = 100_000;

/// Where patterns begin.
pub(super) struct Places<'a> {
    pub(super) root: &'a Path,
    pub(super) homes: &'a BTreeSet<String>,
    pub(super) assets: &'a BTreeMap<&'static str, Vec<PathBuf>>,
}

impl Places<'_> {
    /// The folder that a pattern starts in, for each of its meanings, and the rest of it.
    fn starts(&self, pattern: &str) -> (Vec<PathBuf>, String) {
        let below = |path: &Path| self.root.join(path.strip_prefix("/").unwrap_or(path));
        if let Some(rest) = pattern.strip_prefix("~/") {
            let homes = self.homes.iter().filter(|home| home.len() > 1).map(|home| below(Path::new(home)));
            return (homes.collect(), rest.to_owned());
        }
        if let Some(rest) = pattern.strip_prefix('@') {
            let (class, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let trees = self.assets.get(class).into_iter().flatten();
            return (trees.map(|tree| below(tree)).collect(), rest.to_owned());
        }
        (vec![self.root.to_path_buf()], pattern.trim_start_matches('/').to_owned())
    }
}

struct Walk<'a> {
    root: &'a Path,
    start: PathBuf,
    text: bool,
    looked: usize,
    found: Vec<FileFacts>,
    gap: Option<String>,
}

/// Files that a pattern means, and why there may be more. `*` stands for text within a name, `**` for any number of folders. Symlinks are
/// found and never followed.
pub(super) fn find(places: &Places, pattern: &str, text: bool) -> (Vec<FileFacts>, Option<String>) {
    let (starts, rest) = places.starts(pattern);
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let (mut found, mut gap) = (Vec::new(), None);
    for start in starts {
        let mut walk = Walk { root: places.root, start: start.clone(), text, looked: 0, found: Vec::new(), gap: None };
        walk.step(&start, &parts, 0);
        found.append(&mut walk.found);
        gap = walk.gap.or(gap);
    }
    (found, gap)
}

impl Walk<'_> {
    fn step(&mut self, path: &Path, parts: &[&str], depth: usize) {
        if self.looked >= LOOKED_MAX || self.found.len() >= FOUND_MAX {
            self.gap = Some(format!("more files than are looked at below {}", self.shown(&self.start.clone())));
            return;
        }
        self.looked += 1;
        let Some((part, rest)) = parts.split_first() else {
            return self.take(path);
        };
        if *part == "**" {
            self.step(path, rest, depth);
            if depth < DEPTH_MAX {
                for folder in self.entries(path).into_iter().filter(|entry| is_folder(entry)) {
                    self.step(&folder, parts, depth + 1);
                }
            }
            return;
        }
        if !part.contains('*') {
            let next = path.join(part);
            let Ok(metadata) = next.symlink_metadata() else { return };
            // A symlink on the way is the system's own (`/var/run`), or a user's, who could show us another's file as theirs; in a copy of a host
            // it may lead out of the copy. The last part is judged as it is.
            if metadata.is_symlink() && !rest.is_empty() && self.start != Path::new("/") {
                self.gap = Some(format!("{} is a symlink, which is not followed", self.shown(&next)));
                return;
            }
            self.step(&next, rest, depth + 1);
            return;
        }
        for entry in self.entries(path) {
            let fits = entry.file_name().is_some_and(|name| matches(part, &name.to_string_lossy()));
            if fits && (rest.is_empty() || is_folder(&entry)) {
                self.step(&entry, rest, depth + 1);
            }
        }
    }

    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        match std::fs::read_dir(folder) {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).take(LOOKED_MAX).collect();
                paths.sort();
                paths
            }
            Err(error) => {
                if !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) {
                    self.gap = Some(format!("{} cannot be read: {error}", self.shown(folder)));
                }
                Vec::new()
            }
        }
    }

    fn take(&mut self, path: &Path) {
        let Ok(metadata) = path.symlink_metadata() else { return };
        let kind = metadata.file_type();
        let file_type = if kind.is_file() {
            FileType::File
        } else if kind.is_dir() {
            FileType::Folder
        } else if kind.is_symlink() {
            FileType::Symlink
        } else if kind.is_socket() {
            FileType::Socket
        } else {
            FileType::Device
        };
        let mut text = None;
        if self.text && file_type == FileType::File {
            match read(path, TEXT_BYTES_MAX) {
                Some(bytes) => text = Some(String::from_utf8_lossy(&bytes).into_owned()),
                None => self.gap = Some(format!("{} cannot be read", self.shown(path))),
            }
        }
        let leaves = file_type == FileType::Symlink && std::fs::read_link(path).is_ok_and(|target| self.is_outside(path, &target));
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        self.found.push(FileFacts { path: self.shown(path), file_type, mode, uid, gid, leaves, text });
    }

    /// By its text alone: nothing is followed.
    fn is_outside(&self, link: &Path, target: &Path) -> bool {
        let begin = if target.is_absolute() { self.root.to_path_buf() } else { link.parent().unwrap_or(self.root).to_path_buf() };
        let mut path = begin;
        for component in target.components() {
            match component {
                Component::ParentDir => {
                    path.pop();
                }
                Component::Normal(name) => path.push(name),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        !path.starts_with(&self.start)
    }

    fn shown(&self, path: &Path) -> String {
        format!("/{}", path.strip_prefix(self.root).unwrap_or(path).display()).replace("//", "/")
    }
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// Where environments lie that no running process shows.
const SITES: [&str; 9] = [
    "/usr/lib/python3*/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/local/lib/python3*/*-packages",
    "/opt/*/lib/python3*/site-packages",
    "/opt/*/envs/*/lib/python3*/site-packages",
    "/srv/*/*venv*/lib/python3*/site-packages",
    "~/.local/lib/python3*/site-packages",
    "~/*venv*/lib/python3*/site-packages",
    "~/*conda*/envs/*/lib/python3*/site-packages",
];

/// From the folder names `NAME-VERSION.dist-info` of each environment.
pub(super) fn python_packages(places: &Places, processes: &[ProcessFacts]) -> Vec<Package> {
    let mut sites: BTreeSet<String> = SITES.iter().map(|site| (*site).to_owned()).collect();
    sites.extend(processes.iter().filter_map(ProcessFacts::environment_folder).map(|folder| format!("{folder}/lib/python3*/site-packages")));
    let mut packages = Vec::new();
    for folder in sites.iter().flat_map(|site| find(places, &format!("{site}/*.dist-info"), false).0) {
        let name = Path::new(&folder.path).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((name, version)) = name.rsplit_once('-') else { continue };
        if packages.len() >= PACKAGES_MAX {
            break;
        }
        let place = folder.path.rsplit_once('/').map(|(place, _)| place.to_owned()).unwrap_or_default();
        packages.push(Package { ecosystem: Ecosystem::Python, name: name.to_lowercase().replace(['_', '.'], "-"), version: version.to_owned(), place });
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_files_and_follow_nothing() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        ["home/ann/.netrc", "root/.netrc", "srv/models/a/b/w.bin", "srv/models/w.bin", "etc/secret"].into_iter().for_each(write);
        std::os::unix::fs::symlink("/etc", root.path().join("srv/models/out")).unwrap();
        std::os::unix::fs::symlink("a/b/w.bin", root.path().join("srv/models/in")).unwrap();
        let homes = BTreeSet::from(["/root".to_owned(), "/home/ann".to_owned(), "/".to_owned()]);
        let assets = BTreeMap::from([("model", vec![PathBuf::from("/srv/models")])]);
        let places = Places { root: root.path(), homes: &homes, assets: &assets };
        let paths = |pattern: &str| find(&places, pattern, false).0.into_iter().map(|file| file.path).collect::<Vec<_>>();
        assert_eq!(paths("~/.netrc"), ["/home/ann/.netrc", "/root/.netrc"]);
        assert_eq!(paths("@model/**/*.bin"), ["/srv/models/w.bin", "/srv/models/a/b/w.bin"]);
        assert_eq!(paths("@dataset/**"), Vec::<String>::new());
        assert_eq!(paths("/srv/models/out/*"), Vec::<String>::new(), "an absolute link would leave the copy");
        assert_eq!(paths("/srv/*/out*/secret"), Vec::<String>::new());
        let (behind, gap) = find(&places, "@model/out/secret", false);
        assert!(behind.is_empty() && gap.unwrap().contains("/srv/models/out is a symlink"));
        let leaving: Vec<_> = find(&places, "@model/**/*", false).0.into_iter().filter(|file| file.leaves).map(|file| file.path).collect();
        assert_eq!(leaving, ["/srv/models/out"]);
    }
}
