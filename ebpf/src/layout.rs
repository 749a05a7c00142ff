//! Offsets of `bpf/event.h`, for a decoder that reads integers at offsets and never overlays a struct. A test compiles the header with
//! clang and compares every number.

macro_rules! offsets {
    ($($name:ident = $value:expr;)+) => {
        $(pub(crate) const $name: usize = $value;)+
        #[cfg(test)]
        const TABLE: &[(&str, usize)] = &[$((stringify!($name), $value)),+];
    };
}

// TYPE__FIELD, or TYPE__SIZE for sizeof; the test turns the names back into C.
offsets! {
    EVENT_TASK__PID = 0;
    EVENT_TASK__TID = 4;
    EVENT_TASK__START_BOOT_NS = 8;
    EVENT_TASK__PARENT_START_BOOT_NS = 16;
    EVENT_TASK__PARENT_PID = 24;
    EVENT_TASK__UID = 28;
    EVENT_TASK__EUID = 32;
    EVENT_TASK__GID = 36;
    EVENT_TASK__AUID = 40;
    EVENT_TASK__CGROUP_ID = 48;
    EVENT_TASK__COMM = 56;
    EVENT_HEADER__KIND = 0;
    EVENT_HEADER__FLAGS = 2;
    EVENT_HEADER__CPU = 4;
    EVENT_HEADER__TIME_BOOT_NS = 8;
    EVENT_HEADER__TASK = 16;
    EVENT_FORK__CHILD_START_BOOT_NS = 88;
    EVENT_FORK__CHILD_PID = 96;
    EVENT_FORK__SIZE = 104;
    EVENT_EXIT__CODE = 88;
    EVENT_EXIT__SIZE = 96;
    EVENT_EXEC__EXE_INODE = 88;
    EVENT_EXEC__CAPABILITIES = 96;
    EVENT_EXEC__SESSION_START_BOOT_NS = 104;
    EVENT_EXEC__EXE_DEVICE = 112;
    EVENT_EXEC__ARGC = 116;
    EVENT_EXEC__MNT_NS = 120;
    EVENT_EXEC__PID_NS = 124;
    EVENT_EXEC__NET_NS = 128;
    EVENT_EXEC__USER_NS = 132;
    EVENT_EXEC__NS_PID = 136;
    EVENT_EXEC__SESSION_PID = 140;
    EVENT_EXEC__TTY_MAJOR = 144;
    EVENT_EXEC__TTY_MINOR = 146;
    EVENT_EXEC__ARGS_LEN = 148;
    EVENT_EXEC__ENVIRONMENT_LEN = 150;
    EVENT_EXEC__EXE_LEN = 152;
    EVENT_EXEC__CWD_LEN = 154;
    EVENT_EXEC__USED = 156;
    EVENT_EXEC__SIZE = 160;
    EVENT_FILE__INODE = 88;
    EVENT_FILE__SIZE = 160;
    EVENT_FILE__SIZE_BYTES = 96;
    EVENT_FILE__DEVICE = 104;
    EVENT_FILE__OWNER_UID = 108;
    EVENT_FILE__WATCH_ID = 112;
    EVENT_FILE__OPEN_FLAGS = 116;
    EVENT_FILE__MODE_BITS = 120;
    EVENT_FILE__I_MODE = 124;
    EVENT_FILE__OP = 126;
    EVENT_FILE__CREATED = 127;
    EVENT_FILE__PATH_LEN = 128;
    EVENT_FILE__NEW_PATH_LEN = 130;
    EVENT_FILE__USED = 132;
    EVENT_FILE__BYTES_READ = 136;
    EVENT_FILE__BYTES_WRITTEN = 144;
    EVENT_FILE__METHODS = 152;
    EVENT_FILE__CHANGE = 154;
    EVENT_FILE__UNTIL_END = 155;
    EVENT_FLOW__BYTES_SENT = 88;
    EVENT_FLOW__BYTES_RECEIVED = 96;
    EVENT_FLOW__COOKIE = 104;
    EVENT_FLOW__ESTABLISHED_BOOT_NS = 112;
    EVENT_FLOW__LOCAL = 120;
    EVENT_FLOW__REMOTE = 136;
    EVENT_FLOW__LOCAL_PORT = 152;
    EVENT_FLOW__REMOTE_PORT = 154;
    EVENT_FLOW__FAMILY = 156;
    EVENT_FLOW__OP = 158;
    EVENT_FLOW__INBOUND = 159;
    EVENT_FLOW__ERROR = 160;
    EVENT_FLOW__PROTOCOL = 164;
    EVENT_FLOW__APP = 165;
    EVENT_FLOW__MERGED = 166;
    EVENT_FLOW__SIZE = 168;
    EVENT_ACTION__TARGET = 88;
    EVENT_ACTION__VALUES = 160;
    EVENT_ACTION__OP = 224;
    EVENT_ACTION__CALL = 226;
    EVENT_ACTION__RESULT = 228;
    EVENT_ACTION__COUNT = 232;
    EVENT_ACTION__TEXT_LEN = 236;
    EVENT_ACTION__USED = 244;
    EVENT_ACTION__SIZE = 248;
    EVENT_DNS__MESSAGE_BYTES = 168;
    EVENT_DNS__USED = 172;
    EVENT_DNS__OP = 174;
    EVENT_DNS__SIZE = 176;
    EVENT_SOCKET__INODE = 88;
    EVENT_SOCKET__COOKIE = 96;
    EVENT_SOCKET__DEVICE = 104;
    EVENT_SOCKET__OWNER_UID = 108;
    EVENT_SOCKET__I_MODE = 112;
    EVENT_SOCKET__FAMILY = 114;
    EVENT_SOCKET__TYPE = 116;
    EVENT_SOCKET__PROTOCOL = 118;
    EVENT_SOCKET__OP = 120;
    EVENT_SOCKET__NAME = 121;
    EVENT_SOCKET__NAME_LEN = 122;
    EVENT_SOCKET__USED = 124;
    EVENT_SOCKET__SIZE = 128;
    EVENT_INODE__INODE_PTR = 0;
    EVENT_INODE__SUPER_PTR = 8;
    EVENT_INODE__MOUNT_PTR = 16;
    EVENT_INODE__FD = 32;
    EVENT_INODE__SIZE = 40;
}

