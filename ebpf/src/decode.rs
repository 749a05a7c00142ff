//! Kernel bytes into [`Record`]s, by checked reads only: a short or lying record is a [`DecodeError`], never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::layout::{self as at, ACTION_TEXTS, ACTION_VALUES, KIND_ACTION, KIND_DNS, KIND_EXEC, KIND_EXIT, KIND_FILE, KIND_FLOW, KIND_FORK, KIND_SOCKET};
use crate::record::{
    Action, ActionOp, Body, DecodeError, Dns, Exec, Exit, File, FileChange, FileMethods, FileOp, Flow, FlowOp, FlowProtocol, Fork, Record, RecordFlags, Socket,
    SocketOp, Task,
};

/// Decodes one record. Bytes after it are ignored, so that records can lie one after the other; see [`length`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let raw = Raw { bytes, kind: Raw { bytes, kind: 0 }.u16(at::EVENT_HEADER__KIND)? };
    let body = match raw.kind {
        KIND_FORK => Body::Fork(fork(raw)?),
        KIND_EXEC => Body::Exec(Box::new(exec(raw)?)),
        KIND_EXIT => Body::Exit(Exit { code: raw.u32(at::EVENT_EXIT__CODE)? }),
        KIND_ACTION => Body::Action(Box::new(action(raw)?)),
        KIND_FILE => Body::File(Box::new(file(raw)?)),
        KIND_FLOW => Body::Flow(flow(raw)?),
        KIND_DNS => Body::Dns(Box::new(dns(raw)?)),
        KIND_SOCKET => Body::Socket(Box::new(socket(raw)?)),
        other => return Err(DecodeError::Kind(other)),
    };
    Ok(Record {
        time_boot_ns: raw.u64(at::EVENT_HEADER__TIME_BOOT_NS)?,
        cpu: raw.u32(at::EVENT_HEADER__CPU)?,
        flags: RecordFlags(raw.u16(at::EVENT_HEADER__FLAGS)?),
        task: task(raw, at::EVENT_HEADER__TASK)?,
        body,
    })
}

/// Bytes that the record at the start of `bytes` takes, from its own header.
pub(crate) fn length(bytes: &[u8]) -> Result<usize, DecodeError> {
    let raw = Raw { bytes, kind: Raw { bytes, kind: 0 }.u16(at::EVENT_HEADER__KIND)? };
    let len = match raw.kind {
        KIND_FORK => at::EVENT_FORK__SIZE,
        KIND_EXIT => at::EVENT_EXIT__SIZE,
        KIND_FLOW => at::EVENT_FLOW__SIZE,
        KIND_SOCKET => at::EVENT_SOCKET__SIZE.saturating_add(raw.u32(at::EVENT_SOCKET__USED)? as usize),
        KIND_DNS => at::EVENT_DNS__SIZE.saturating_add(raw.u16(at::EVENT_DNS__USED)?.into()),
        KIND_EXEC => at::EVENT_EXEC__SIZE.saturating_add(raw.u32(at::EVENT_EXEC__USED)? as usize),
        KIND_ACTION => at::EVENT_ACTION__SIZE.saturating_add(raw.u32(at::EVENT_ACTION__USED)? as usize),
        KIND_FILE => at::EVENT_FILE__SIZE.saturating_add(raw.u32(at::EVENT_FILE__USED)? as usize),
        other => return Err(DecodeError::Kind(other)),
    };
    raw.range(0, len)?;
    Ok(len)
}

/// Kind in the header, for counting what cannot be decoded.
pub(crate) fn kind(bytes: &[u8]) -> u16 {
    Raw { bytes, kind: 0 }.u16(at::EVENT_HEADER__KIND).unwrap_or(0)
}

#[derive(Clone, Copy)]
struct Raw<'a> {
    bytes: &'a [u8],
    kind: u16,
}

