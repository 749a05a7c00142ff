//! OCSF Network Activity and its ends.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::numbered::numbered;

/// OCSF Network Activity: one end of one flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkActivity {
    /// What happened.
    pub kind: NetworkActivityKind,
    /// Who spoke first.
    pub direction: Direction,
    /// Protocol above IP.
    pub transport: Transport,
    /// The end that spoke first.
    pub src: Endpoint,
    /// The other end.
    pub dst: Endpoint,
    /// Bytes this host sent (acknowledged by the peer, TCP), so far.
    pub bytes_out: u64,
    /// Bytes this host received, so far.
    pub bytes_in: u64,
    /// Identity of the flow on this host for its whole life: the socket cookie.
    pub flow_uid: u64,
    /// How long it has lived, in nanoseconds; 0 at open.
    pub duration_ns: u64,
    /// Protocol above the transport, where its first bytes tell it.
    pub app: Option<AppProtocol>,
}

/// OCSF `activity_id` of Network Activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum NetworkActivityKind {
    /// 1: connected or accepted.
    Open = 1,
    /// 2
    Close = 2,
    /// 4: never came up (no answer, unreachable).
    Fail = 4,
    /// 5: the peer refused.
    Refuse = 5,
    /// 6: bytes so far of a flow that is still up.
    Traffic = 6,
    /// 7: waits for others; `dst` is the end that listens, `src` the unspecified address.
    Listen = 7,
}

impl NetworkActivityKind {
    /// From the `activity_id`.
    #[must_use]
    pub const fn from_id(id: i32) -> Option<Self> {
        Some(match id {
            1 => Self::Open,
            2 => Self::Close,
            4 => Self::Fail,
            5 => Self::Refuse,
            6 => Self::Traffic,
            7 => Self::Listen,
            _ => return None,
        })
    }
}

/// OCSF `connection_info.direction_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Direction {
    /// 0
    #[default]
    Unknown = 0,
    /// 1: accepted here.
    Inbound = 1,
    /// 2: connected from here.
    Outbound = 2,
}

impl Direction {
    /// From the `direction_id`.
    #[must_use]
    pub const fn from_id(id: i32) -> Option<Self> {
        Some(match id {
            0 => Self::Unknown,
            1 => Self::Inbound,
            2 => Self::Outbound,
            _ => return None,
        })
    }
}

/// Protocol above IP, by its IANA number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Transport {
    /// 6
    #[default]
    Tcp = 6,
    /// 17
    Udp = 17,
}

impl Transport {
    /// From the IANA number.
    #[must_use]
    pub const fn from_number(id: i32) -> Option<Self> {
        Some(match id {
            6 => Self::Tcp,
            17 => Self::Udp,
            _ => return None,
        })
    }
}

numbered! {
    /// Protocol above the transport.
    AppProtocol {
        /// QUIC, by the header of its first packet.
        Quic = 1 "quic",
    }
}

/// OCSF `network_endpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address; an IPv4-mapped IPv6 address is written as IPv4.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}
