//! A check as data: what it looks at, what must not be, why, and what to do.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Built in, in the order of their ids.
const BUILT_IN: [(&str, &str); 7] = [
    ("serving.toml", include_str!("../../../rules/posture/serving.toml")),
    ("exposure.toml", include_str!("../../../rules/posture/exposure.toml")),
    ("files.toml", include_str!("../../../rules/posture/files.toml")),
    ("containers.toml", include_str!("../../../rules/posture/containers.toml")),
    ("credentials.toml", include_str!("../../../rules/posture/credentials.toml")),
    ("packages.toml", include_str!("../../../rules/posture/packages.toml")),
    ("host.toml", include_str!("../../../rules/posture/host.toml")),
];
const CHECKS_MAX: usize = 1_024;
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Invalid { path: PathBuf, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckFile {
    check: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) id: String,
    /// Goes up when its meaning changes.
    #[serde(default = "first")]
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) severity: CheckSeverity,
    pub(crate) rationale: String,
    pub(crate) remediation: String,
    /// ATT&CK, ATLAS, CIS and the like.
    pub(crate) standards: Vec<String>,
    /// The processes it is about; it applies where one runs.
    pub(crate) process: Option<Selector>,
    /// It also applies where one of these holds; without `process` and without this it always does.
    #[serde(default)]
    pub(crate) applies: Vec<Condition>,
    /// One that holds fails the check.
    pub(crate) fail: Vec<Condition>,
}

const fn first() -> u32 {
    1
}

/// OCSF severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckSeverity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl CheckSeverity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Which processes, as in `rules/roles.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Selector {
    pub(crate) executables: Vec<String>,
    pub(crate) modules: Vec<String>,
    pub(crate) commands: Vec<String>,
}

