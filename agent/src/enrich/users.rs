use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

/// A directory of users is larger than this only by mistake; the names beyond it stay empty.
const PASSWD_BYTES_MAX: u64 = 16 << 20;
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Names of users by `/etc/passwd`. Directory services (LDAP, SSSD) are not asked: that would be network I/O for each event.
pub(crate) struct Users {
    path: PathBuf,
    names: HashMap<u32, String>,
    modified: Option<SystemTime>,
    checked: Option<Instant>,
}

impl Users {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, names: HashMap::new(), modified: None, checked: None }
    }

    pub(crate) fn name(&mut self, uid: u32) -> String {
        if self.checked.is_none_or(|at| at.elapsed() >= CHECK_EVERY) {
            self.checked = Some(Instant::now());
            let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
            if modified != self.modified || modified.is_none() {
                self.modified = modified;
                self.read();
            }
        }
        self.names.get(&uid).cloned().unwrap_or_default()
    }

    fn read(&mut self) {
        let text = super::read_capped(&self.path, PASSWD_BYTES_MAX);
        self.names.clear();
        for line in String::from_utf8_lossy(&text).lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
                // The first entry wins, as in getpwuid(3).
                self.names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_uid_wins_and_unknown_ones_are_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        std::fs::write(&path, "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n# comment\nann:x:1000:1000::/:\n").unwrap();
        let mut users = Users::new(path);
        assert_eq!((users.name(0), users.name(1000), users.name(5)), ("root".to_owned(), "ann".to_owned(), String::new()));
    }
}
