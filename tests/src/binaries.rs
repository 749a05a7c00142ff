//! Where the real programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The path of one of `picket-agent`, `picket-server`, `picketctl`: from `PICKET_BIN_DIR`, else from the folder that cargo put the
/// running test or program into.
pub fn program(name: &str) -> Result<PathBuf> {
    let folders = match std::env::var_os("PICKET_BIN_DIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => beside_this_program()?,
    };
    for folder in &folders {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let places: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    bail!("{name} is not in {}: run `cargo build --workspace --bins` first, or set PICKET_BIN_DIR", places.join(", "))
}

fn beside_this_program() -> Result<Vec<PathBuf>> {
    let program = std::env::current_exe().context("path of this program")?;
    // A test lies in `<profile>/deps`, a program in `<profile>`.
    let folder = program.parent().context("folder of this program")?;
    Ok([Some(folder), folder.parent()].into_iter().flatten().map(Path::to_path_buf).collect())
}

/// Why this process cannot load BPF programs, or `None` where it can: root with the capabilities, on a kernel that describes its types.
#[must_use]
pub fn can_trace() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root to load BPF programs".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel carries no BTF (/sys/kernel/btf/vmlinux)".to_owned());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or_default();
    // CAP_SYS_ADMIN (21) or CAP_BPF (39) with CAP_PERFMON (38).
    let allowed = effective >> 21 & 1 == 1 || (effective >> 39 & 1 == 1 && effective >> 38 & 1 == 1);
    (!allowed).then(|| "this root has neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON".to_owned())
}
