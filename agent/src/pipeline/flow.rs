use std::net::{IpAddr, SocketAddr};

use picket_ebpf::record::{Flow, FlowOp, FlowProtocol};
use picket_event::{AppProtocol, Direction, Endpoint, NetworkActivity, NetworkActivityKind, Transport};

/// `ECONNREFUSED`.
const CONNECTION_REFUSED: u32 = 111;

pub(super) fn activity(flow: &Flow, now_boot_ns: u64) -> NetworkActivity {
    let kind = match flow.op {
        FlowOp::Connect | FlowOp::Accept | FlowOp::Existing => NetworkActivityKind::Open,
        FlowOp::Close => NetworkActivityKind::Close,
        FlowOp::Fail if flow.error == CONNECTION_REFUSED => NetworkActivityKind::Refuse,
        FlowOp::Fail => NetworkActivityKind::Fail,
        FlowOp::Traffic => NetworkActivityKind::Traffic,
        FlowOp::Listen => NetworkActivityKind::Listen,
    };
    let (local, remote) = (endpoint(flow.local), endpoint(flow.remote));
    let inbound = flow.inbound || flow.op == FlowOp::Listen;
    let (direction, src, dst) = if inbound { (Direction::Inbound, remote, local) } else { (Direction::Outbound, local, remote) };
    let lived = if flow.established_boot_ns == 0 { 0 } else { now_boot_ns.saturating_sub(flow.established_boot_ns) };
    NetworkActivity {
        kind,
        direction,
        transport: match flow.protocol {
            FlowProtocol::Tcp => Transport::Tcp,
            FlowProtocol::Udp => Transport::Udp,
        },
        src,
        dst,
        bytes_out: flow.bytes_sent,
        bytes_in: flow.bytes_received,
        flow_uid: flow.cookie,
        duration_ns: if matches!(flow.op, FlowOp::Connect | FlowOp::Accept) { 0 } else { lived },
        app: flow.quic.then_some(AppProtocol::Quic),
    }
}

pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    let ip = match address.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    };
    Endpoint { ip, port: address.port() }
}
