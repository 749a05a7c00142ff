//! What kind of work a process does: data in `rules/roles.toml`, before which an admin's own file goes.

use std::path::{Path, PathBuf};

use picket_event::ProcessRole;
use serde::Deserialize;

use super::invocation::Invocation;

const BUILT_IN: &str = include_str!("../../../rules/roles.toml");
/// Taken where the configuration names no other and it exists.
const OWN: &str = "/etc/picket-agent/roles.toml";
const ENTRIES_MAX: usize = 1_024;
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RolesError {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Invalid { path: PathBuf, message: String },
}

/// Which role a process has, by data.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    role: String,
    #[serde(default)]
    executables: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    commands: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    environment: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    near_misses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesFile {
    /// Whether the built-in entries follow.
    #[serde(default = "yes")]
    built_in: bool,
    #[serde(default)]
    role: Vec<Entry>,
}

const fn yes() -> bool {
    true
}

/// The file that holds the admin's own entries, whether it exists or not.
pub(crate) fn own_file(configured: Option<&Path>) -> PathBuf {
    configured.map_or_else(|| PathBuf::from(OWN), Path::to_path_buf)
}

impl Roles {
    /// The entries of `file` before the built-in ones. Without `file`, those of `/etc/picket-agent/roles.toml` where that exists.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, RolesError> {
        let path = own_file(file);
        let own = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(RolesError::Invalid { path, message: format!("larger than {FILE_BYTES_MAX} bytes") });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => None,
            _ => Some(std::fs::read_to_string(&path).map_err(|source| RolesError::Read { path: path.clone(), source })?),
        };
        let built_in = Self::parse(BUILT_IN, Path::new("rules/roles.toml"))?;
        let Some(own) = own else { return Ok(Self { entries: built_in.role }) };
        let RolesFile { built_in: with, role: mut entries } = Self::parse(&own, &path)?;
        if with {
            entries.extend(built_in.role);
        }
        Ok(Self { entries })
    }

    fn parse(text: &str, path: &Path) -> Result<RolesFile, RolesError> {
        let invalid = |message| RolesError::Invalid { path: path.to_path_buf(), message };
        let file: RolesFile = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if file.role.len() > ENTRIES_MAX {
            return Err(invalid(format!("more than {ENTRIES_MAX} entries")));
        }
        for entry in &file.role {
            entry.check().map_err(invalid)?;
        }
        Ok(file)
    }

    /// Of a process that was started so; `parent` has the role that a worker takes over.
    pub(crate) fn role(&self, invocation: &Invocation, environment: &[(String, String)], parent: ProcessRole) -> ProcessRole {
        let matched = self.entries.iter().find(|entry| entry.matches(invocation, environment));
        matched.map_or(ProcessRole::Other, |entry| if entry.role == PARENT { parent } else { ProcessRole::from_name(&entry.role) })
    }
}

/// The role of a worker that does its parent's work.
const PARENT: &str = "parent";

impl Entry {
    fn check(&self) -> Result<(), String> {
        let Self { role, executables, modules, commands, arguments, environment, examples, near_misses } = self;
        if ProcessRole::from_name(role).name() != role && role != PARENT {
            return Err(format!("no role is named {role:?}"));
        }
        if [executables, modules, commands, arguments, environment].iter().all(|patterns| patterns.is_empty()) {
            return Err(format!("an entry of role {role:?} matches nothing"));
        }
        for (lines, wanted, what) in [(examples, true, "does not match its example"), (near_misses, false, "matches its near miss")] {
            if let Some(line) = lines.iter().find(|line| self.matches_line(line) != wanted) {
                return Err(format!("an entry of role {role:?} {what} {line:?}"));
            }
        }
        Ok(())
    }

    fn matches(&self, invocation: &Invocation, environment: &[(String, String)]) -> bool {
        let any = |patterns: &[String], matches: &dyn Fn(&str) -> bool| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern));
        any(&self.executables, &|pattern| invocation.is_named(pattern))
            && any(&self.modules, &|pattern| invocation.is_module(pattern))
            && any(&self.commands, &|pattern| invocation.command_is(pattern))
            && any(&self.arguments, &|pattern| invocation.has_argument(pattern))
            && any(&self.environment, &|name| environment.iter().any(|(set, value)| set == name && !value.is_empty()))
    }

    fn matches_line(&self, line: &str) -> bool {
        let (invocation, environment) = Invocation::example(line);
        self.matches(&invocation, &environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(line: &str) -> ProcessRole {
        let roles = Roles { entries: Roles::parse(BUILT_IN, Path::new("rules/roles.toml")).unwrap().role };
        let (invocation, environment) = Invocation::example(line);
        roles.role(&invocation, &environment, ProcessRole::Server)
    }

    #[test]
    fn every_built_in_entry_has_an_example_and_a_near_miss() {
        // That they hold is checked whenever the file is read.
        for entry in Roles::parse(BUILT_IN, Path::new("rules/roles.toml")).unwrap().role {
            assert!(!entry.examples.is_empty() && !entry.near_misses.is_empty(), "{entry:?}");
            for example in &entry.examples {
                let expected = if entry.role == PARENT { ProcessRole::Server } else { ProcessRole::from_name(&entry.role) };
                assert_eq!(role(example), expected, "an earlier entry takes {example}");
            }
        }
    }

    #[test]
    fn what_is_read_or_edited_gives_no_role() {
        for line in ["/usr/bin/cat train.py", "/usr/bin/grep -r torchrun /srv", "/usr/bin/less /usr/bin/pip", "/usr/bin/python3.11 my_script.py", ""] {
            assert_eq!(role(line), ProcessRole::Other, "{line}");
        }
        assert_eq!(role("/usr/bin/bash -c pip%20install%20x"), ProcessRole::Shell, "what it starts has a role of its own");
        assert_eq!(role("/usr/bin/bash train.sh"), ProcessRole::Shell);
    }

    #[test]
    fn a_file_with_a_wrong_role_is_refused() {
        let parse = |text| Roles::parse(text, Path::new("roles.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(parse("[[role]]\nrole = \"traner\"\nexecutables = [\"x\"]\n").contains("traner"));
        assert!(parse("[[role]]\nrole = \"trainer\"\n").contains("matches nothing"));
        assert!(parse("[[role]]\nrole = \"trainer\"\nexe = [\"x\"]\n").contains("unknown field"));
        assert!(parse("[[role]]\nrole = \"trainer\"\nexecutables = [\"x\"]\nexamples = [\"/bin/y\"]\n").contains("does not match its example"));
        assert!(parse("[[role]]\nrole = \"trainer\"\nexecutables = [\"x\"]\nnear_misses = [\"/bin/x\"]\n").contains("matches its near miss"));
    }

    #[test]
    fn own_entries_go_before_the_built_in_ones_or_replace_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roles.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Roles::load(Some(&path)).unwrap()
        };
        let role = |roles: &Roles, line: &str| roles.role(&Invocation::example(line).0, &[], ProcessRole::Other);
        let own = "[[role]]\nrole = \"trainer\"\nexecutables = [\"bash\"]\n";
        let roles = load(own);
        assert_eq!((role(&roles, "/bin/bash"), role(&roles, "/bin/dash")), (ProcessRole::Trainer, ProcessRole::Shell));
        let roles = load(&format!("built_in = false\n{own}"));
        assert_eq!((role(&roles, "/bin/bash"), role(&roles, "/bin/dash")), (ProcessRole::Trainer, ProcessRole::Other));
        assert!(Roles::load(Some(&folder.path().join("absent.toml"))).is_err(), "a file that was named must exist");
    }
}