impl<'a> Raw<'a> {
    fn range(self, offset: usize, len: usize) -> Result<&'a [u8], DecodeError> {
        offset.checked_add(len).and_then(|end| self.bytes.get(offset..end)).ok_or(DecodeError::Short { kind: self.kind, len: self.bytes.len() })
    }

    fn array<const N: usize>(self, offset: usize) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.range(offset, N)?);
        Ok(out)
    }

    fn u8(self, offset: usize) -> Result<u8, DecodeError> {
        Ok(u8::from_ne_bytes(self.array(offset)?))
    }

    fn u16(self, offset: usize) -> Result<u16, DecodeError> {
        Ok(u16::from_ne_bytes(self.array(offset)?))
    }

    fn u32(self, offset: usize) -> Result<u32, DecodeError> {
        Ok(u32::from_ne_bytes(self.array(offset)?))
    }

    fn u64(self, offset: usize) -> Result<u64, DecodeError> {
        Ok(u64::from_ne_bytes(self.array(offset)?))
    }

    /// The texts that follow the fixed part, with the lengths that the record gives.
    fn texts<const N: usize>(self, fixed: usize, lengths: [usize; N]) -> Result<[&'a [u8]; N], DecodeError> {
        let claimed: usize = lengths.iter().sum();
        let mut rest = self.range(fixed, claimed).map_err(|_| DecodeError::Lengths { kind: self.kind, claimed, len: self.bytes.len() })?;
        Ok(lengths.map(|len| {
            let (text, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            text
        }))
    }
}

fn task(raw: Raw<'_>, base: usize) -> Result<Task, DecodeError> {
    let comm: [u8; 16] = raw.array(base + at::EVENT_TASK__COMM)?;
    let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Task {
        pid: raw.u32(base + at::EVENT_TASK__PID)?,
        tid: raw.u32(base + at::EVENT_TASK__TID)?,
        start_boot_ns: raw.u64(base + at::EVENT_TASK__START_BOOT_NS)?,
        parent_pid: raw.u32(base + at::EVENT_TASK__PARENT_PID)?,
        parent_start_boot_ns: raw.u64(base + at::EVENT_TASK__PARENT_START_BOOT_NS)?,
        uid: raw.u32(base + at::EVENT_TASK__UID)?,
        euid: raw.u32(base + at::EVENT_TASK__EUID)?,
        gid: raw.u32(base + at::EVENT_TASK__GID)?,
        auid: raw.u32(base + at::EVENT_TASK__AUID)?,
        cgroup_id: raw.u64(base + at::EVENT_TASK__CGROUP_ID)?,
        comm: String::from_utf8_lossy(comm).into_owned(),
    })
}

fn fork(raw: Raw<'_>) -> Result<Fork, DecodeError> {
    Ok(Fork { child_pid: raw.u32(at::EVENT_FORK__CHILD_PID)?, child_start_boot_ns: raw.u64(at::EVENT_FORK__CHILD_START_BOOT_NS)? })
}

fn exec(raw: Raw<'_>) -> Result<Exec, DecodeError> {
    let lengths = [at::EVENT_EXEC__ARGS_LEN, at::EVENT_EXEC__ENVIRONMENT_LEN, at::EVENT_EXEC__EXE_LEN, at::EVENT_EXEC__CWD_LEN];
    let mut sizes = [0; 4];
    for (size, offset) in sizes.iter_mut().zip(lengths) {
        *size = usize::from(raw.u16(offset)?);
    }
    let [args, environment, exe, cwd] = raw.texts(at::EVENT_EXEC__SIZE, sizes)?;
    Ok(Exec {
        args: trimmed(args),
        argc: raw.u32(at::EVENT_EXEC__ARGC)?,
        environment: trimmed(environment),
        exe_path: path(exe),
        exe_inode: raw.u64(at::EVENT_EXEC__EXE_INODE)?,
        exe_device: raw.u32(at::EVENT_EXEC__EXE_DEVICE)?,
        cwd: path_or_root(cwd, raw.u32(at::EVENT_EXEC__MNT_NS)? != 0),
        capabilities: raw.u64(at::EVENT_EXEC__CAPABILITIES)?,
        mnt_ns: raw.u32(at::EVENT_EXEC__MNT_NS)?,
        pid_ns: raw.u32(at::EVENT_EXEC__PID_NS)?,
        net_ns: raw.u32(at::EVENT_EXEC__NET_NS)?,
        user_ns: raw.u32(at::EVENT_EXEC__USER_NS)?,
        ns_pid: raw.u32(at::EVENT_EXEC__NS_PID)?,
        session_pid: raw.u32(at::EVENT_EXEC__SESSION_PID)?,
        session_start_boot_ns: raw.u64(at::EVENT_EXEC__SESSION_START_BOOT_NS)?,
        tty: (raw.u16(at::EVENT_EXEC__TTY_MAJOR)?, raw.u16(at::EVENT_EXEC__TTY_MINOR)?),
    })
}

