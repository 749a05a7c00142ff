//! The worker locks itself in. Each part says what became of it: an old kernel has less to offer, and the analyst is told.

use crate::limits::{CPU_SECONDS_MAX, FILES_MAX, MEMORY_BYTES_MAX};
use anyhow::{Context, Result};
use caps::{CapSet, CapsHashSet};
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
use std::collections::BTreeMap;

/// What may be asked for when the rules are known and before the first byte.
pub(crate) fn privileges() -> Result<Vec<String>> {
    let mut report = Vec::new();
    nix::sys::prctl::set_no_new_privs().context("set no_new_privs")?;
    // No other process of the same user may attach to this one, and no core of it is written.
    nix::sys::prctl::set_dumpable(false).context("forbid dumps")?;
    report.push("no_new_privs".to_owned());
    report.push(network());
    let failed = |error: caps::errors::CapsError| anyhow::anyhow!("drop capabilities: {error}");
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        match set {
            CapSet::Ambient => caps::clear(None, set).map_err(failed)?,
            _ => caps::set(None, set, &CapsHashSet::new()).map_err(failed)?,
        }
    }
    report.push(format!("user {} without capabilities", nix::unistd::geteuid()));
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY_BYTES_MAX),
        (Resource::RLIMIT_CPU, CPU_SECONDS_MAX),
        (Resource::RLIMIT_NOFILE, FILES_MAX),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit).with_context(|| format!("limit {resource:?}"))?;
    }
    report.push(format!("memory {} MiB, {FILES_MAX} descriptors, no core", MEMORY_BYTES_MAX >> 20));
    report.push(landlock()?);
    Ok(report)
}

/// The launcher of a root agent has made a namespace without network; otherwise this one tries.
fn network() -> String {
    let alone = || {
        std::fs::read_dir("/sys/class/net").is_ok()
            && std::fs::read_to_string("/proc/self/net/dev").is_ok_and(|table| !table.lines().skip(2).any(|line| !line.trim_start().starts_with("lo:")))
    };
    if alone() || nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).is_ok() && alone() {
        return "network namespace with nothing in it".to_owned();
    }
    "no network namespace: sockets are refused by seccomp alone".to_owned()
}

/// Every access to files, ports, and other processes' sockets that the kernel can refuse, and no exception.
fn landlock() -> Result<String> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V9))?
        .handle_access(AccessNet::from_all(ABI::V9))?
        .scope(Scope::from_all(ABI::V9))?
        .create()?
        .restrict_self()
        .context("restrict with Landlock")?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "landlock: everything refused".to_owned(),
        RulesetStatus::PartiallyEnforced => "landlock: everything refused that this kernel knows".to_owned(),
        RulesetStatus::NotEnforced => "landlock: this kernel has none, files are refused by seccomp alone".to_owned(),
    })
}

/// Only what reading descriptors and computing need, in every thread; any other system call ends the process.
pub(crate) fn system_calls() -> Result<String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|error| anyhow::anyhow!("seccomp: {error}"))?;
    let filter = SeccompFilter::new(allowed()?, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program).context("restrict with seccomp")?;
    Ok(format!("seccomp: {} system calls, any other kills", allowed()?.len()))
}

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = [
        // The descriptor that was passed, the socket, standard error.
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_lseek,
        libc::SYS_close,
        libc::SYS_recvmsg,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        // Memory.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        // Threads that exist, time, randomness of hash tables, use of CPU.
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_getrandom,
        libc::SYS_getrusage,
        // What the rule engine's clock thread still does when it has only just begun.
        libc::SYS_sched_getaffinity,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        // Signals: the rule engine's traps, and abort when memory is out.
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    // No memory becomes executable any more.
    let not_executable = || condition(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC.unsigned_abs().into()), 0);
    allowed.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![not_executable()?])?]);
    allowed.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable()?])?]);
    // Descriptors are copied, nothing else is done to them.
    let copy = |command: i32| -> Result<SeccompRule> { Ok(SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, command.unsigned_abs().into())?])?) };
    allowed.insert(libc::SYS_fcntl, vec![copy(libc::F_DUPFD_CLOEXEC)?, copy(libc::F_GETFD)?]);
    // The names of a thread and of memory.
    let name = |option: i32| -> Result<SeccompRule> { Ok(SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, option.unsigned_abs().into())?])?) };
    allowed.insert(libc::SYS_prctl, vec![name(libc::PR_SET_NAME)?, name(libc::PR_SET_VMA)?]);
    // Only to itself: how abort ends a process.
    let own = u64::from(std::process::id());
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, own)?])?]);
    Ok(allowed)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}
