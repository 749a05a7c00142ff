//! Compiles each `bpf/<subject>.bpf.c` to `$OUT_DIR/<subject>.o`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One object a feature group: a section that a loader cannot parse fails its whole object.
const SUBJECTS: [&str; 12] =
    ["syscalls", "process", "access", "privilege", "mapping", "kernel", "file", "network", "datagram", "endpoint", "functions", "iterators"];

const INSTALL: &str = "install them with: apt-get install clang libbpf-dev linux-libc-dev (Fedora: dnf install clang libbpf-devel kernel-headers)";

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(reason) = compile_all() {
        println!("cargo::error={reason}");
        std::process::exit(1);
    }
}

fn compile_all() -> Result<(), String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run through cargo")?);
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if arch != "x86_64" {
        return Err(format!("the probes know the system call numbers of x86_64 only, not of {arch}"));
    }
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    for subject in SUBJECTS {
        compile(&clang, &Path::new("bpf").join(format!("{subject}.bpf.c")), &out.join(format!("{subject}.o")))?;
    }
    Ok(())
}

fn compile(clang: &std::ffi::OsStr, source: &Path, object: &Path) -> Result<(), String> {
    let result = Command::new(clang)
        .args(["-target", "bpf", "-O2", "-g", "-mcpu=v3", "-D__TARGET_ARCH_x86", "-Wall", "-Werror", "-c"])
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()
        .map_err(|error| format!("cannot run {}: {error}; the probes are compiled with clang 14 or newer, {INSTALL}", clang.to_string_lossy()))?;
    if result.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&result.stderr);
    if text.contains("bpf/bpf_helpers.h") && text.contains("not found") {
        return Err(format!("bpf/bpf_helpers.h is missing, {INSTALL}"));
    }
    // One line a message is what cargo takes.
    for line in text.lines() {
        println!("cargo::warning={line}");
    }
    Err(format!("clang could not compile {}", source.display()))
}
