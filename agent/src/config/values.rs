//! Single values, checked where they are parsed so that the error knows its place.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Error};

/// What a watched tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AssetClass {
    Model,
    Dataset,
    Code,
    Credential,
    Registry,
}

impl AssetClass {
    /// What the scanner has parsers for; a tree of credentials or of code is watched, and not read whole once a day.
    pub(crate) const fn holds_artifacts(self) -> bool {
        matches!(self, Self::Model | Self::Dataset | Self::Registry)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Code => "code",
            Self::Credential => "credential",
            Self::Registry => "registry",
        }
    }
}

/// Who sees what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// The kernel's probes, and the file system's notices where those cannot be loaded.
    Auto,
    /// The kernel's probes or nothing.
    Ebpf,
    /// The file system's notices.
    FsWatch,
}

pub(super) fn absolute_path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.is_absolute() { Ok(path) } else { Err(D::Error::custom("must be an absolute path")) }
}

pub(super) fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    absolute_path(from).map(Some)
}

pub(super) fn absolute_paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths = Vec::<PathBuf>::deserialize(from)?;
    if paths.iter().all(|path| path.is_absolute()) { Ok(paths) } else { Err(D::Error::custom("must be absolute paths")) }
}

pub(super) fn server_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<url::Url>, D::Error> {
    crate::identity::server_url(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

fn within<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialOrd + Display>(from: D, range: RangeInclusive<T>) -> Result<T, D::Error> {
    let value = T::deserialize(from)?;
    if range.contains(&value) { Ok(value) } else { Err(D::Error::custom(format!("must be between {} and {}", range.start(), range.end()))) }
}

pub(super) fn ring_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let bytes = within(from, 64 << 10..=512 << 20)?;
    if u32::is_power_of_two(bytes) { Ok(bytes) } else { Err(D::Error::custom("must be a power of two")) }
}

pub(super) fn drain_interval_ms<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 1..=1_000)
}

pub(super) fn queue_bytes_max<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    within(from, 64 << 10..=1 << 30)
}

pub(super) fn entries_max<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    within(from, 256..=1 << 20)
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 1..=86_400)
}

pub(super) fn heartbeat_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 1..=20)
}

pub(super) fn seconds_or_never<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 0..=86_400)
}

pub(super) fn spool_bytes_max<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 64 << 10..=1 << 40)
}

pub(super) fn segment_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 4 << 10..=64 << 20)
}

pub(super) fn reserve_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    within(from, 4 << 10..=1 << 30).map(Some)
}

pub(super) fn memory_bytes_max<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 16 << 20..=1 << 40)
}

pub(super) fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within(from, 0.0..=100.0)
}

pub(super) fn quiet_ms<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 10..=600_000)
}

pub(super) fn scan_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 1..=3_600)
}

pub(super) fn cpu_percent<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within(from, 1.0..=100.0)
}

pub(super) fn bytes_per_second<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 1 << 20..=1 << 40)
}

pub(super) fn rescan_hours<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 0..=8_760)
}

pub(super) fn extensions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    for name in &names {
        let good = name.len() > 1 && name.len() <= 15 && !name.contains('/') && !name.chars().any(char::is_uppercase) && name.rfind('.') == Some(0);
        if !good {
            return Err(D::Error::custom(format!("{name:?} is no extension: lower case, with its dot, at most 15 bytes")));
        }
    }
    Ok(names)
}

pub(super) fn environment<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.len() > 64 {
        return Err(D::Error::custom("at most 64 names"));
    }
    for name in &names {
        if name.is_empty() || name.len() > 23 || name.contains('=') {
            return Err(D::Error::custom(format!("{name:?} is no variable name of at most 23 bytes")));
        }
    }
    Ok(names)
}

pub(super) fn traffic_interval_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    within(from, 0..=3_600)
}

pub(super) fn dns_ports<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
    let ports = Vec::<u16>::deserialize(from)?;
    if ports.len() > 8 || ports.contains(&0) { Err(D::Error::custom("at most 8 ports, none of them 0")) } else { Ok(ports) }
}

pub(super) fn local_sockets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.len() > 64 {
        return Err(D::Error::custom("at most 64 names"));
    }
    for name in &names {
        if name.is_empty() || name.len() > 31 || name.contains(['/', '\0']) {
            return Err(D::Error::custom(format!("{name:?} is not the last part of a socket's name, of at most 31 bytes")));
        }
    }
    Ok(names)
}