fn file(raw: Raw<'_>) -> Result<File, DecodeError> {
    let sizes = [usize::from(raw.u16(at::EVENT_FILE__PATH_LEN)?), usize::from(raw.u16(at::EVENT_FILE__NEW_PATH_LEN)?)];
    let [old, new] = raw.texts(at::EVENT_FILE__SIZE, sizes)?;
    let op = match raw.u8(at::EVENT_FILE__OP)? {
        1 => FileOp::Open,
        2 => FileOp::CloseWrite,
        3 => FileOp::Rename,
        4 => FileOp::Unlink,
        5 => FileOp::Use,
        6 => FileOp::Change(change(raw)?),
        7 => FileOp::Link,
        other => return Err(DecodeError::Operation { kind: raw.kind, operation: other }),
    };
    Ok(File {
        op,
        created: raw.u8(at::EVENT_FILE__CREATED)? != 0,
        open_flags: raw.u32(at::EVENT_FILE__OPEN_FLAGS)?,
        mode_bits: raw.u32(at::EVENT_FILE__MODE_BITS)?,
        path: path(old),
        new_path: path(new),
        inode: raw.u64(at::EVENT_FILE__INODE)?,
        device: raw.u32(at::EVENT_FILE__DEVICE)?,
        i_mode: raw.u16(at::EVENT_FILE__I_MODE)?,
        owner_uid: raw.u32(at::EVENT_FILE__OWNER_UID)?,
        size: raw.u64(at::EVENT_FILE__SIZE_BYTES)?,
        watch_id: raw.u32(at::EVENT_FILE__WATCH_ID)?,
        bytes_read: raw.u64(at::EVENT_FILE__BYTES_READ)?,
        bytes_written: raw.u64(at::EVENT_FILE__BYTES_WRITTEN)?,
        methods: FileMethods(raw.u16(at::EVENT_FILE__METHODS)?),
        until_end: raw.u8(at::EVENT_FILE__UNTIL_END)? != 0,
    })
}

fn change(raw: Raw<'_>) -> Result<FileChange, DecodeError> {
    Ok(match raw.u8(at::EVENT_FILE__CHANGE)? {
        1 => FileChange::Mode,
        2 => FileChange::Owner,
        3 => FileChange::Times,
        4 => FileChange::ExtendedAttribute,
        5 => FileChange::Size,
        6 => FileChange::Space,
        other => return Err(DecodeError::Operation { kind: raw.kind, operation: other }),
    })
}

fn action(raw: Raw<'_>) -> Result<Action, DecodeError> {
    let number = raw.u16(at::EVENT_ACTION__OP)?;
    let op = ActionOp::from_number(number).ok_or(DecodeError::Operation { kind: raw.kind, operation: u8::try_from(number).unwrap_or(u8::MAX) })?;
    let mut sizes = [0; ACTION_TEXTS];
    for (index, size) in sizes.iter_mut().enumerate() {
        *size = usize::from(raw.u16(at::EVENT_ACTION__TEXT_LEN + index * 2)?);
    }
    let [first, second, third] = raw.texts(at::EVENT_ACTION__SIZE, sizes)?;
    let mut values = [0; ACTION_VALUES];
    for (index, value) in values.iter_mut().enumerate() {
        *value = raw.u64(at::EVENT_ACTION__VALUES + index * 8)?;
    }
    let target = task(raw, at::EVENT_ACTION__TARGET)?;
    Ok(Action {
        op,
        call: raw.u16(at::EVENT_ACTION__CALL)?,
        result: i32::from_ne_bytes(raw.array(at::EVENT_ACTION__RESULT)?),
        count: raw.u32(at::EVENT_ACTION__COUNT)?,
        target: (target.pid != 0).then_some(target),
        values,
        texts: [if op.has_path() { path(first) } else { trimmed(first) }, trimmed(second), trimmed(third)],
    })
}