/// Something that holds or does not hold of a host.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Condition {
    /// A process of the check's selector. All that is given must hold of the same process.
    Process {
        /// It listens on an address that is not loopback, on one of these ports; an empty list is any port.
        listens: Option<Vec<u16>>,
        /// One of these is set: `--option`, `--option=pattern`, `NAME`, `NAME=pattern` of the environment, or a bare argument pattern.
        #[serde(default)]
        with: Vec<String>,
        /// None of these is set.
        #[serde(default)]
        without: Vec<String>,
    },
    /// Somebody listens on one of these ports, on an address that is not loopback.
    Listening { ports: Vec<u16> },
    /// A process of the check's selector may write one of these by its ids.
    CanWrite { paths: Vec<String> },
    /// A file (`~` is every home, `@model` every watched tree of the class) of this type, with any of these permission bits, not owned by these.
    File {
        paths: Vec<String>,
        #[serde(default, rename = "type")]
        file_type: Option<FileType>,
        #[serde(default)]
        mode_any: Option<String>,
        #[serde(default)]
        owner_not: Vec<String>,
        /// A symlink that leaves the tree it was found in.
        #[serde(default)]
        leaves: bool,
    },
    /// Files of both kinds in one folder.
    Beside { paths: Vec<String>, names: Vec<String> },
    /// A line `key value`, `key = value` or `key: value`, or a JSON pointer (`*` is every element), in one of these files.
    Config {
        paths: Vec<String>,
        key: String,
        /// A value matches one of these.
        #[serde(default)]
        values: Vec<String>,
        /// No value of a file matches one of these.
        #[serde(default)]
        lacks: Vec<String>,
    },
    /// A line of one of these files matches.
    Line { paths: Vec<String>, patterns: Vec<String> },
    /// A kernel setting has one of these values.
    Sysctl { name: String, values: Vec<String> },
    /// The kernel's command line sets `parameter` to one of these, or lacks it.
    KernelCommandLine {
        parameter: String,
        #[serde(default)]
        values: Vec<String>,
        #[serde(default)]
        absent: bool,
    },
    /// `name<version`, `name<=version` or `name` of an installed package.
    Package { ecosystem: Ecosystem, versions: Vec<String> },
    /// A mount of one of these types or points that has or lacks an option.
    Mount {
        #[serde(default)]
        types: Vec<String>,
        #[serde(default)]
        points: Vec<String>,
        #[serde(default)]
        option: Option<String>,
        #[serde(default)]
        lacks: Option<String>,
    },
    /// A variable with such a name in a process that has run for so long. Its value is never read.
    SecretEnvironment {
        names: Vec<String>,
        #[serde(default)]
        except: Vec<String>,
        age_seconds_min: u64,
    },
    /// Users other than root belong to this group.
    GroupMembers { groups: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileType {
    File,
    Folder,
    Socket,
    Symlink,
    Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ecosystem {
    Python,
    Dpkg,
}

/// The built-in checks, and those of `*.toml` in a folder of the admin's own. A check there replaces the built-in one of its id.
pub(crate) fn load(own: Option<&Path>) -> Result<Vec<Check>, CheckError> {
    let mut checks = Vec::new();
    for (name, text) in BUILT_IN {
        checks.extend(parse(text, Path::new(name))?);
    }
    if let Some(folder) = own {
        let read = |source| CheckError::Read { path: folder.to_path_buf(), source };
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).map_err(read)?.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        for path in files {
            let read = |source| CheckError::Read { path: path.clone(), source };
            if std::fs::metadata(&path).map_err(read)?.len() > FILE_BYTES_MAX {
                return Err(CheckError::Invalid { path, message: format!("larger than {FILE_BYTES_MAX} bytes") });
            }
            for check in parse(&std::fs::read_to_string(&path).map_err(read)?, &path)? {
                checks.retain(|known: &Check| known.id != check.id);
                checks.push(check);
            }
            if checks.len() > CHECKS_MAX {
                return Err(CheckError::Invalid { path, message: format!("more than {CHECKS_MAX} checks") });
            }
        }
    }
    checks.sort_by(|left, right| left.id.cmp(&right.id));
    Ok(checks)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Check>, CheckError> {
    let invalid = |message| CheckError::Invalid { path: path.to_path_buf(), message };
    let file: CheckFile = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
    for check in &file.check {
        if check.fail.is_empty() {
            return Err(invalid(format!("{} can never fail", check.id)));
        }
        let process = check.applies.iter().chain(&check.fail).any(|condition| matches!(condition, Condition::Process { .. } | Condition::CanWrite { .. }));
        if process && check.process.is_none() {
            return Err(invalid(format!("{} speaks of a process and selects none", check.id)));
        }
        let modes = check.fail.iter().filter_map(|condition| if let Condition::File { mode_any, .. } = condition { mode_any.as_deref() } else { None });
        if let Some(mode) = modes.into_iter().find(|mode| u32::from_str_radix(mode, 8).is_err()) {
            return Err(invalid(format!("{}: {mode:?} is no octal mode", check.id)));
        }
    }
    Ok(file.check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_checks_have_ids_of_their_own_and_say_everything() {
        let checks = load(None).unwrap();
        assert!(checks.len() >= 20);
        for pair in checks.windows(2) {
            assert!(pair.first().unwrap().id < pair.last().unwrap().id);
        }
        for check in &checks {
            for text in [&check.title, &check.rationale, &check.remediation] {
                assert!(text.len() > 10, "{}", check.id);
            }
            assert!(check.standards.iter().any(|standard| standard.starts_with("ATT&CK ") || standard.starts_with("ATLAS ")), "{}", check.id);
        }
    }

    #[test]
    fn an_own_check_replaces_and_a_wrong_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        let check = |id: &str, fail: &str| {
            format!("[[check]]\nid = {id:?}\ntitle = \"t\"\nseverity = \"low\"\nrationale = \"r\"\nremediation = \"r\"\nstandards = []\nfail = [{fail}]\n")
        };
        let load = |text: String| {
            std::fs::write(&file, text).unwrap();
            load(Some(folder.path()))
        };
        let before = super::load(None).unwrap().len();
        let replaced = load(check("P01", "{ kind = \"listening\", ports = [1] }")).unwrap();
        assert_eq!((replaced.len(), replaced.first().unwrap().title.as_str()), (before, "t"));
        assert_eq!(load(check("X1", "{ kind = \"listening\", ports = [1] }")).unwrap().len(), before + 1);
        assert!(load(check("X1", "")).unwrap_err().to_string().contains("never fail"));
        assert!(load(check("X1", "{ kind = \"process\" }")).unwrap_err().to_string().contains("selects none"));
        assert!(load(check("X1", "{ kind = \"listenin\", ports = [] }")).is_err());
        assert!(load(check("X1", "{ kind = \"file\", paths = [], mode_any = \"9\" }")).unwrap_err().to_string().contains("octal"));
    }
}
