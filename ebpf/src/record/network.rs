//! Flows, DNS messages and other sockets.

use std::net::SocketAddr;

/// What a flow record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowOp {
    /// Established from here.
    Connect,
    /// Accepted here.
    Accept,
    /// Ended.
    Close,
    /// Never came up: `SYN_SENT` → `CLOSE`.
    Fail,
    /// A flow that existed before the sensor.
    Existing,
    /// Still up: the bytes so far.
    Traffic,
    /// A socket waits for peers at the local end; one that did so before the sensor carries `PREEXISTING`.
    Listen,
}

/// `IPPROTO_*` of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowProtocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
}

/// A TCP connection, or the datagrams between one socket and one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What happened.
    pub op: FlowOp,
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// Bytes acknowledged by the peer.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Socket cookie: the flow's identity.
    pub cookie: u64,
    /// When it was established, ns since boot; 0 where unknown.
    pub established_boot_ns: u64,
    /// True where this host accepted it.
    pub inbound: bool,
    /// `sk_err` on `Fail` and `Close`: 111 refused, 110 timed out, 113 no route; 0 none.
    pub error: u32,
    /// What carries it.
    pub protocol: FlowProtocol,
    /// It began as QUIC begins.
    pub quic: bool,
    /// The process had so many peers that this one stands for several; `remote` is then unspecified.
    pub merged: bool,
}

/// A DNS message between this host's resolver, or any process, and a server's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// True for what came back.
    pub response: bool,
    /// Cookie of the socket.
    pub cookie: u64,
    /// This host's end.
    pub local: SocketAddr,
    /// The server's end.
    pub remote: SocketAddr,
    /// What carries it.
    pub protocol: FlowProtocol,
    /// Length on the wire.
    pub message_bytes: u32,
    /// The message, or its beginning where it is longer than 4096 bytes or came in several segments. Nothing in it has been looked at.
    pub message: Vec<u8>,
}

/// What is told of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketOp {
    /// Connected to a local socket that has a file, by its resolved path.
    Local(Vec<u8>),
    /// Connected to a local socket with an abstract name.
    Abstract(Vec<u8>),
    /// Made, and not for TCP, UDP, a local or a kernel peer: raw, packet, vsock, SCTP, …
    Special,
}

/// A socket beside those for TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What happened.
    pub op: SocketOp,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// As given to `socket`, by family.
    pub protocol: u16,
    /// Cookie of the socket; 0 where nobody asked for one yet.
    pub cookie: u64,
    /// Of the peer's file: inode, 0 where it has none.
    pub inode: u64,
    /// Its device.
    pub device: u32,
    /// Its `i_mode`.
    pub i_mode: u16,
    /// Its owner.
    pub owner_uid: u32,
}
