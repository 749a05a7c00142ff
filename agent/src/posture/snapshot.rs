//! What is known of a host, as plain data: the evaluation looks at nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::check::{Ecosystem, FileType};
use crate::enrich::Invocation;

/// A host at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) processes: Vec<ProcessFacts>,
    pub(crate) listeners: Vec<Listener>,
    /// By name.
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) command_line: Option<String>,
    /// By the pattern that found them.
    pub(crate) files: BTreeMap<String, Vec<FileFacts>>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) packages: Vec<Package>,
    pub(crate) users: Vec<UserFacts>,
    pub(crate) groups: Vec<Group>,
    /// What could not be looked at, by what it concerns: a pattern, or `processes`.
    pub(crate) gaps: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessFacts {
    pub(crate) pid: u32,
    pub(crate) invocation: Invocation,
    /// As it was called: a virtual environment's interpreter is a link to the system's.
    pub(crate) program: String,
    pub(crate) uid: u32,
    pub(crate) gids: BTreeSet<u32>,
    /// Names that are set. Values only of variables that a check compares; a secret's value is never kept.
    pub(crate) environment: BTreeMap<String, Option<String>>,
    pub(crate) age_seconds: Option<u64>,
    /// Sockets it holds.
    pub(crate) sockets: BTreeSet<u64>,
}

impl ProcessFacts {
    /// The Python environment it runs in, by the path of its interpreter: `/data/env` of `/data/env/bin/python3`.
    pub(crate) fn environment_folder(&self) -> Option<&str> {
        let (folder, program) = self.program.rsplit_once('/')?;
        folder.strip_suffix("/bin").filter(|folder| program.starts_with("python") && folder.starts_with('/') && !folder.contains(['*', '~', '@']))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) inode: u64,
}

impl Listener {
    /// Whether another host, or another container, may reach it by this address.
    pub(crate) fn is_routable(&self) -> bool {
        !self.ip.to_canonical().is_loopback()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FileFacts {
    /// Without the root.
    pub(crate) path: String,
    pub(crate) file_type: FileType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// A symlink that leaves the tree it was found in.
    pub(crate) leaves: bool,
    /// Where a check reads it.
    pub(crate) text: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) point: String,
    pub(crate) fs_type: String,
    pub(crate) options: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) ecosystem: Ecosystem,
    /// Lower case, `-` for `_` and `.`.
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where it is installed.
    pub(crate) place: String,
}

#[derive(Clone, Debug)]
pub(crate) struct UserFacts {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}
