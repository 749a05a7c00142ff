//! Real activity on this host for the sensor to see: numbered files, opens, processes.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

/// Makes files whose names carry a number, so that a reader of the store can tell which activity is there and which is missing.
///
/// The suffix is the test's own: nothing else on the host touches such files, therefore the sensor's file counters are the test's too.
#[derive(Debug)]
pub struct NumberedFiles {
    folder: PathBuf,
    suffix: String,
    next: u64,
    made_at: Vec<i64>,
}

impl NumberedFiles {
    /// Files in `folder` that end in `suffix` (with its dot).
    #[must_use]
    pub fn new(folder: &Path, suffix: &str) -> Self {
        Self { folder: folder.to_path_buf(), suffix: suffix.to_owned(), next: 0, made_at: Vec::new() }
    }

    /// A suffix that no other test of this machine uses: `.pk` and six hex digits.
    #[must_use]
    pub fn own_suffix() -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        format!(".pk{}", id.get(..6).unwrap_or("000000"))
    }

    /// Path of one number.
    #[must_use]
    pub fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("n-{number}{}", self.suffix))
    }

    /// How many were made: the numbers are `0..made`.
    #[must_use]
    pub const fn made(&self) -> u64 {
        self.next
    }

    /// Wall clock, ns since the epoch, right before number `n` was made.
    #[must_use]
    pub fn made_at(&self, number: u64) -> Option<i64> {
        usize::try_from(number).ok().and_then(|index| self.made_at.get(index).copied())
    }

    /// Makes `count` files, writes a byte into each, closes and removes it: a create, an update and a delete a number.
    pub fn make(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let path = self.path(self.next);
            self.made_at.push(now_ns());
            let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            file.write_all(b"x").with_context(|| format!("write {}", path.display()))?;
            drop(file);
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            self.next += 1;
        }
        Ok(())
    }
}

/// Wall clock in nanoseconds since the epoch.
#[must_use]
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

/// A file in the safetensors format with one tensor of `bytes` zero bytes.
pub fn write_safetensors(path: &Path, bytes: u64) -> Result<()> {
    let header = format!("{{\"weight\":{{\"dtype\":\"U8\",\"shape\":[{bytes}],\"data_offsets\":[0,{bytes}]}}}}");
    let mut file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    std::io::copy(&mut std::io::repeat(0).take(bytes), &mut file)?;
    Ok(())
}
