//! OCSF DNS Activity.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Endpoint, Timestamp, Transport, numbered::numbered};

/// OCSF DNS Activity (4003): one question or its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsActivity {
    /// Asked or answered.
    pub kind: DnsActivityKind,
    /// The name that was asked for, without the final dot.
    pub hostname: String,
    /// Type of record asked for, by its IANA number.
    pub query_type: u16,
    /// Class asked for, by its IANA number; 1 is the Internet.
    pub query_class: u16,
    /// Number that joins a question with its answer.
    pub packet_id: u16,
    /// What was answered.
    pub answers: Vec<DnsAnswer>,
    /// Response code, where this is an answer.
    pub rcode: Option<u16>,
    /// Protocol above IP.
    pub transport: Transport,
    /// The end that asked.
    pub src: Endpoint,
    /// The resolver.
    pub dst: Endpoint,
    /// The socket cookie, 0 where unknown.
    pub flow_uid: u64,
    /// When the question of this answer was first asked, where it was seen.
    pub asked: Option<Timestamp>,
}

numbered! {
    /// OCSF `activity_id` of DNS Activity.
    DnsActivityKind {
        /// 1
        Query = 1 "Query",
        /// 2
        Response = 2 "Response",
    }
}

/// OCSF `dns_answer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// The data as text: an address, a name, or the text.
    pub rdata: String,
    /// Type of the record, by its IANA number.
    pub record_type: u16,
    /// Seconds that it may be kept.
    pub ttl_s: u32,
}

/// IANA's name of a record type, `TYPE123` where it has none here.
#[must_use]
pub fn record_type_name(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        13 => "HINFO",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        41 => "OPT",
        43 => "DS",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        50 => "NSEC3",
        52 => "TLSA",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        257 => "CAA",
        other => return Cow::Owned(format!("TYPE{other}")),
    })
}

/// IANA's name of a class, `CLASS123` where it has none here.
#[must_use]
pub fn class_name(number: u16) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "IN",
        3 => "CH",
        4 => "HS",
        255 => "ANY",
        other => return Cow::Owned(format!("CLASS{other}")),
    })
}
