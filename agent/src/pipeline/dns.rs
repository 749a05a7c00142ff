//! DNS messages as events. What is in them was chosen by any process, or by whoever answers it: bytes are taken by checked reads, names are
//! escaped, counts are bounded, and a message that cannot be read is told as such instead of being left out.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use picket_ebpf::record::{Dns, FlowProtocol};
use picket_event::{DnsActivity, DnsActivityKind, DnsAnswer, Timestamp, Transport};
use simple_dns::{Name, Packet, rdata::RData};

use super::flow::endpoint;

/// A name on the wire has at most 255 bytes (RFC 1035 §3.1); escaped, each may become four.
const NAME_BYTES_MAX: usize = 255;
/// Answers that are looked at; a message of 4096 bytes cannot hold many more than ten times as many.
const ANSWERS_MAX: usize = 32;
/// Bytes of an answer that is neither a name nor an address.
const RDATA_BYTES_MAX: usize = 256;
/// Questions that wait for their answer. A process that asks without end pushes out the oldest: their answers then have no time of asking.
const QUESTIONS_MAX: usize = 4096;

/// Questions that were asked, by socket, number and server.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: HashMap<(u64, u16, SocketAddr), u64>,
    order: VecDeque<(u64, u16, SocketAddr)>,
    /// Messages that were no DNS.
    malformed: u64,
}

impl Questions {
    /// Messages that could not be read so far.
    pub(super) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// What a message tells. An answer tells when its question was asked, by `clock`.
    pub(super) fn activity(&mut self, dns: &Dns, now_boot_ns: u64, clock: impl Fn(u64) -> Timestamp) -> DnsActivity {
        let question = question(&dns.message);
        let whole = usize::try_from(dns.message_bytes).is_ok_and(|len| len <= dns.message.len());
        let answers = if dns.response && whole { answers(&dns.message) } else { Some(Vec::new()) };
        if question.is_none() || answers.is_none() {
            self.malformed = self.malformed.saturating_add(1);
        }
        let question = question.unwrap_or_default();
        let asked = self.follow(dns, question.id, now_boot_ns);
        DnsActivity {
            kind: if dns.response { DnsActivityKind::Response } else { DnsActivityKind::Query },
            hostname: question.name,
            query_type: question.kind,
            query_class: question.class,
            packet_id: question.id,
            answers: answers.unwrap_or_default(),
            rcode: dns.response.then_some(question.rcode),
            transport: match dns.protocol {
                FlowProtocol::Tcp => Transport::Tcp,
                FlowProtocol::Udp => Transport::Udp,
            },
            src: endpoint(dns.local),
            dst: endpoint(dns.remote),
            flow_uid: dns.cookie,
            asked: asked.map(clock),
        }
    }

    fn follow(&mut self, dns: &Dns, id: u16, now_boot_ns: u64) -> Option<u64> {
        let key = (dns.cookie, id, dns.remote);
        if dns.response {
            return self.asked.remove(&key);
        }
        // Asked again: the time of the first asking stays.
        if self.asked.len() < QUESTIONS_MAX && !self.asked.contains_key(&key) {
            self.asked.insert(key, now_boot_ns);
            self.order.push_back(key);
        }
        while self.order.len() >= QUESTIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.asked.remove(&oldest);
            }
        }
        None
    }
}

/// What the head of a message says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Question {
    id: u16,
    rcode: u16,
    name: String,
    kind: u16,
    class: u16,
}

/// The head and the first question. More than one is never seen in earnest, and servers refuse them.
fn question(message: &[u8]) -> Option<Question> {
    let (header, mut rest) = message.split_first_chunk::<12>()?;
    let [id_high, id_low, _, flags_low, questions_high, questions_low, ..] = *header;
    let mut question = Question { id: u16::from_be_bytes([id_high, id_low]), rcode: u16::from(flags_low & 15), ..Question::default() };
    if (questions_high, questions_low) == (0, 0) {
        return Some(question);
    }
    let mut bytes = 0;
    loop {
        let (len, after) = rest.split_first()?;
        if *len == 0 {
            rest = after;
            break;
        }
        // A compressed name would point forward, or into itself: nothing stands before the first question.
        if *len > 63 {
            return None;
        }
        let (label, after) = after.split_at_checked(usize::from(*len))?;
        bytes += label.len() + 1;
        if bytes > NAME_BYTES_MAX {
            return None;
        }
        if !question.name.is_empty() {
            question.name.push('.');
        }
        escape(label, &mut question.name);
        rest = after;
    }
    let ([kind_high, kind_low, class_high, class_low], _) = rest.split_first_chunk::<4>()?;
    question.kind = u16::from_be_bytes([*kind_high, *kind_low]);
    question.class = u16::from_be_bytes([*class_high, *class_low]);
    Some(question)
}

