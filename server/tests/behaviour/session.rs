//! The agent's stream, as `agent.proto` says, and what a hostile agent may try on it.

use std::time::Duration;

use crate::support::{Session, TestServer};
use bytes::Bytes;
use picket_proto::v1::{self, CommandResult, Hello, agent_message::Message as Up, command_result, nack::Reason, server_message::Message as Down};
use tonic::Code;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_stored_once_and_found() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 10).await;
    // A replay is acknowledged and dropped.
    session.send(Up::Batch(session.batch(1, 10))).await;
    assert_eq!(session.ack().await, 10);
    // So is a part of one.
    session.send(Up::Batch(session.batch(3, 2))).await;
    assert_eq!(session.ack().await, 10);
    session.store(11, 5).await;
    assert_eq!(admin.search("").await.len(), 15);
    assert_eq!(admin.host(&device.uid).await.events_stored, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_on_their_way_are_answered_in_order() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    let (batches, size) = (60_u64, 20_u32);
    let up = session.up.clone();
    let messages: Vec<_> = (0..batches).map(|n| session.batch(1 + n * u64::from(size), size)).collect();
    let sender = tokio::spawn(async move {
        for batch in messages {
            up.send(v1::AgentMessage { message: Some(Up::Batch(batch)) }).await.unwrap();
        }
    });
    let mut last = 0;
    while last < batches * u64::from(size) {
        let seq = session.ack().await;
        assert!(seq > last, "{seq} after {last}");
        last = seq;
    }
    sender.await.unwrap();
    assert_eq!(admin.host(&device.uid).await.events_stored, batches * u64::from(size));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_with_the_watermark() {
    let server = TestServer::start().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 4).await;
    session.send(Up::Batch(session.batch(7, 2))).await;
    let nack = session.nack().await;
    assert_eq!((nack.reason(), nack.watermark, nack.first_seq, nack.count), (Reason::Gap, 4, 7, 2));
    session.store(5, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_is_told_after_a_reconnect_and_a_restart() {
    let mut server = TestServer::start().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 6).await;
    let spool = session.spool;
    for _ in 0..2 {
        let mut again = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
        again.spool = spool;
        let hello = again.hello(&device);
        again.send(Up::Hello(hello)).await;
        assert_eq!(again.welcome().await.unwrap().watermark, 6);
        let mut other = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
        let hello = other.hello(&device);
        other.send(Up::Hello(hello)).await;
        assert_eq!(other.welcome().await.unwrap().watermark, 0, "another spool");
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_stored_is_skipped_and_recorded() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 2).await;
    let good = session.batch(3, 2);
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 64 * 1024);
    let mut next = 3;
    let hostile: [(&str, Bytes, u32); 6] = [
        ("no frame", Bytes::new(), 2),
        ("not zstd", Bytes::from_static(&[7; 100]), 2),
        ("not protobuf", zstd::bulk::compress(&[0xff; 100], 1).unwrap().into(), 2),
        ("more than it says", good.frame_zstd.clone(), 1),
        ("less than it says", good.frame_zstd.clone(), 3),
        ("a bomb", bomb.into(), 2),
    ];
    for (what, frame_zstd, count) in hostile {
        session.send(Up::Batch(v1::EventBatch { first_seq: next, count, frame_zstd, ..good.clone() })).await;
        let nack = session.nack().await;
        next += u64::from(count);
        assert_eq!((nack.reason(), nack.watermark), (Reason::Malformed, next - 1), "{what}: {}", nack.detail);
    }
    // Over the limits in count and in bytes.
    let many = v1::EventBatch { first_seq: next, count: 2_001, ..good.clone() };
    session.send(Up::Batch(many)).await;
    next += 2_001;
    assert_eq!((session.nack().await.reason(), next), (Reason::Malformed, next));
    let large = v1::EventBatch { first_seq: next, count: 1, frame_zstd: vec![0; (2 << 20) + 1].into(), ..good };
    session.send(Up::Batch(large)).await;
    next += 1;
    assert_eq!(session.nack().await.watermark, next - 1);
    // The stream goes on.
    session.store(next, 3).await;
    assert_eq!(admin.search("").await.len(), 5);
    assert_eq!(admin.refusals_of("malformed").await.iter().map(|refusal| refusal.count).sum::<u64>(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_every_limit_ends_the_stream() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    let huge = v1::EventBatch { frame_zstd: vec![0; 8 << 20].into(), ..session.batch(1, 1) };
    session.send(Up::Batch(huge)).await;
    assert_ne!(session.end().await.code(), Code::Ok);
    admin.refusals_of("malformed").await;
    server.session(&device).await.store(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_order_than_the_contracts_ends_the_call() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;

    let mut no_hello = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
    no_hello.send(Up::Batch(no_hello.batch(1, 1))).await;
    assert_eq!(no_hello.end().await.code(), Code::FailedPrecondition);

    let mut twice = server.session(&device).await;
    let hello = twice.hello(&device);
    twice.send(Up::Hello(hello)).await;
    assert_eq!(twice.end().await.code(), Code::FailedPrecondition);

    let mut empty = server.session(&device).await;
    empty.up.send(v1::AgentMessage::default()).await.unwrap();
    assert_eq!(empty.end().await.code(), Code::FailedPrecondition);

    let mut foreign = server.session(&device).await;
    let batch = v1::EventBatch { spool_uid: Uuid::new_v4().to_string(), ..foreign.batch(1, 1) };
    foreign.send(Up::Batch(batch)).await;
    assert_eq!(foreign.end().await.code(), Code::FailedPrecondition);

    for (first_seq, count) in [(0, 1), (1, 0), (u64::MAX, 2)] {
        let mut numbers = server.session(&device).await;
        let batch = v1::EventBatch { first_seq, count, ..numbers.batch(1, 1) };
        numbers.send(Up::Batch(batch)).await;
        assert_eq!(numbers.end().await.code(), Code::FailedPrecondition, "{first_seq} {count}");
    }
    assert_eq!(admin.refusals_of("protocol_violation").await[0].count, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_must_be_what_the_contract_says() {
    let server = TestServer::start().await;
    let device = server.enrol().await;
    let probes = vec![v1::Probe::default(); 600];
    let changes: [(Code, Box<dyn Fn(&mut Hello)>); 3] = [
        (Code::Unimplemented, Box::new(|hello| hello.protocol = 2)),
        (Code::InvalidArgument, Box::new(|hello| hello.spool_uid = "x".to_owned())),
        (Code::InvalidArgument, Box::new(move |hello| hello.capabilities = Some(v1::CapabilityReport { probes: probes.clone(), ..Default::default() }))),
    ];
    for (code, change) in changes {
        let mut session = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
        let mut hello = session.hello(&device);
        change(&mut hello);
        session.send(Up::Hello(hello)).await;
        assert_eq!(session.end().await.code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_supersedes() {
    let server = TestServer::start_with(|config| config.agents.silent_after_s = 1).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut first = server.session(&device).await;
    let mut second = server.session(&device).await;
    assert_eq!(first.end().await.code(), Code::Aborted);
    second.store(1, 1).await;
    assert!(admin.refusals().await.is_empty(), "one host that reconnects is no clone");
    assert_eq!(admin.host(&device.uid).await.state(), v1::host_view::State::Connected);
    drop(second);
    for _ in 0..200 {
        if admin.host(&device.uid).await.state() == v1::host_view::State::Silent {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a host whose session ended stays connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_session_is_ended() {
    let server = TestServer::start_with(|config| config.agents.silence_max_s = 1).await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    assert_eq!(session.end().await.code(), Code::DeadlineExceeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_over_its_rate_is_told_to_come_back() {
    let server = TestServer::start_with(|config| config.agents.events_per_second_max = 10).await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 1_000).await;
    session.send(Up::Batch(session.batch(1_001, 10))).await;
    let nack = session.nack().await;
    assert_eq!((nack.reason(), nack.watermark), (Reason::Busy, 1_000));
    assert!(nack.retry_after_ms > 1_000, "{}", nack.retry_after_ms);
    // The limit is the device's, not the session's.
    let spool = session.spool;
    let mut again = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
    again.spool = spool;
    let hello = again.hello(&device);
    again.send(Up::Hello(hello)).await;
    again.welcome().await.unwrap();
    again.send(Up::Batch(again.batch(1_001, 10))).await;
    assert_eq!(again.nack().await.reason(), Reason::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_asks_the_agent() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let refresh = v1::RefreshHostRequest { host: device.uid.clone() };
    assert_eq!(admin.hosts().refresh(admin.with(refresh.clone())).await.unwrap_err().code(), Code::Unavailable);
    let mut session = server.session(&device).await;
    let asked = tokio::spawn({
        let (admin, refresh) = (admin.clone(), refresh.clone());
        async move { admin.hosts().refresh(admin.with(refresh)).await }
    });
    let Down::Command(command) = session.next().await.unwrap() else { panic!("not a command") };
    assert!(matches!(command.action, Some(v1::command::Action::ReportState(_))));
    let host = v1::Host { kernel: "6.9.9".to_owned(), ..Default::default() };
    let result = CommandResult { id: command.id, state: command_result::State::Done.into(), host: Some(host), ..Default::default() };
    session.send(Up::Result(result)).await;
    assert_eq!(asked.await.unwrap().unwrap().into_inner().host.unwrap().kernel, "6.9.9");
}
