//! An enrolled agent that turned hostile: nothing that it sends stops the server, grows its memory without bound, touches another
//! device's events, or goes unrecorded. After each attack an honest device stores its events as if nothing had happened.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::time::Duration;

use bytes::Bytes;
use picket_proto::v1::{
    CommandResult, Event, EventBatch, EventFrame, Heartbeat, Hello, LossCounter, Probe, Process, agent_message::Message, nack::Reason, server_message,
};
use picket_tests::{
    agent_sim::{Identity, Link, Uplink, hello},
    fixture::{Deployment, ServerOptions, memory},
    generator::Generator,
};
use prost::Message as _;

const SPOOL: &str = "0195f000-0000-7000-8000-00000000000a";
/// What a whole attack may add to the server's peak memory.
const GROWTH_MAX: u64 = 256 << 20;

struct Attack {
    deployment: Deployment,
    mallory: Identity,
    honest: Uplink,
    generator: Generator,
    sent: u64,
}

impl Attack {
    fn begin() -> Self {
        let deployment = Deployment::start(&ServerOptions::default()).unwrap();
        let mallory = deployment.enrol("mallory").unwrap();
        let alice = deployment.enrol("alice").unwrap();
        let honest = Uplink::new(deployment.server.agent_address(), alice, "alice");
        let mut attack = Self { deployment, mallory, honest, generator: Generator::new(11, 1), sent: 0 };
        attack.honest_device_is_served();
        attack
    }

    fn hello(&self) -> Hello {
        hello(&self.mallory.device_uid, SPOOL, "mallory")
    }

    fn link(&self) -> Link {
        let (address, tls, first) = (self.deployment.server.agent_address(), self.mallory.tls().unwrap(), self.hello());
        self.deployment.block_on(async move { Link::welcomed(address, tls, first).await }).unwrap().0
    }

    /// Opens with any first message; what the server made of it.
    fn opens_with(&self, first: Message) -> Result<server_message::Message, tonic::Status> {
        let (address, tls) = (self.deployment.server.agent_address(), self.mallory.tls().unwrap());
        self.deployment.block_on(async move {
            let mut link = Link::open(address, tls, first).await.unwrap()?;
            match link.receive().await {
                Ok(Some(message)) => Ok(message.message.unwrap()),
                Ok(None) => Err(tonic::Status::ok("the stream ended")),
                Err(error) => Err(error.downcast::<tonic::Status>().unwrap()),
            }
        })
    }

    /// Sends one batch on a session of its own and gives the answer: a message, or the status that ended the call.
    fn batch(&self, batch: EventBatch) -> Result<server_message::Message, tonic::Status> {
        let mut link = self.link();
        self.deployment.block_on(async move {
            if link.send(Message::Batch(batch)).await.is_err() {
                return Err(link.ends_with().await.unwrap());
            }
            match link.receive().await {
                Ok(Some(message)) => Ok(message.message.unwrap()),
                Ok(None) => Err(tonic::Status::ok("the stream ended")),
                Err(error) => Err(error.downcast::<tonic::Status>().unwrap()),
            }
        })
    }

    fn honest_device_is_served(&mut self) {
        let events: Vec<_> = (0..50).map(|index| self.generator.numbered(self.sent + index + 1)).collect();
        self.sent += 50;
        self.honest.append(&events).unwrap();
        let Self { deployment, honest, .. } = self;
        deployment.block_on(honest.drain(Duration::from_secs(20))).unwrap();
        let stored = deployment.ctl.number(&format!("SELECT count(*) FROM events WHERE device_uid = '{}'", honest.device_uid())).unwrap();
        assert_eq!(stored, self.sent, "the honest device's events");
    }

    fn peak(&self) -> u64 {
        memory(self.deployment.server.pid().unwrap()).unwrap().1
    }

    fn stored_of_mallory(&self) -> u64 {
        self.deployment.ctl.number(&format!("SELECT count(*) FROM events WHERE device_uid = '{}'", self.mallory.device_uid)).unwrap()
    }
}