/// `enum event_kind`.
pub(crate) const KIND_FORK: u16 = 1;
pub(crate) const KIND_EXEC: u16 = 2;
pub(crate) const KIND_EXIT: u16 = 3;
pub(crate) const KIND_ACTION: u16 = 4;
pub(crate) const KIND_FILE: u16 = 16;
pub(crate) const KIND_FLOW: u16 = 32;
pub(crate) const KIND_DNS: u16 = 33;
pub(crate) const KIND_SOCKET: u16 = 34;

/// `enum counter`.
pub(crate) const COUNTER_PRODUCED: u32 = 0;
pub(crate) const COUNTER_DROPPED: u32 = 3;
pub(crate) const COUNTER_MAP_FULL: u32 = 6;
pub(crate) const COUNTER_LIMITED: u32 = 9;
pub(crate) const COUNTER_SHED: u32 = 12;
pub(crate) const COUNTER_ERROR: u32 = 15;
/// Names of the counters from [`COUNTER_ERROR`] on.
pub(crate) const ERROR_NAMES: [&str; 11] =
    ["scratch", "arguments", "environment", "path", "file", "walk_depth", "name", "flow_owner", "action_target", "action_repeat", "packet"];

/// `EXTENSION_MAX` and `ENVIRONMENT_NAME`: what a key holds.
pub(crate) const EXTENSION_MAX: usize = 16;
pub(crate) const ENVIRONMENT_NAME: usize = 24;
/// `SOCKET_NAME`.
pub(crate) const SOCKET_NAME: usize = 32;