fn flow(raw: Raw<'_>) -> Result<Flow, DecodeError> {
    let op = match raw.u8(at::EVENT_FLOW__OP)? {
        1 => FlowOp::Connect,
        2 => FlowOp::Accept,
        3 => FlowOp::Close,
        4 => FlowOp::Fail,
        5 => FlowOp::Existing,
        6 => FlowOp::Traffic,
        7 => FlowOp::Listen,
        other => return Err(DecodeError::Operation { kind: raw.kind, operation: other }),
    };
    let family = raw.u16(at::EVENT_FLOW__FAMILY)?;
    Ok(Flow {
        op,
        local: address(family, raw.array(at::EVENT_FLOW__LOCAL)?, raw.u16(at::EVENT_FLOW__LOCAL_PORT)?),
        remote: address(family, raw.array(at::EVENT_FLOW__REMOTE)?, raw.u16(at::EVENT_FLOW__REMOTE_PORT)?),
        bytes_sent: raw.u64(at::EVENT_FLOW__BYTES_SENT)?,
        bytes_received: raw.u64(at::EVENT_FLOW__BYTES_RECEIVED)?,
        cookie: raw.u64(at::EVENT_FLOW__COOKIE)?,
        established_boot_ns: raw.u64(at::EVENT_FLOW__ESTABLISHED_BOOT_NS)?,
        inbound: raw.u8(at::EVENT_FLOW__INBOUND)? != 0,
        error: raw.u32(at::EVENT_FLOW__ERROR)?,
        protocol: protocol(raw)?,
        quic: raw.u8(at::EVENT_FLOW__APP)? == 1,
        merged: raw.u16(at::EVENT_FLOW__MERGED)? != 0,
    })
}

fn protocol(raw: Raw<'_>) -> Result<FlowProtocol, DecodeError> {
    match raw.u8(at::EVENT_FLOW__PROTOCOL)? {
        6 => Ok(FlowProtocol::Tcp),
        17 => Ok(FlowProtocol::Udp),
        other => Err(DecodeError::Operation { kind: raw.kind, operation: other }),
    }
}

/// Begins with a flow record, of which the ends and the socket are filled.
fn dns(raw: Raw<'_>) -> Result<Dns, DecodeError> {
    let response = match raw.u8(at::EVENT_DNS__OP)? {
        1 => false,
        2 => true,
        other => return Err(DecodeError::Operation { kind: raw.kind, operation: other }),
    };
    let [message] = raw.texts(at::EVENT_DNS__SIZE, [usize::from(raw.u16(at::EVENT_DNS__USED)?)])?;
    let family = raw.u16(at::EVENT_FLOW__FAMILY)?;
    Ok(Dns {
        response,
        cookie: raw.u64(at::EVENT_FLOW__COOKIE)?,
        local: address(family, raw.array(at::EVENT_FLOW__LOCAL)?, raw.u16(at::EVENT_FLOW__LOCAL_PORT)?),
        remote: address(family, raw.array(at::EVENT_FLOW__REMOTE)?, raw.u16(at::EVENT_FLOW__REMOTE_PORT)?),
        protocol: protocol(raw)?,
        message_bytes: raw.u32(at::EVENT_DNS__MESSAGE_BYTES)?,
        message: message.to_vec(),
    })
}

fn socket(raw: Raw<'_>) -> Result<Socket, DecodeError> {
    let [name] = raw.texts(at::EVENT_SOCKET__SIZE, [usize::from(raw.u16(at::EVENT_SOCKET__NAME_LEN)?)])?;
    let op = match (raw.u8(at::EVENT_SOCKET__OP)?, raw.u8(at::EVENT_SOCKET__NAME)?) {
        (1, 1) => SocketOp::Local(path(name)),
        (1, 2) => SocketOp::Abstract(name.to_vec()),
        (2, 0) => SocketOp::Special,
        (other, _) => return Err(DecodeError::Operation { kind: raw.kind, operation: other }),
    };
    Ok(Socket {
        op,
        family: raw.u16(at::EVENT_SOCKET__FAMILY)?,
        kind: raw.u16(at::EVENT_SOCKET__TYPE)?,
        protocol: raw.u16(at::EVENT_SOCKET__PROTOCOL)?,
        cookie: raw.u64(at::EVENT_SOCKET__COOKIE)?,
        inode: raw.u64(at::EVENT_SOCKET__INODE)?,
        device: raw.u32(at::EVENT_SOCKET__DEVICE)?,
        i_mode: raw.u16(at::EVENT_SOCKET__I_MODE)?,
        owner_uid: raw.u32(at::EVENT_SOCKET__OWNER_UID)?,
    })
}

