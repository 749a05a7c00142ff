//! The set of watches: held open, told to the kernel by inode pointer, replaced as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aya::maps::{HashMap as BpfMap, MapData};

use crate::attach::reason;
use crate::existing::{Inode, own_descriptors};
use crate::guard::{Tampering, TamperingKind};
use crate::objects::{Objects, WatchMaps};
use crate::sensor::{SensorError, WatchSpec, WatchState};

/// `max_entries` of `picket_roots`: beyond it a watch says that it is not active.
const WATCHES_MAX: usize = 4096;

/// Files looked at for further names (hard links) when a tree is first watched. A tree of more costs its owner nothing: the rest is
/// found when a link is made, or by the names in the kernel's cache.
const LINK_SCAN_MAX: usize = 200_000;

/// What is watched now.
#[derive(Default)]
pub(crate) struct Watches {
    held: Vec<Held>,
}

struct Held {
    id: u32,
    path: PathBuf,
    inode: Inode,
    directory: bool,
    /// Keeps the inode and its superblock from being freed and their addresses from meaning something else.
    _file: File,
}

impl Watches {
    /// Replaces the set: new watches work before old ones go, and one that stays is never away.
    pub(crate) fn replace(&mut self, specs: &[WatchSpec], objects: &mut Objects, maps: &mut WatchMaps) -> Vec<WatchState> {
        let mut states = Vec::with_capacity(specs.len());
        let mut opened = Vec::new();
        for spec in specs {
            let outcome = if opened.len() < WATCHES_MAX { open(&spec.path) } else { Err(format!("more than {WATCHES_MAX} watches")) };
            states.push(WatchState { id: spec.id, path: spec.path.clone(), active: false, reason: outcome.as_ref().err().cloned().unwrap_or_default() });
            if let Ok((file, directory)) = outcome {
                opened.push((states.len() - 1, file, directory));
            }
        }
        let inodes = match own_descriptors(objects) {
            Ok(inodes) => inodes,
            Err(error) => {
                let reason = format!("the kernel's view of the watched paths is not readable, the watches before stay: {error}");
                states.iter_mut().for_each(|state| state.reason.clone_from(&reason));
                return states;
            }
        };
        let mut held: Vec<Held> = Vec::with_capacity(opened.len());
        for (index, file, directory) in opened {
            let (Some(state), Some(spec)) = (states.get_mut(index), specs.get(index)) else { continue };
            match add(spec, file, directory, &inodes, &held, maps) {
                Ok(added) => {
                    state.active = true;
                    state.reason = notes(&added);
                    held.push(added);
                }
                Err(reason) => state.reason = reason,
            }
        }
        let before = std::mem::replace(&mut self.held, held);
        self.settle(&before, maps);
        for held in self.held.iter().filter(|held| held.directory && !before.iter().any(|old| old.inode.inode_ptr == held.inode.inode_ptr)) {
            register_links(held, maps);
        }
        states
    }

    /// Compares what the kernel side matches by with what was set, and sets it again where they differ.
    pub(crate) fn inspect(&self, maps: &mut WatchMaps) -> Vec<Tampering> {
        let mut found = Vec::new();
        let mut note = |map: &str, detail: String, healed: bool| {
            found.push(Tampering { kind: TamperingKind::MapChanged, subject: map.to_owned(), detail, healed });
        };
        let written = maps.config();
        if maps.config_now().is_ok_and(|now| now != written) {
            let healed = maps.set_config(written).is_ok();
            note("picket_config", "what is watched was overwritten".into(), healed);
        }
        let roots: Vec<_> = self.held.iter().filter(|held| maps.roots.get(&held.inode.inode_ptr, 0).ok() != Some(held.id)).collect();
        if !roots.is_empty() {
            let healed = self.restore(&mut maps.roots, |held| (held.inode.inode_ptr, held.id));
            note("picket_roots", format!("{} of {} watches were taken out or changed", roots.len(), self.held.len()), healed);
        }
        let supers = self.held.iter().filter(|held| maps.supers.get(&held.inode.super_ptr, 0).is_err()).count();
        if supers > 0 {
            let healed = self.restore(&mut maps.supers, |held| (held.inode.super_ptr, held.inode.mount_ptr));
            note("picket_supers", format!("the file systems of {supers} watches were taken out"), healed);
        }
        if !found.is_empty() {
            // Verdicts made meanwhile are wrong.
            forget_verdicts(maps);
        }
        found
    }

    /// Writes every entry; where the map was filled up, what is not ours goes first.
    fn restore<V: aya::Pod>(&self, map: &mut BpfMap<MapData, u64, V>, entry: impl Fn(&Held) -> (u64, V)) -> bool {
        let insert = |map: &mut BpfMap<MapData, u64, V>| {
            self.held.iter().all(|held| {
                let (key, value) = entry(held);
                map.insert(key, value, 0).is_ok()
            })
        };
        if insert(map) {
            return true;
        }
        let foreign: Vec<u64> = map.keys().filter_map(Result::ok).filter(|key| !self.held.iter().any(|held| entry(held).0 == *key)).collect();
        for key in foreign {
            let _ = map.remove(&key);
        }
        insert(map)
    }

