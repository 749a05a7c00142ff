use std::path::{Path, PathBuf};

use picket_event::ProcessRole;
use serde::Deserialize;

const BUILT_IN: &str = include_str!("../../../rules/roles.toml");
const ENTRIES_MAX: usize = 1_024;

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
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesFile {
    role: Vec<Entry>,
}

impl Roles {
    /// From `file`, or the built-in ones.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, RolesError> {
        let Some(path) = file else { return Self::parse(BUILT_IN, Path::new("rules/roles.toml")) };
        let text = std::fs::read_to_string(path).map_err(|source| RolesError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, RolesError> {
        let invalid = |message| RolesError::Invalid { path: path.to_path_buf(), message };
        let file: RolesFile = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if file.role.len() > ENTRIES_MAX {
            return Err(invalid(format!("more than {ENTRIES_MAX} entries")));
        }
        for entry in &file.role {
            if ProcessRole::from_name(&entry.role).name() != entry.role {
                return Err(invalid(format!("no role is named {:?}", entry.role)));
            }
            if entry.executables.is_empty() && entry.arguments.is_empty() {
                return Err(invalid(format!("an entry of role {:?} matches nothing", entry.role)));
            }
        }
        Ok(Self { entries: file.role })
    }

    /// Of a process with this executable and command line.
    pub(crate) fn role(&self, executable: &str, cmd_line: &str) -> ProcessRole {
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        // A script's interpreter is the executable; what people call it stands in the first arguments.
        let mut names = vec![base(executable)];
        names.extend(cmd_line.split(' ').take(2).filter(|word| !word.starts_with('-')).map(base));
        let matches = |entry: &&Entry| {
            let executable = entry.executables.is_empty() || entry.executables.iter().any(|pattern| names.iter().any(|name| name_matches(pattern, name)));
            executable && (entry.arguments.is_empty() || entry.arguments.iter().any(|argument| cmd_line.contains(argument.as_str())))
        };
        self.entries.iter().find(matches).map(|entry| ProcessRole::from_name(&entry.role)).unwrap_or_default()
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roles() {
        let roles = Roles::load(None).unwrap();
        for (executable, cmd_line, role) in [
            ("/usr/bin/python3.11", "python3 -m ipykernel_launcher -f /tmp/k.json", ProcessRole::Notebook),
            ("/usr/bin/python3.11", "/usr/bin/python3 /usr/local/bin/torchrun --nproc 8 train.py", ProcessRole::Trainer),
            ("/usr/bin/python3.11", "python train.py --lr 1", ProcessRole::Trainer),
            ("/usr/bin/python3.11", "python -m vllm.entrypoints.openai.api_server", ProcessRole::Server),
            ("/usr/bin/python3.11", "/usr/bin/python3 /usr/bin/pip install x", ProcessRole::Installer),
            ("/usr/bin/bash", "bash -c true", ProcessRole::Shell),
            ("/usr/bin/bash", "-bash", ProcessRole::Shell),
            ("/usr/bin/cat", "cat train.py", ProcessRole::Other),
            ("/usr/bin/rsync", "rsync -a a b", ProcessRole::Deployer),
            ("/usr/sbin/slurmstepd", "slurmstepd: [12.0]", ProcessRole::Orchestrator),
            ("", "", ProcessRole::Other),
        ] {
            assert_eq!(roles.role(executable, cmd_line), role, "{cmd_line}");
        }
    }

    #[test]
    fn a_file_with_a_wrong_role_is_refused() {
        let parse = |text| Roles::parse(text, Path::new("roles.toml")).unwrap_err().to_string();
        assert!(parse("[[role]]\nrole = \"traner\"\nexecutables = [\"x\"]\n").contains("traner"));
        assert!(parse("[[role]]\nrole = \"trainer\"\n").contains("matches nothing"));
        assert!(parse("[[role]]\nrole = \"trainer\"\nexe = [\"x\"]\n").contains("unknown field"));
    }
}