fn good_frame(count: u32) -> Bytes {
    let mut generator = Generator::new(12, 2);
    let events: Vec<_> = (0..count).map(|_| generator.next_event()).collect();
    picket_proto::frame::encode(&events).unwrap().into()
}

fn batch(first_seq: u64, count: u32, frame_zstd: Bytes) -> EventBatch {
    EventBatch { spool_uid: SPOOL.to_owned(), first_seq, count, frame_zstd }
}

fn zstd_of(bytes: &[u8]) -> Bytes {
    zstd::bulk::compress(bytes, 3).unwrap().into()
}

/// Refused for ever (Nack malformed), or the call ended with an error.
fn refused(answer: &Result<server_message::Message, tonic::Status>) -> bool {
    match answer {
        Err(status) => status.code() != tonic::Code::Ok,
        Ok(server_message::Message::Nack(nack)) => nack.reason() == Reason::Malformed,
        Ok(_) => false,
    }
}

#[test]
fn malformed_batches_are_refused_recorded_and_do_not_stop_the_stream() {
    let mut attack = Attack::begin();
    let noise: Vec<u8> = (0..4_096_u32).map(|index| u8::try_from(index.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let one_field = EventFrame { events: vec![Event { time_ns: 1, ..Event::default() }] }.encode_to_vec();
    let bodies = [
        ("noise", 1, Bytes::from(noise.clone())),
        ("zstd of noise", 1, zstd_of(&noise)),
        ("empty", 1, Bytes::new()),
        ("an event without activity", 1, zstd_of(&one_field)),
        ("more claimed than there is", 7, good_frame(3)),
        ("fewer claimed than there are", 2, good_frame(3)),
        ("truncated", 3, good_frame(3).slice(..40)),
    ];
    let mut seq = 1;
    for (name, count, body) in bodies {
        let answer = attack.batch(batch(seq, count, body));
        assert!(refused(&answer), "{name}: {answer:?}");
        // The range counts as stored, so that the stream goes on behind it.
        if matches!(answer, Ok(server_message::Message::Nack(_))) {
            seq += u64::from(count);
        }
    }
    let answer = attack.batch(batch(seq, 5, good_frame(5)));
    assert!(matches!(&answer, Ok(server_message::Message::Ack(ack)) if ack.seq == seq + 4), "a good batch after the bad ones: {answer:?}");
    assert_eq!(attack.stored_of_mallory(), 5);
    attack.deployment.refused_for("malformed").unwrap();
    attack.honest_device_is_served();
}

#[test]
fn numbers_at_the_edges_are_refused() {
    let mut attack = Attack::begin();
    for (name, first_seq, count) in [("sequence 0", 0, 3), ("no events", 1, 0), ("past the end", u64::MAX - 1, 3), ("a million events", 1, 1_000_000)] {
        let answer = attack.batch(batch(first_seq, count, good_frame(3)));
        let gap = matches!(&answer, Ok(server_message::Message::Nack(nack)) if nack.reason() == Reason::Gap);
        assert!(refused(&answer) || gap, "{name}: {answer:?}");
    }
    assert_eq!(attack.stored_of_mallory(), 0);
    attack.honest_device_is_served();
}

#[test]
fn a_gap_is_sent_back_and_a_replay_is_stored_once() {
    let mut attack = Attack::begin();
    let first = attack.batch(batch(1, 10, good_frame(10)));
    assert!(matches!(&first, Ok(server_message::Message::Ack(ack)) if ack.seq == 10), "{first:?}");
    let gap = attack.batch(batch(21, 10, good_frame(10)));
    assert!(matches!(&gap, Ok(server_message::Message::Nack(nack)) if nack.reason() == Reason::Gap && nack.watermark == 10), "{gap:?}");
    let replay = attack.batch(batch(1, 10, good_frame(10)));
    assert!(matches!(&replay, Ok(server_message::Message::Ack(ack)) if ack.seq == 10), "{replay:?}");
    assert_eq!(attack.stored_of_mallory(), 10);
    attack.honest_device_is_served();
}

#[test]
fn a_bomb_does_not_inflate() {
    let mut attack = Attack::begin();
    let before = attack.peak();
    let zeros = vec![0_u8; 512 << 20];
    let bomb = zstd_of(&zeros);
    drop(zeros);
    assert!(bomb.len() < 1 << 20, "the bomb fits a batch: {} bytes", bomb.len());
    let mut seq = 1;
    for _ in 0..8 {
        let answer = attack.batch(batch(seq, 500, bomb.clone()));
        assert!(refused(&answer), "{answer:?}");
        seq += 500;
    }
    let growth = attack.peak().saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the server grew by {} MiB", growth >> 20);
    attack.honest_device_is_served();
}

#[test]
fn a_million_fields_do_not_multiply_in_memory() {
    let mut attack = Attack::begin();
    let before = attack.peak();
    let variable = picket_proto::v1::EnvironmentVariable::default();
    let process = Process { environment: vec![variable; 1_000_000], ..Process::default() };
    let wide = EventFrame { events: vec![Event { time_ns: 1, actor: Some(process), ..Event::default() }] };
    let many = EventFrame { events: vec![Event::default(); 1_000_000] };
    for (name, count, body) in [("wide", 1, zstd_of(&wide.encode_to_vec())), ("many", 500, zstd_of(&many.encode_to_vec()))] {
        let answer = attack.batch(batch(1, count, body));
        assert!(refused(&answer), "{name}: {answer:?}");
    }
    let probes = vec![Probe { name: "p".to_owned(), ..Probe::default() }; 1_000_000];
    let mut first = attack.hello();
    first.capabilities = Some(picket_proto::v1::CapabilityReport { probes, ..Default::default() });
    let answer = attack.opens_with(Message::Hello(first));
    assert!(answer.is_err(), "a report of a million probes was welcomed");
    let link = attack.link();
    let losses = vec![LossCounter { cause: "x".to_owned(), ..LossCounter::default() }; 1_000_000];
    let ended = attack.deployment.block_on(async move {
        link.send(Message::Heartbeat(Heartbeat { losses, ..Heartbeat::default() })).await.unwrap();
        link.ends_with().await.unwrap()
    });
    assert_ne!(ended.code(), tonic::Code::Ok, "{ended}");
    let growth = attack.peak().saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the server grew by {} MiB", growth >> 20);
    attack.honest_device_is_served();
}

#[test]
fn an_oversized_message_ends_the_call() {
    let mut attack = Attack::begin();
    let before = attack.peak();
    for bytes in [3 << 20, 6 << 20, 48 << 20] {
        let answer = attack.batch(batch(1, 500, Bytes::from(vec![7_u8; bytes])));
        assert!(refused(&answer), "{bytes} bytes: {answer:?}");
    }
    let growth = attack.peak().saturating_sub(before);
    assert!(growth < GROWTH_MAX, "the server grew by {} MiB", growth >> 20);
    attack.honest_device_is_served();
}

#[test]
fn the_order_of_the_contract_is_enforced() {
    let mut attack = Attack::begin();
    let early = attack.opens_with(Message::Batch(batch(1, 3, good_frame(3)))).unwrap_err();
    assert_eq!(early.code(), tonic::Code::FailedPrecondition, "a batch before Hello: {early}");
    let early = attack.opens_with(Message::Heartbeat(Heartbeat::default())).unwrap_err();
    assert_eq!(early.code(), tonic::Code::FailedPrecondition, "a heartbeat before Hello: {early}");
    let second = attack.hello();
    let link = attack.link();
    let status = attack.deployment.block_on(async move {
        link.send(Message::Hello(second)).await.unwrap();
        link.ends_with().await.unwrap()
    });
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "a second Hello: {status}");
    let link = attack.link();
    let status = attack.deployment.block_on(async move {
        link.send_empty().await.unwrap();
        link.ends_with().await.unwrap()
    });
    assert_ne!(status.code(), tonic::Code::Ok, "an empty message: {status}");
    let mut old = attack.hello();
    old.protocol = 99;
    let status = attack.opens_with(Message::Hello(old)).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
    assert_eq!(attack.stored_of_mallory(), 0);
    attack.honest_device_is_served();
}

#[test]
fn nothing_in_a_payload_chooses_identity_or_path() {
    let mut attack = Attack::begin();
    let victim = attack.honest.device_uid().to_owned();
    let victim_spool = attack.honest.spool_uid().to_owned();
    let other_spool = EventBatch { spool_uid: victim_spool.clone(), ..batch(attack.sent + 1, 3, good_frame(3)) };
    let answer = attack.batch(other_spool);
    assert!(!matches!(answer, Ok(server_message::Message::Ack(_))), "a spool that Hello did not name: {answer:?}");
    // A Hello may name the victim's spool: sequences are per device, so that it is another spool.
    let mut first = attack.hello();
    first.spool_uid = victim_spool;
    match attack.opens_with(Message::Hello(first)) {
        Ok(server_message::Message::Welcome(welcome)) => assert_eq!(welcome.watermark, 0, "the victim's watermark leaked"),
        other => assert!(other.is_err(), "{other:?}"),
    }
    for spool in ["", "../../../../etc/cron.d/x", "/etc/passwd", "a\0b", "0195f000", "%2e%2e%2f", &"9".repeat(100_000)] {
        let mut first = attack.hello();
        first.spool_uid = spool.to_owned();
        let answer = attack.opens_with(Message::Hello(first));
        assert!(answer.is_err(), "spool {:?}: {answer:?}", spool.get(..40).unwrap_or(spool));
    }
    let before = entries(&attack.deployment.server.state());
    for name in ["../../evil", "a/b\0c", "<script>alert(1)</script>", "\u{202e}gpj.exe\r\n\r\nfake: log line", &"x".repeat(300_000)] {
        let mut first = attack.hello();
        if let Some(host) = first.host.as_mut() {
            host.hostname = name.to_owned();
        }
        // Welcomed with the label cleaned, or refused: both are sound, neither may touch a path.
        let _ = attack.opens_with(Message::Hello(first));
    }
    let after = entries(&attack.deployment.server.state());
    let strange: Vec<_> =
        after.iter().filter(|name| !before.contains(name) && (name.contains("evil") || name.contains("script") || name.contains("xxx"))).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let log = attack.deployment.server.log();
    assert!(!log.contains("\nfake: log line"), "a host name broke a line of the log");
    let stored = attack.deployment.ctl.number(&format!("SELECT count(*) FROM events WHERE device_uid = '{victim}'")).unwrap();
    assert_eq!(stored, attack.sent, "the victim's events");
    attack.honest_device_is_served();
}

fn entries(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            found.push(entry.file_name().to_string_lossy().into_owned());
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn results_of_commands_that_nobody_asked_for_change_nothing() {
    let mut attack = Attack::begin();
    let link = attack.link();
    attack.deployment.block_on(async {
        for id in ["", "1", "../../x", &"y".repeat(50_000)] {
            let result = CommandResult { id: id.to_owned(), detail: "z".repeat(1_000), ..CommandResult::default() };
            if link.send(Message::Result(result)).await.is_err() {
                break;
            }
        }
    });
    drop(link);
    attack.honest_device_is_served();
}

#[test]
fn a_sender_that_never_reads_and_half_open_handshakes_are_bounded() {
    let mut attack = Attack::begin();
    let before = attack.peak();
    // Connections that never finish their handshake.
    let half_open: Vec<_> = (0..500).filter_map(|_| std::net::TcpStream::connect(attack.deployment.server.agent_address()).ok()).collect();
    // A session whose acknowledgements nobody reads, with far more in flight than allowed.
    let link = attack.link();
    let frame = good_frame(500);
    let flood = async {
        let (up, down) = link.split();
        for index in 0..400_u64 {
            let message = picket_proto::v1::AgentMessage { message: Some(Message::Batch(batch(1 + index * 500, 500, frame.clone()))) };
            if tokio::time::timeout(Duration::from_secs(5), up.send(message)).await.is_err() {
                break;
            }
        }
        down
    };
    let down = attack.deployment.block_on(flood);
    attack.honest_device_is_served();
    let growth = attack.peak().saturating_sub(before);
    assert!(growth < 2 * GROWTH_MAX, "the server grew by {} MiB", growth >> 20);
    drop((half_open, down));
    attack.honest_device_is_served();
}
