//! Sockets beside TCP and UDP as events.

use picket_ebpf::record::{Socket, SocketOp};
use picket_event::{Access, Activity, File, FileActivityKind, FileMethods, FileSystemActivity, KernelActivity};

use super::text;

/// A connection to a local socket is an open of its file; where it has none, and where a socket of another kind is made, the call is told.
pub(super) fn activity(socket: &Socket) -> Activity {
    let call =
        |operation: &str, detail: String| Activity::Kernel(Box::new(KernelActivity { operation: operation.to_owned(), count: 1, detail, process: None }));
    match &socket.op {
        SocketOp::Local(path) => {
            let file = File {
                path: text::text(path),
                inode: socket.inode,
                device: socket.device,
                mode: socket.i_mode,
                owner_uid: socket.owner_uid,
                ..File::default()
            };
            let access = Access(Access::READ.0 | Access::WRITE.0);
            Activity::File(FileSystemActivity { methods: FileMethods::CONNECT, ..FileSystemActivity::new(FileActivityKind::Open, access, file) })
        }
        // As ss(8) and systemd write abstract names.
        SocketOp::Abstract(name) => call("connect", format!("@{}", text::text(name).replace('\0', "@"))),
        SocketOp::Special => call("socket", format!("{} {} {}", family(socket.family), kind(socket.kind), protocol(socket))),
    }
}

/// `AF_*` of `linux/socket.h`.
fn family(number: u16) -> String {
    match number {
        2 => "AF_INET",
        10 => "AF_INET6",
        17 => "AF_PACKET",
        21 => "AF_RDS",
        29 => "AF_CAN",
        30 => "AF_TIPC",
        31 => "AF_BLUETOOTH",
        38 => "AF_ALG",
        40 => "AF_VSOCK",
        43 => "AF_SMC",
        44 => "AF_XDP",
        other => return format!("AF_{other}"),
    }
    .to_owned()
}

fn kind(number: u16) -> String {
    match number {
        1 => "SOCK_STREAM",
        2 => "SOCK_DGRAM",
        3 => "SOCK_RAW",
        4 => "SOCK_RDM",
        5 => "SOCK_SEQPACKET",
        6 => "SOCK_DCCP",
        other => return format!("SOCK_{other}"),
    }
    .to_owned()
}

/// IANA's numbers above IP.
fn protocol(socket: &Socket) -> String {
    match (socket.family, socket.protocol) {
        (2 | 10, 1) => "ICMP",
        (2 | 10, 2) => "IGMP",
        (2 | 10, 33) => "DCCP",
        (2 | 10, 47) => "GRE",
        (2 | 10, 58) => "ICMPv6",
        (2 | 10, 132) => "SCTP",
        (2 | 10, 255) => "any IP protocol",
        (_, other) => return format!("protocol {other}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(op: SocketOp) -> Socket {
        Socket { op, family: 17, kind: 3, protocol: 3, cookie: 0, inode: 7, device: 8, i_mode: 0o140_660, owner_uid: 9 }
    }

    #[test]
    fn a_local_connection_is_an_open_of_the_sockets_file() {
        let Activity::File(activity) = activity(&socket(SocketOp::Local(b"/run/docker.sock".to_vec()))) else { panic!("no file") };
        assert_eq!((activity.kind, activity.methods, activity.access), (FileActivityKind::Open, FileMethods::CONNECT, Access(3)));
        assert_eq!((activity.file.path.as_str(), activity.file.inode, activity.file.device), ("/run/docker.sock", 7, 8));
        assert_eq!((activity.file.mode, activity.file.owner_uid, activity.file.size_bytes), (0o140_660, 9, None));
    }

    #[test]
    fn others_are_told_as_calls() {
        let told = |socket: &Socket| {
            let Activity::Kernel(activity) = activity(socket) else { panic!("no call") };
            assert_eq!((activity.count, activity.process), (1, None));
            format!("{} {}", activity.operation, activity.detail)
        };
        assert_eq!(told(&socket(SocketOp::Abstract(b"x\0y".to_vec()))), "connect @x@y");
        assert_eq!(told(&socket(SocketOp::Special)), "socket AF_PACKET SOCK_RAW protocol 3");
        let inet = |family, kind, protocol| Socket { family, kind, protocol, ..socket(SocketOp::Special) };
        assert_eq!(told(&inet(2, 3, 1)), "socket AF_INET SOCK_RAW ICMP");
        assert_eq!(told(&inet(10, 1, 132)), "socket AF_INET6 SOCK_STREAM SCTP");
        assert_eq!(told(&inet(99, 9, 0)), "socket AF_99 SOCK_9 protocol 0");
    }
}