/// `AF_INET` is 2; IPv4 carried in IPv6 is shown as what it is on the wire.
fn address(family: u16, bytes: [u8; 16], port: u16) -> SocketAddr {
    let [a, b, c, d, ..] = bytes;
    let ip = if family == 2 { IpAddr::V4(Ipv4Addr::new(a, b, c, d)) } else { IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical() };
    SocketAddr::new(ip, port)
}

/// Components from the leaf up, each ended by NUL, into `/root/…/leaf`.
fn path(components: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(components.len());
    for component in components.strip_suffix(&[0]).unwrap_or(components).rsplit(|byte| *byte == 0) {
        if !components.is_empty() {
            out.push(b'/');
            out.extend_from_slice(component);
        }
    }
    out
}

/// A directory without any component is the root; only a task without files (`known` false) has none at all.
fn path_or_root(components: &[u8], known: bool) -> Vec<u8> {
    if components.is_empty() && known { b"/".to_vec() } else { path(components) }
}

fn trimmed(text: &[u8]) -> Vec<u8> {
    text.strip_suffix(&[0]).unwrap_or(text).to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn components_from_the_leaf_become_a_path_from_the_root() {
        assert_eq!(path(b"file\0dir\0top\0"), b"/top/dir/file");
        assert_eq!(path(b"file\0"), b"/file");
        assert_eq!(path(b""), b"");
        assert_eq!(path_or_root(b"", true), b"/");
        assert_eq!(path_or_root(b"", false), b"");
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mut bytes = [0; 16];
        bytes[10..].copy_from_slice(&[0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(address(10, bytes, 443), "10.1.2.3:443".parse().expect("address"));
        assert_eq!(address(2, [127, 0, 0, 1, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0], 80), "127.0.0.1:80".parse().expect("address"));
    }

    fn sized(kind: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..2].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }

    #[test]
    fn every_kind_refuses_a_record_shorter_than_its_fixed_part() {
        for (kind, size) in [
            (KIND_FORK, at::EVENT_FORK__SIZE - 4),
            (KIND_EXIT, at::EVENT_EXIT__SIZE - 4),
            (KIND_ACTION, at::EVENT_ACTION__SIZE - 4),
            (KIND_EXEC, at::EVENT_EXEC__SIZE - 4),
            (KIND_FILE, at::EVENT_FILE__SIZE - 4),
            (KIND_FLOW, at::EVENT_FLOW__SIZE),
            (KIND_DNS, at::EVENT_DNS__SIZE - 1),
            (KIND_SOCKET, at::EVENT_SOCKET__SIZE - 4),
        ] {
            for len in [2, 87, size - 1] {
                assert!(decode(&sized(kind, len)).is_err(), "kind {kind} of {len} bytes");
            }
        }
        assert_eq!(decode(&[]), Err(DecodeError::Short { kind: 0, len: 0 }));
        assert_eq!(decode(&sized(999, 500)), Err(DecodeError::Kind(999)));
    }

    #[test]
    fn lengths_past_the_end_are_refused() {
        let mut bytes = sized(KIND_EXEC, at::EVENT_EXEC__SIZE + 10);
        bytes[at::EVENT_EXEC__ARGS_LEN..at::EVENT_EXEC__ARGS_LEN + 2].copy_from_slice(&11u16.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Lengths { kind: KIND_EXEC, claimed: 11, len: at::EVENT_EXEC__SIZE + 10 }));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in prop_oneof![Just(1u16), Just(2), Just(3), Just(4), Just(16), Just(32), Just(33), Just(34), any::<u16>()]) {
            let _ = decode(&bytes);
            if bytes.len() >= 2 {
                bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            }
            if let Ok(record) = decode(&bytes) {
                prop_assert!(bytes.len() >= at::EVENT_HEADER__TASK);
                if let Body::Exec(exec) = record.body {
                    prop_assert!(exec.args.len() + exec.environment.len() <= bytes.len());
                }
            }
            if let Ok(len) = length(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