    /// Removes what is not watched any more, and empties the kernel's cache of verdicts.
    fn settle(&self, before: &[Held], maps: &mut WatchMaps) {
        let publish = |maps: &mut WatchMaps| {
            let mut config = maps.config();
            self.describe(&mut config);
            if let Err(error) = maps.set_config(config) {
                tracing::error!(%error, "cannot tell the kernel of changed watches");
            }
        };
        publish(maps);
        for old in before {
            if !self.held.iter().any(|held| held.inode.inode_ptr == old.inode.inode_ptr) {
                let _ = maps.roots.remove(&old.inode.inode_ptr);
            }
            if !self.held.iter().any(|held| held.inode.super_ptr == old.inode.super_ptr) {
                let _ = maps.supers.remove(&old.inode.super_ptr);
            }
        }
        forget_links(&self.held, &mut maps.links);
        publish(maps);
    }

    /// `struct watch_config`, but for the extensions: the next epoch, whether files are watched and which, and the superblocks.
    fn describe(&self, config: &mut [u64; 12]) {
        let [first, count, one, two, three, four, .., bits, _] = config;
        *bits = self.held.iter().filter(|held| !held.directory).fold(0, |bits, held| bits | 1 << file_bit(held.inode.inode_ptr));
        let files = u64::from(self.held.iter().any(|held| !held.directory));
        *first = next_epoch(*first) | files << 32;
        let mut supers: Vec<u64> = self.held.iter().map(|held| held.inode.super_ptr).collect();
        supers.sort_unstable();
        supers.dedup();
        *count = supers.len() as u64;
        let mut rest = supers.into_iter();
        for slot in [one, two, three, four] {
            *slot = rest.next().unwrap_or(0);
        }
    }
}

/// `file__bit` of `bpf/watch.h`: which bit says that a watched file's inode may be this one.
fn file_bit(inode_ptr: u64) -> u64 {
    (inode_ptr & 0xffff_ffff).wrapping_mul(0x9e37_79b1) >> 26 & 63
}

/// The low half of the first word of `struct watch_config`, raised.
fn next_epoch(first: u64) -> u64 {
    first.wrapping_add(1) & 0xffff_ffff
}

/// Starts a new epoch: no verdict cached before it is used again.
pub(crate) fn forget_verdicts(maps: &mut WatchMaps) {
    let mut config = maps.config();
    let [first, ..] = &mut config;
    *first = next_epoch(*first) | (*first >> 32) << 32;
    if let Err(error) = maps.set_config(config) {
        tracing::warn!(%error, "cannot empty the cache of verdicts");
    }
}

/// Opens without access to the content: no permission on the file is needed, and nothing that watches opens is triggered by it.
fn open(path: &Path) -> Result<(File, bool), String> {
    if !path.is_absolute() {
        return Err("the path is not absolute".into());
    }
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path).map_err(|error| error.to_string())?;
    let kind = file.metadata().map_err(|error| error.to_string())?.file_type();
    if !kind.is_dir() && !kind.is_file() {
        return Err("neither a directory nor a regular file".into());
    }
    Ok((file, kind.is_dir()))
}

fn add(spec: &WatchSpec, file: File, directory: bool, inodes: &HashMap<u32, Inode>, held: &[Held], maps: &mut WatchMaps) -> Result<Held, String> {
    let inode = u32::try_from(file.as_raw_fd()).ok().and_then(|fd| inodes.get(&fd)).copied().ok_or("the kernel does not show its inode")?;
    if let Some(same) = held.iter().find(|held| held.inode.inode_ptr == inode.inode_ptr) {
        return Err(format!("the same as watch {}", same.id));
    }
    maps.supers.insert(inode.super_ptr, inode.mount_ptr, 0).map_err(|error| reason(&error))?;
    maps.roots.insert(inode.inode_ptr, spec.id, 0).map_err(|error| reason(&error))?;
    Ok(Held { id: spec.id, path: spec.path.clone(), inode, directory, _file: file })
}

/// What an active watch does not see.
fn notes(held: &Held) -> String {
    if !held.directory {
        return String::new();
    }
    let below = mounts_below(&held.path);
    if below == 0 { String::new() } else { format!("{below} file systems mounted below it are not part of it") }
}

fn mounts_below(path: &Path) -> usize {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(&path) && Path::new(point) != path).count()
}

/// Finds files of several names in a newly watched tree, so that their names elsewhere are watched too.
fn register_links(held: &Held, maps: &mut WatchMaps) {
    let Ok(root) = std::fs::metadata(&held.path) else { return };
    let mut folders = vec![held.path.clone()];
    let mut seen = 0_usize;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            seen += 1;
            if seen > LINK_SCAN_MAX {
                tracing::warn!(path = %held.path.display(), "more than {LINK_SCAN_MAX} files: hard links among the rest are found when they are made or cached");
                return;
            }
            let Ok(kind) = entry.file_type() else { continue };
            let Ok(found) = entry.metadata() else { continue };
            if kind.is_dir() && found.dev() == root.dev() {
                folders.push(entry.path());
            } else if kind.is_file() && found.nlink() > 1 {
                let _ = maps.links.insert([held.inode.super_ptr, found.ino()], held.id, 0);
            }
        }
    }
}

/// Links that belong to a watch that is gone.
fn forget_links(held: &[Held], links: &mut BpfMap<MapData, [u64; 2], u32>) {
    let stale: Vec<[u64; 2]> = links.iter().filter_map(Result::ok).filter(|(_, id)| !held.iter().any(|held| held.id == *id)).map(|(key, _)| key).collect();
    for key in stale {
        let _ = links.remove(&key);
    }
}

/// An error of the sensor in which no watch can be set.
pub(crate) fn without_kernel_side(specs: &[WatchSpec]) -> Vec<WatchState> {
    let reason = SensorError::Unsupported("the file probes are not loaded".into()).to_string();
    specs.iter().map(|spec| WatchState { id: spec.id, path: spec.path.clone(), active: false, reason: reason.clone() }).collect()
}