/// `ACTION_TEXTS` and `ACTION_VALUES`.
pub(crate) const ACTION_TEXTS: usize = 3;
pub(crate) const ACTION_VALUES: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fmt::Write as _;
    use std::process::Command;

    use super::*;
    use crate::record::{ActionOp, FileMethods, MapOrigin, RecordFlags};

    const PRELUDE: &str = "typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64; typedef int __s32;\n#include \"event.h\"\n#include <stdio.h>\n";

    fn expressions() -> Vec<(String, String, u64)> {
        let mut list: Vec<(String, String, u64)> = TABLE
            .iter()
            .map(|(name, value)| {
                let (kind, field) = name.split_once("__").expect("TYPE__FIELD");
                let kind = kind.to_lowercase();
                let expression = match (field, *name) {
                    (_, "EVENT_FILE__SIZE_BYTES") => "__builtin_offsetof(struct event_file, size)".into(),
                    ("SIZE", _) => format!("sizeof(struct {kind})"),
                    (field, _) => format!("__builtin_offsetof(struct {kind}, {})", field.to_lowercase()),
                };
                ((*name).to_owned(), expression, u64::try_from(*value).expect("small"))
            })
            .collect();
        let constants = [
            ("EVENT_FORK", KIND_FORK.into()),
            ("EVENT_EXEC", KIND_EXEC.into()),
            ("EVENT_EXIT", KIND_EXIT.into()),
            ("EVENT_ACTION", KIND_ACTION.into()),
            ("EVENT_FILE", KIND_FILE.into()),
            ("EVENT_FLOW", KIND_FLOW.into()),
            ("EVENT_DNS", KIND_DNS.into()),
            ("EVENT_SOCKET", KIND_SOCKET.into()),
            ("EVENT_F_ARGS_CUT", RecordFlags::ARGS_CUT.0.into()),
            ("EVENT_F_PATH_CUT", RecordFlags::PATH_CUT.0.into()),
            ("EVENT_F_PATH_DETACHED", RecordFlags::PATH_DETACHED.0.into()),
            ("EVENT_F_USER_FAULT", RecordFlags::USER_FAULT.0.into()),
            ("EVENT_F_PREEXISTING", RecordFlags::PREEXISTING.0.into()),
            ("EVENT_F_EXE_MEMFD", RecordFlags::EXE_MEMFD.0.into()),
            ("EVENT_F_EXE_DELETED", RecordFlags::EXE_DELETED.0.into()),
            ("EVENT_F_EXE_BY_DESCRIPTOR", RecordFlags::EXE_BY_DESCRIPTOR.0.into()),
            ("ACTION_TEXTS", ACTION_TEXTS as u64),
            ("ACTION_VALUES", ACTION_VALUES as u64),
            ("COUNTER_PRODUCED", COUNTER_PRODUCED.into()),
            ("COUNTER_DROPPED", COUNTER_DROPPED.into()),
            ("COUNTER_MAP_FULL", COUNTER_MAP_FULL.into()),
            ("COUNTER_LIMITED", COUNTER_LIMITED.into()),
            ("COUNTER_SHED", COUNTER_SHED.into()),
            ("COUNTER_ERROR", COUNTER_ERROR.into()),
            ("COUNTERS", u64::from(COUNTER_ERROR) + ERROR_NAMES.len() as u64),
            ("EXTENSION_MAX", EXTENSION_MAX as u64),
            ("ENVIRONMENT_NAME", ENVIRONMENT_NAME as u64),
            ("EVENT_FILE_OPEN", 1),
            ("EVENT_FILE_UNLINK", 4),
            ("EVENT_FILE_LINK", 7),
            ("EVENT_CHANGE_SPACE", 6),
            ("EVENT_METHOD_MMAP", FileMethods::MMAP.0.into()),
            ("EVENT_METHOD_MMAP_WRITE", FileMethods::MMAP_WRITE.0.into()),
            ("EVENT_METHOD_SENDFILE", FileMethods::SENDFILE.0.into()),
            ("EVENT_METHOD_SPLICE", FileMethods::SPLICE.0.into()),
            ("EVENT_METHOD_COPY", FileMethods::COPY.0.into()),
            ("EVENT_METHOD_DIRECT", FileMethods::DIRECT.0.into()),
            ("EVENT_METHOD_IO_URING", FileMethods::IO_URING.0.into()),
            ("EVENT_METHOD_HANDLE", FileMethods::HANDLE.0.into()),
            ("EVENT_METHOD_COMPAT", FileMethods::COMPAT.0.into()),
            ("EVENT_FLOW_CONNECT", 1),
            ("EVENT_FLOW_EXISTING", 5),
            ("EVENT_FLOW_TRAFFIC", 6),
            ("EVENT_FLOW_LISTEN", 7),
            ("EVENT_DNS_RESPONSE", 2),
            ("EVENT_SOCKET_SPECIAL", 2),
            ("EVENT_SOCKET_ABSTRACT", 2),
            ("SOCKET_NAME", SOCKET_NAME as u64),
        ];
        list.extend(constants.map(|(name, value)| (name.to_owned(), name.to_owned(), value)));
        list.extend(ActionOp::ALL.map(|(op, name)| (name.to_owned(), name.to_owned(), op as u64)));
        list.extend(MapOrigin::ALL.map(|(origin, name)| (name.to_owned(), name.to_owned(), origin as u64)));
        list
    }

    #[test]
    fn offsets_are_those_that_clang_gives_the_header() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut source = PRELUDE.to_owned();
        source.push_str("int main(void) {\n");
        for (name, expression, _) in expressions() {
            writeln!(source, "printf(\"{name} %llu\\n\", (unsigned long long)({expression}));").expect("string");
        }
        source.push_str("return 0; }\n");
        std::fs::write(folder.path().join("layout.c"), source).expect("source");
        let compiled = Command::new("clang")
            .args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/bpf"), "-o"])
            .arg(folder.path().join("layout"))
            .arg(folder.path().join("layout.c"))
            .output()
            .expect("clang, which built the probes, runs");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let printed = Command::new(folder.path().join("layout")).output().expect("runs");
        let printed = String::from_utf8(printed.stdout).expect("text");
        let found: HashMap<&str, u64> =
            printed.lines().map(|line| line.split_once(' ').expect("two words")).map(|(name, value)| (name, value.parse().expect("number"))).collect();
        for (name, _, value) in expressions() {
            assert_eq!(found.get(name.as_str()), Some(&value), "{name}");
        }
    }
}