/// As in zone files: what is not printable, and what would look like another name, as `\DDD`. Lower case, as names are compared.
fn escape(label: &[u8], out: &mut String) {
    for byte in label {
        match byte {
            b'.' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            0x21..=0x7e => out.push(char::from(byte.to_ascii_lowercase())),
            other => out.push_str(&format!("\\{other:03}")),
        }
    }
}

/// `None` where the message cannot be read as a whole.
fn answers(message: &[u8]) -> Option<Vec<DnsAnswer>> {
    let packet = Packet::parse(message).ok()?;
    let answer =
        |record: &simple_dns::ResourceRecord<'_>| DnsAnswer { rdata: rdata(&record.rdata), record_type: record.rdata.type_code().into(), ttl_s: record.ttl };
    Some(packet.answers.iter().take(ANSWERS_MAX).map(answer).collect())
}

fn rdata(data: &RData<'_>) -> String {
    match data {
        RData::A(a) => std::net::Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(aaaa) => std::net::Ipv6Addr::from(aaaa.address).to_string(),
        RData::CNAME(target) => name(&target.0),
        RData::NS(target) => name(&target.0),
        RData::PTR(target) => name(&target.0),
        RData::MX(mx) => format!("{} {}", mx.preference, name(&mx.exchange)),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, name(&srv.target)),
        RData::TXT(txt) => {
            let mut out = String::new();
            for (key, value) in txt.iter_raw() {
                escape_text(key, &mut out);
                if let Some(value) = value {
                    out.push('=');
                    escape_text(value, &mut out);
                }
                out.push(' ');
            }
            out.truncate(out.trim_end().len());
            out
        }
        RData::SOA(soa) => format!("{} {} {}", name(&soa.mname), name(&soa.rname), soa.serial),
        RData::NULL(_, null) => hex::encode(null.get_data().iter().take(RDATA_BYTES_MAX).copied().collect::<Vec<u8>>()),
        // Keys, signatures and hints: their type tells what an analyst needs.
        _ => String::new(),
    }
}

fn name(name: &Name<'_>) -> String {
    let mut out = String::new();
    for label in name.as_bytes() {
        if !out.is_empty() {
            out.push('.');
        }
        escape(label, &mut out);
    }
    out
}

