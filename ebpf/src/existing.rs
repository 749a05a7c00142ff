//! What was there before the sensor, and the kernel's names for the loader's own descriptors: the iterators, read to their ends.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::SocketAddr;

use crate::attach::open_iterator;
use crate::decode::{decode, length};
use crate::layout as at;
use crate::objects::Objects;
use crate::record::{Body, Exec, FlowOp, FlowProtocol, Record, RecordFlags};
use crate::sensor::SensorError;

/// A host with more processes or sockets than fit here is read up to it.
const ITERATOR_BYTES_MAX: u64 = 256 << 20;

/// What the kernel calls one of this process's descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inode {
    pub(crate) inode_ptr: u64,
    pub(crate) super_ptr: u64,
    pub(crate) mount_ptr: u64,
}

fn read(objects: &mut Objects, program: &'static str) -> Result<Vec<u8>, SensorError> {
    let file = open_iterator(objects, program).map_err(|reason| SensorError::Map { what: program, reason })?;
    let mut bytes = Vec::new();
    file.take(ITERATOR_BYTES_MAX).read_to_end(&mut bytes).map_err(|source| SensorError::Io { what: program, source })?;
    Ok(bytes)
}

/// Every descriptor of this process.
pub(crate) fn own_descriptors(objects: &mut Objects) -> Result<HashMap<u32, Inode>, SensorError> {
    let bytes = read(objects, "iterate_own_files")?;
    Ok(bytes
        .chunks_exact(at::EVENT_INODE__SIZE)
        .filter_map(|chunk| {
            let word = |offset: usize| chunk.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
            let fd = chunk.get(at::EVENT_INODE__FD..at::EVENT_INODE__FD + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)?;
            let inode = Inode {
                inode_ptr: word(at::EVENT_INODE__INODE_PTR)?,
                super_ptr: word(at::EVENT_INODE__SUPER_PTR)?,
                mount_ptr: word(at::EVENT_INODE__MOUNT_PTR)?,
            };
            Some((fd, inode))
        })
        .collect())
}

/// Every process. Kernel threads have no executable and no arguments.
pub(crate) fn processes(objects: &mut Objects, environment: &[String]) -> Result<Vec<Record>, SensorError> {
    let own = own_pid_namespace();
    let mut records = running(objects)?;
    for record in &mut records {
        complete(record, own, environment);
    }
    Ok(records)
}

/// Every process as the kernel knows it: without what stands in its own memory.
pub(crate) fn running(objects: &mut Objects) -> Result<Vec<Record>, SensorError> {
    let bytes = read(objects, "iterate_processes")?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while let Ok(len) = length(rest) {
        let (one, after) = rest.split_at(len);
        rest = after;
        records.extend(decode(one));
    }
    Ok(records)
}

/// The kernel's numbers of process ids of this pid namespace: the same, but in a container.
pub(crate) fn kernel_pids(objects: &mut Objects, pids: &[u32]) -> Result<Vec<u32>, SensorError> {
    let own = own_pid_namespace();
    if own == PROC_PID_INIT_INO {
        return Ok(pids.to_vec());
    }
    let records = processes(objects, &[])?;
    let of = |record: &Record| match &record.body {
        Body::Exec(exec) if exec.pid_ns == own && pids.contains(&exec.ns_pid) => Some(record.task.pid),
        _ => None,
    };
    Ok(records.iter().filter_map(of).collect())
}

/// Every established or listening TCP socket and every bound UDP one with its holder, then TCP sockets that nobody holds.
pub(crate) fn flows(objects: &mut Objects) -> Result<Vec<Record>, SensorError> {
    let mut bytes = read(objects, "iterate_held_sockets")?;
    bytes.extend(read(objects, "iterate_orphan_sockets")?);
    let mut records: Vec<Record> = bytes.chunks_exact(at::EVENT_FLOW__SIZE).filter_map(|chunk| decode(chunk).ok()).collect();
    let listening: Vec<SocketAddr> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Flow(flow) if flow.op == FlowOp::Listen && flow.protocol == FlowProtocol::Tcp => Some(flow.local),
            _ => None,
        })
        .collect();
    let accepted =
        |local: SocketAddr| listening.iter().any(|listener| listener.port() == local.port() && (listener.ip().is_unspecified() || listener.ip() == local.ip()));
    for record in &mut records {
        if let Body::Flow(flow) = &mut record.body
            && flow.op == FlowOp::Existing
        {
            flow.inbound = flow.inbound || accepted(flow.local);
        }
    }
    Ok(records)
}

/// Inode of the pid namespace that /proc speaks of.
fn own_pid_namespace() -> u32 {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().trim_start_matches("pid:[").trim_end_matches(']').parse().unwrap_or(0)
}

/// The initial pid namespace's fixed inode (`PROC_PID_INIT_INO`).
const PROC_PID_INIT_INO: u32 = 0xEFFF_FFFC;

/// Arguments and environment from /proc: the kernel side cannot read another process's memory. Taken only while the start time there
/// is that of the record, so that a pid used again does not lend its arguments.
fn complete(record: &mut Record, own_pid_namespace: u32, environment: &[String]) {
    let (task, Body::Exec(exec)) = (&record.task, &mut record.body) else { return };
    if exec.exe_path.is_empty() && exec.exe_inode == 0 {
        return;
    }
    let pid = if own_pid_namespace == PROC_PID_INIT_INO {
        task.pid
    } else if exec.pid_ns == own_pid_namespace {
        exec.ns_pid
    } else {
        record.flags = RecordFlags(record.flags.0 | RecordFlags::USER_FAULT.0);
        return;
    };
    let (args, kept) = (read_bounded(&format!("/proc/{pid}/cmdline"), ARGS_MAX + 1), read_bounded(&format!("/proc/{pid}/environ"), ENVIRONMENT_SCAN_MAX));
    let (Some(args), true) = (args, started(pid) == Some(task.start_boot_ns / NS_PER_TICK)) else {
        record.flags = RecordFlags(record.flags.0 | RecordFlags::USER_FAULT.0);
        return;
    };
    if args.len() > ARGS_MAX {
        record.flags = RecordFlags(record.flags.0 | RecordFlags::ARGS_CUT.0);
    }
    fill(exec, args, &kept.unwrap_or_default(), environment);
}

/// `ARGS_MAX` of the probes.
const ARGS_MAX: usize = 4096;
const ENVIRONMENT_SCAN_MAX: usize = 256 << 10;
/// `USER_HZ` is 100 on every `x86_64` kernel.
const NS_PER_TICK: u64 = 10_000_000;

fn fill(exec: &mut Exec, mut args: Vec<u8>, block: &[u8], environment: &[String]) {
    args.truncate(ARGS_MAX);
    if args.last() == Some(&0) {
        args.pop();
    }
    exec.argc = if args.is_empty() { 0 } else { u32::try_from(args.split(|byte| *byte == 0).count()).unwrap_or(u32::MAX) };
    exec.args = args;
    let listed = |pair: &&[u8]| environment.iter().any(|name| pair.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')));
    exec.environment = block.split(|byte| *byte == 0).filter(listed).collect::<Vec<_>>().join(&0);
}

fn read_bounded(path: &str, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(bytes_max as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Start time in ticks since boot: the 22nd field of /proc/PID/stat, counted from behind the name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = read_bounded(&format!("/proc/{pid}/stat"), 4096)?;
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    text.split_ascii_whitespace().nth(19)?.parse().ok()
}
