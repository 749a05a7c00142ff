//! Pure: the same checks over the same snapshot give the same outcomes.

use super::{
    check::{Check, CheckSeverity, Condition, Selector},
    config,
    snapshot::{FileFacts, Listener, ProcessFacts, Snapshot},
    version::Bound,
};
use crate::enrich::matches;

/// Evidence of one check; how many more there are is said.
const EVIDENCE_MAX: usize = picket_event::limits::EVIDENCE_MAX - 1;
const EVIDENCE_CHARS_MAX: usize = 240;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    Pass,
    Fail,
    /// Nothing was found wrong, and not everything could be looked at.
    Unknown,
    /// What the check is about is not on this host.
    NotApplicable,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) severity: CheckSeverity,
    pub(crate) status: Status,
    /// What was found wrong, or why it is not known.
    pub(crate) evidence: Vec<String>,
    pub(crate) rationale: String,
    pub(crate) remediation: String,
    pub(crate) standards: Vec<String>,
}

pub(crate) fn evaluate(checks: &[Check], snapshot: &Snapshot) -> Vec<Outcome> {
    checks.iter().map(|check| one(check, snapshot)).collect()
}

fn one(check: &Check, snapshot: &Snapshot) -> Outcome {
    let selected: Vec<&ProcessFacts> = check.process.as_ref().map_or_else(Vec::new, |selector| select(selector, snapshot));
    let look = Look { snapshot, selected: &selected };
    let always = check.process.is_none() && check.applies.is_empty();
    let applies = always || !selected.is_empty() || check.applies.iter().any(|condition| !look.evidence(condition).is_empty());
    let (mut status, mut evidence) = (Status::NotApplicable, Vec::new());
    if applies {
        evidence = check.fail.iter().flat_map(|condition| look.evidence(condition)).collect();
        status = if evidence.is_empty() { Status::Pass } else { Status::Fail };
        if status == Status::Pass {
            evidence = check.fail.iter().flat_map(|condition| look.gaps(condition)).collect();
            status = if evidence.is_empty() { Status::Pass } else { Status::Unknown };
        }
    }
    Outcome {
        id: check.id.clone(),
        version: check.version,
        title: check.title.clone(),
        severity: check.severity,
        status,
        evidence: bounded(evidence),
        rationale: check.rationale.clone(),
        remediation: check.remediation.clone(),
        standards: check.standards.clone(),
    }
}

fn bounded(mut evidence: Vec<String>) -> Vec<String> {
    evidence.dedup();
    let more = evidence.len().saturating_sub(EVIDENCE_MAX);
    evidence.truncate(EVIDENCE_MAX);
    for line in &mut evidence {
        *line = line.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).take(EVIDENCE_CHARS_MAX).collect();
    }
    if more > 0 {
        evidence.push(format!("and {more} more"));
    }
    evidence
}

fn select<'a>(selector: &Selector, snapshot: &'a Snapshot) -> Vec<&'a ProcessFacts> {
    let Selector { executables, modules, commands } = selector;
    let fits = |process: &&ProcessFacts| {
        let invocation = &process.invocation;
        let program = executables.iter().any(|pattern| invocation.is_named(pattern)) || modules.iter().any(|module| invocation.is_module(module));
        program && (commands.is_empty() || commands.iter().any(|pattern| invocation.command_is(pattern)))
    };
    snapshot.processes.iter().filter(fits).collect()
}

struct Look<'a> {
    snapshot: &'a Snapshot,
    selected: &'a [&'a ProcessFacts],
}

