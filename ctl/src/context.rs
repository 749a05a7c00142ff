//! The servers that this user has signed in to: `~/.config/picket/config.toml`, readable by its owner alone because it holds tokens.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CtlError;

/// One server and the sign-in there.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `https://host:port` of the API.
    pub(crate) url: String,
    /// The deployment's CA certificate, base64 of DER: the only root that this context trusts.
    pub(crate) ca_certificate: String,
    /// base64url of the SHA-256 of that CA's public key, as the sign-in code carried it.
    pub(crate) ca_pin: String,
    /// Who signed in.
    #[serde(default)]
    pub(crate) user: String,
    /// Absent after `logout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_expires_at: Option<String>,
}

/// The whole file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that commands use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
    #[serde(skip)]
    path: PathBuf,
}

impl Contexts {
    /// Reads the file; an absent one is empty, one that others can read is refused.
    pub(crate) fn load() -> Result<Self, CtlError> {
        Self::load_from(path()?)
    }

    fn load_from(path: PathBuf) -> Result<Self, CtlError> {
        let wrong = |message: String| CtlError::Config { path: path.clone(), message };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { path, ..Self::default() }),
            Err(error) => return Err(wrong(error.to_string())),
        };
        if metadata.mode() & 0o077 != 0 {
            return Err(wrong(format!("holds tokens and others can read it; run: chmod 600 {}", path.display())));
        }
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let mut contexts: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        contexts.path = path;
        Ok(contexts)
    }

    /// Writes the file beside itself and renames it, so that a crash leaves the old or the new one.
    pub(crate) fn save(&self) -> Result<(), CtlError> {
        let wrong = |message: String| CtlError::Config { path: self.path.clone(), message };
        let text = toml::to_string(self).map_err(|error| wrong(error.to_string()))?;
        self.write(&text).map_err(|error| wrong(error.to_string()))
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.exists() {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        let beside = self.path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // Best effort: the first error is the one to tell.
            drop(fs::remove_file(&beside));
        }
        written
    }

    /// The context of that name, else the current one.
    pub(crate) fn pick(&self, name: Option<&str>) -> Result<(&str, &Context), CtlError> {
        let name = name.or(self.current.as_deref()).ok_or(CtlError::NoContext)?;
        match self.contexts.get_key_value(name) {
            Some((name, context)) => Ok((name, context)),
            None => Err(CtlError::Usage(format!("no context `{name}`; there are: {}", self.names()))),
        }
    }

    fn names(&self) -> String {
        if self.contexts.is_empty() { "none".to_owned() } else { self.contexts.keys().map(String::as_str).collect::<Vec<_>>().join(", ") }
    }
}

fn path() -> Result<PathBuf, CtlError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("PICKET_CONFIG")
        .or_else(|| set("XDG_CONFIG_HOME").map(|folder| folder.join("picket/config.toml")))
        .or_else(|| set("HOME").map(|folder| folder.join(".config/picket/config.toml")))
        .ok_or_else(|| CtlError::Usage("neither HOME nor PICKET_CONFIG is set: where should the sign-in be kept?".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(url: &str) -> Context {
        Context {
            url: url.to_owned(),
            ca_certificate: "QQ==".to_owned(),
            ca_pin: "pin".to_owned(),
            user: "admin".to_owned(),
            token: Some("pk1.a.b".to_owned()),
            token_expires_at: None,
        }
    }

    #[test]
    fn a_saved_file_reads_back_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.toml");
        let mut contexts = Contexts::load_from(path.clone()).unwrap();
        assert!(matches!(contexts.pick(None), Err(CtlError::NoContext)));
        contexts.contexts.insert("lab".to_owned(), context("https://lab:8443"));
        contexts.current = Some("lab".to_owned());
        contexts.save().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let again = Contexts::load_from(path.clone()).unwrap();
        assert_eq!(again.pick(None).unwrap().1.url, "https://lab:8443");
        assert!(again.pick(Some("other")).is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(Contexts::load_from(path).err().unwrap().to_string().contains("chmod 600"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "current = \"a\"\ncolour = 1\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let text = Contexts::load_from(path).err().unwrap().to_string();
        assert!(text.contains("line 2") && text.contains("colour"), "{text}");
    }
}
