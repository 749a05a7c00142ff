//! Memory that stays small for months: loading the probes takes 20 MiB for a moment, which glibc would keep for ever, once for each
//! thread that ever asked for memory.

use std::{env, os::unix::process::CommandExt, process::Command};

/// One arena; what is free at its top goes back to the kernel, and so does every large block.
const TUNING: [(&str, &str); 3] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "131072")];

/// glibc reads its tuning before `main`, so the process replaces itself once; pid and file descriptors stay. Where that is not possible,
/// or somebody has chosen other values, things go on as they are.
pub(crate) fn settle() {
    if TUNING.iter().any(|(name, _)| env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = env::args_os();
    if let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) {
        let _ = Command::new(program).arg0(name).args(arguments).envs(TUNING).exec();
    }
}