impl Look<'_> {
    /// One line for each thing that makes the condition hold; none where it does not.
    fn evidence(&self, condition: &Condition) -> Vec<String> {
        match condition {
            Condition::Process { listens, with, without } => self.processes(listens.as_deref(), with, without),
            Condition::Listening { ports } => self.listening(ports),
            Condition::CanWrite { paths } => self.can_write(paths),
            Condition::File { paths, file_type, mode_any, owner_not, leaves } => {
                let mask = mode_any.as_deref().map(|mode| u32::from_str_radix(mode, 8).unwrap_or(0));
                let bad = |file: &&FileFacts| {
                    file_type.is_none_or(|kind| kind == file.file_type)
                        && mask.is_none_or(|mask| file.mode & mask != 0)
                        && (owner_not.is_empty() || !owner_not.iter().any(|name| self.user(file.uid) == *name))
                        && (!leaves || file.leaves)
                };
                self.files(paths)
                    .filter(bad)
                    .map(|file| format!("{} (mode {:04o}, owner {}:{})", file.path, file.mode, self.user(file.uid), file.gid))
                    .collect()
            }
            Condition::Beside { paths, names } => self.beside(paths, names),
            Condition::Config { paths, key, values, lacks } => {
                let holds = |file: &&FileFacts| file.text.as_ref().is_some_and(|text| config::holds(text, key, values, lacks));
                self.files(paths).filter(holds).map(|file| format!("{}: {key}", file.path)).collect()
            }
            Condition::Line { paths, patterns } => self.lines(paths, patterns),
            Condition::Sysctl { name, values } => {
                let value = self.snapshot.sysctls.get(name).filter(|value| values.iter().any(|pattern| matches(pattern, value)));
                value.map(|value| format!("{name} = {value}")).into_iter().collect()
            }
            Condition::KernelCommandLine { parameter, values, absent } => self.kernel_command_line(parameter, values, *absent),
            Condition::Package { ecosystem, versions } => {
                let bounds: Vec<Bound> = versions.iter().map(|text| Bound::parse(text)).collect();
                let packages = self.snapshot.packages.iter().filter(|package| package.ecosystem == *ecosystem);
                let bad = packages.filter(|package| bounds.iter().any(|bound| bound.name == package.name && bound.takes(&package.version)));
                bad.map(|package| format!("{} {} in {}", package.name, package.version, package.place)).collect()
            }
            Condition::Mount { types, points, option, lacks } => {
                let any = |patterns: &[String], text: &str| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text));
                let mounts = self.snapshot.mounts.iter().filter(|mount| any(types, &mount.fs_type) && any(points, &mount.point));
                let has = |options: &[String], wanted: &str| options.iter().any(|option| matches(wanted, option));
                let bad = mounts.filter(|mount| {
                    option.as_ref().is_none_or(|option| has(&mount.options, option)) && lacks.as_ref().is_none_or(|lacks| !has(&mount.options, lacks))
                });
                bad.map(|mount| format!("{} ({}, {})", mount.point, mount.fs_type, mount.options.join(","))).collect()
            }
            Condition::SecretEnvironment { names, except, age_seconds_min } => self.secrets(names, except, *age_seconds_min),
            Condition::GroupMembers { groups } => self.group_members(groups),
        }
    }

    /// Why a condition that does not hold may hold all the same.
    fn gaps(&self, condition: &Condition) -> Vec<String> {
        let gaps = &self.snapshot.gaps;
        let of_paths = |paths: &[String]| paths.iter().filter_map(|path| gaps.get(path).cloned()).collect();
        match condition {
            Condition::File { paths, .. } | Condition::Beside { paths, .. } | Condition::Config { paths, .. } | Condition::Line { paths, .. } => {
                of_paths(paths)
            }
            Condition::CanWrite { paths } => of_paths(paths),
            Condition::Process { .. } | Condition::SecretEnvironment { .. } => gaps.get("processes").cloned().into_iter().collect(),
            Condition::Sysctl { name, .. } if !self.snapshot.sysctls.contains_key(name) => vec![format!("{name} cannot be read")],
            Condition::KernelCommandLine { .. } if self.snapshot.command_line.is_none() => vec!["the kernel's command line cannot be read".to_owned()],
            _ => Vec::new(),
        }
    }

    fn processes(&self, listens: Option<&[u16]>, with: &[String], without: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for process in self.selected {
            let set = with.iter().find(|setting| is_set(process, setting));
            if (set.is_none() && !with.is_empty()) || without.iter().any(|setting| is_set(process, setting)) {
                continue;
            }
            let who = format!("process {} ({})", process.pid, process.invocation.name());
            // The name of a setting, never its value: that may be a secret.
            let how = set.map(|setting| format!(" with {}", setting.split('=').next().unwrap_or_default())).unwrap_or_default();
            let lacking = if without.is_empty() {
                String::new()
            } else {
                format!(" without {}", without.iter().map(|setting| setting.split('=').next().unwrap_or_default()).collect::<Vec<_>>().join(", "))
            };
            let Some(ports) = listens else {
                found.push(format!("{who} runs{how}{lacking}"));
                continue;
            };
            let sockets = self.snapshot.listeners.iter().filter(|listener| process.sockets.contains(&listener.inode) && is_exposed(listener, ports));
            found.extend(sockets.map(|listener| format!("{who} listens on {}{how}{lacking}", address(listener))));
        }
        found
    }

    fn listening(&self, ports: &[u16]) -> Vec<String> {
        let exposed = self.snapshot.listeners.iter().filter(|listener| is_exposed(listener, ports));
        let owner = |listener: &Listener| {
            let process = self.snapshot.processes.iter().find(|process| process.sockets.contains(&listener.inode));
            process.map_or_else(|| "somebody".to_owned(), |process| format!("process {} ({})", process.pid, process.invocation.name()))
        };
        exposed.map(|listener| format!("{} listens on {}", owner(listener), address(listener))).collect()
    }

    fn can_write(&self, paths: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for process in self.selected {
            let may = |file: &&FileFacts| {
                let bits = if process.uid == file.uid {
                    0o200
                } else if process.gids.contains(&file.gid) {
                    0o020
                } else {
                    0o002
                };
                process.uid == 0 || file.mode & bits != 0
            };
            let named =
                |file: &FileFacts| format!("process {} ({}) as {} may write {}", process.pid, process.invocation.name(), self.user(process.uid), file.path);
            found.extend(self.files(paths).filter(may).take(EVIDENCE_MAX).map(named));
        }
        found
    }

    fn beside(&self, paths: &[String], names: &[String]) -> Vec<String> {
        let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default();
        let (others, ones): (Vec<&FileFacts>, Vec<&FileFacts>) = self.files(paths).partition(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            names.iter().any(|pattern| matches(pattern, name))
        });
        let folders: std::collections::BTreeSet<String> = ones.iter().map(|file| folder(&file.path)).collect();
        others.into_iter().filter(|file| folders.contains(&folder(&file.path))).map(|file| file.path.clone()).collect()
    }

    fn lines(&self, paths: &[String], patterns: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for file in self.files(paths) {
            for (at, line) in (1..).zip(file.text.as_deref().unwrap_or_default().lines()) {
                let line = line.trim();
                if !line.starts_with('#') && patterns.iter().any(|pattern| matches(pattern, line)) {
                    found.push(format!("{}:{at}", file.path));
                }
            }
        }
        found
    }

    fn kernel_command_line(&self, parameter: &str, values: &[String], absent: bool) -> Vec<String> {
        let Some(line) = &self.snapshot.command_line else { return Vec::new() };
        // The last one counts.
        let value = line.split_whitespace().rev().find_map(|word| match word.split_once('=') {
            Some((name, value)) => (name == parameter).then_some(value),
            None => (word == parameter).then_some(""),
        });
        match value {
            Some(value) if values.iter().any(|pattern| matches(pattern, value)) => vec![format!("{parameter}={value} on the kernel's command line")],
            None if absent => vec![format!("{parameter} is not on the kernel's command line")],
            _ => Vec::new(),
        }
    }

    fn secrets(&self, names: &[String], except: &[String], age_seconds_min: u64) -> Vec<String> {
        let mut found = Vec::new();
        for process in &self.snapshot.processes {
            if process.age_seconds.is_none_or(|age| age < age_seconds_min) {
                continue;
            }
            let any = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
            let secrets: Vec<&str> = process.environment.keys().map(String::as_str).filter(|name| any(names, name) && !any(except, name)).collect();
            if !secrets.is_empty() {
                found.push(format!("process {} ({}) has {}", process.pid, process.invocation.name(), secrets.join(", ")));
            }
        }
        found
    }

    fn group_members(&self, groups: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for group in self.snapshot.groups.iter().filter(|group| groups.contains(&group.name)) {
            let primary = self.snapshot.users.iter().filter(|user| user.gid == group.gid).map(|user| &user.name);
            let members = group.members.iter().chain(primary).filter(|name| *name != "root");
            found.extend(members.map(|name| format!("{name} belongs to {}", group.name)));
        }
        found
    }

    fn files(&self, paths: &[String]) -> impl Iterator<Item = &FileFacts> {
        paths.iter().filter_map(|path| self.snapshot.files.get(path)).flatten()
    }

    fn user(&self, uid: u32) -> String {
        self.snapshot.users.iter().find(|user| user.uid == uid).map_or_else(|| uid.to_string(), |user| user.name.clone())
    }
}

fn is_exposed(listener: &Listener, ports: &[u16]) -> bool {
    listener.is_routable() && (ports.is_empty() || ports.contains(&listener.port))
}

fn address(listener: &Listener) -> String {
    std::net::SocketAddr::new(listener.ip, listener.port).to_string()
}

/// `--option`, `--option=pattern`, `NAME`, `NAME=pattern`, or a pattern of a bare argument.
fn is_set(process: &ProcessFacts, setting: &str) -> bool {
    let (name, value) = setting.split_once('=').map_or((setting, None), |(name, value)| (name, Some(value)));
    if name.starts_with('-') {
        return process.invocation.option(name).is_some_and(|given| value.is_none_or(|value| matches(value, given)));
    }
    if name.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_') {
        let set = process.environment.get(name);
        return set.is_some_and(|set| value.is_none_or(|value| set.as_ref().is_some_and(|set| matches(value, set))));
    }
    process.invocation.has_argument(setting)
}