/// Text of a record: its case and its blanks mean something.
fn escape_text(text: &[u8], out: &mut String) {
    for byte in text.iter().take(RDATA_BYTES_MAX) {
        match byte {
            b' '..=b'~' => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\{other:03}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01A\x04tEst\x00\x00\x1c\x00\x01";
    const ANSWER: &[u8] = b"\x12\x34\x81\x83\x00\x01\x00\x03\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01\
        \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3d\x00\x06\x03c\x00n\xc0\x0e\
        \xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3e\x00\x06\x05k=v \x07";

    fn told(questions: &mut Questions, dns: &Dns, now_boot_ns: u64) -> DnsActivity {
        questions.activity(dns, now_boot_ns, |boot_ns| Timestamp(i64::try_from(boot_ns).unwrap()))
    }

    fn dns(message: &[u8], response: bool) -> Dns {
        Dns {
            response,
            cookie: 5,
            local: "10.0.0.1:4000".parse().unwrap(),
            remote: "[::ffff:10.0.0.2]:53".parse().unwrap(),
            protocol: FlowProtocol::Udp,
            message_bytes: u32::try_from(message.len()).unwrap(),
            message: message.to_vec(),
        }
    }

    #[test]
    fn a_question_and_its_answer_are_joined() {
        let mut questions = Questions::default();
        let asked = told(&mut questions, &dns(QUERY, false), 1_000);
        assert_eq!(
            (asked.kind, asked.hostname.as_str(), asked.query_type, asked.query_class, asked.packet_id),
            (DnsActivityKind::Query, "a.test", 28, 1, 0x1234)
        );
        assert_eq!((asked.rcode, asked.answers.len(), asked.asked), (None, 0, None));
        assert_eq!((asked.src.port, asked.dst.ip.to_string().as_str(), asked.dst.port, asked.flow_uid), (4000, "10.0.0.2", 53, 5));
        // Asked again, the first time counts.
        told(&mut questions, &dns(QUERY, false), 2_000);
        let answered = told(&mut questions, &dns(ANSWER, true), 9_000);
        assert_eq!((answered.kind, answered.rcode, answered.asked), (DnsActivityKind::Response, Some(3), Some(Timestamp(1_000))));
        let found: Vec<(u16, u32, &str)> = answered.answers.iter().map(|answer| (answer.record_type, answer.ttl_s, answer.rdata.as_str())).collect();
        assert_eq!(found, [(1, 60, "10.0.0.1"), (5, 61, "c\\000n.test"), (16, 62, "k=v \\007")]);
        assert_eq!(told(&mut questions, &dns(ANSWER, true), 9_000).asked, None, "answered once");
        assert_eq!(questions.malformed(), 0);
    }

    #[test]
    fn names_that_try_to_look_like_others_are_escaped() {
        let message = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05a.b\\\n\x03com\x00\x00\x01\x00\x01";
        assert_eq!(question(message).unwrap().name, "a\\.b\\\\\\010.com");
    }

    #[test]
    fn what_is_no_message_is_counted_and_told_with_what_could_be_read() {
        let mut questions = Questions::default();
        let loops =
            b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\xc0\x13\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01";
        let activity = told(&mut questions, &dns(loops, true), 0);
        assert_eq!((activity.hostname.as_str(), activity.packet_id, activity.answers.len()), ("a", 7, 0));
        for bytes in [&b""[..], b"\x00\x07", b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", &QUERY[..20]] {
            assert_eq!(told(&mut questions, &dns(bytes, false), 0).hostname, "");
        }
        assert_eq!(questions.malformed(), 5);
    }

    #[test]
    fn a_message_that_was_cut_still_tells_its_question() {
        let mut questions = Questions::default();
        let mut cut = dns(&ANSWER[..40], true);
        cut.message_bytes = 5000;
        let activity = told(&mut questions, &cut, 0);
        assert_eq!((activity.hostname.as_str(), activity.rcode, activity.answers.len(), questions.malformed()), ("a.test", Some(3), 0, 0));
    }

    #[test]
    fn questions_without_answers_are_bounded() {
        let mut questions = Questions::default();
        for cookie in 0..3 * QUESTIONS_MAX as u64 {
            told(&mut questions, &Dns { cookie, ..dns(QUERY, false) }, cookie);
        }
        assert!(questions.asked.len() <= QUESTIONS_MAX && questions.order.len() <= QUESTIONS_MAX);
        let last = 3 * QUESTIONS_MAX as u64 - 1;
        assert_eq!(told(&mut questions, &Dns { cookie: last, ..dns(ANSWER, true) }, 0).asked, Some(Timestamp(i64::try_from(last).unwrap())));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_stay_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..600), response: bool) {
            let mut questions = Questions::default();
            let activity = told(&mut questions, &dns(&bytes, response), 0);
            prop_assert!(activity.hostname.len() <= 4 * NAME_BYTES_MAX && activity.answers.len() <= ANSWERS_MAX);
            prop_assert!(activity.hostname.bytes().all(|byte| byte.is_ascii_graphic()));
        }

        /// Damaged messages reach deeper than random ones.
        #[test]
        fn damaged_messages_never_panic(at in 0..200_usize, byte: u8, end in 0..200_usize) {
            let mut bytes = ANSWER.to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            bytes.truncate(end);
            let activity = told(&mut Questions::default(), &dns(&bytes, true), 0);
            prop_assert!(activity.answers.iter().all(|answer| answer.rdata.len() <= 8 * RDATA_BYTES_MAX));
        }
    }
}
