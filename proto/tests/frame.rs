//! Frames carry every event unchanged, and nothing that a hostile peer sends gets through or costs much.

#[path = "../../crates/event/tests/strategies/mod.rs"]
mod strategies;

use picket_event::{
    Actor, Event, EventFlags, Process, SensorLoss, Severity, Timestamp,
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_WIRE_BYTES_MAX, EVENT_BYTES_MAX},
};
use picket_proto::{
    frame::{FrameDecoder, FrameEncoder, FrameError, decode, encode},
    v1,
};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

fn small() -> Event {
    Event {
        time: Timestamp(1),
        severity: Severity::Informational,
        flags: EventFlags::default(),
        actor: None,
        activity: picket_event::Activity::Loss(SensorLoss {
            cause: picket_event::LossCause::RingFull,
            class: None,
            count: Some(1),
            cpu: None,
            since: Timestamp(1),
            until: Timestamp(2),
            healed: None,
            message: String::from("one event was lost"),
        }),
    }
}

fn squeezed(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).expect("zstd")
}

proptest! {
    #[test]
    fn every_event_arrives_as_it_was(events in vec(strategies::event(), 0..8)) {
        let frame = encode(&events).expect("a frame");
        prop_assert_eq!(decode(&frame, u32::try_from(events.len()).expect("few")).expect("our own frame"), events);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..512), count in 0_u32..5) {
        let _ = decode(&bytes, count);
        let _ = decode(&squeezed(&bytes), count);
    }

    #[test]
    fn a_damaged_frame_never_panics(events in vec(strategies::event(), 1..4), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let count = u32::try_from(events.len()).expect("few");
        let mut plain = v1::EventFrame { events: events.into_iter().map(Into::into).collect() }.encode_to_vec();
        let position = at.index(plain.len());
        plain[position] ^= 1 << bit;
        let _ = decode(&squeezed(&plain), count);
    }
}

#[test]
fn the_count_must_be_the_one_announced() {
    let frame = encode(&[small(), small()]).expect("a frame");
    assert!(matches!(decode(&frame, 1), Err(FrameError::Count { expected: 1, found: 2 })));
    assert!(matches!(decode(&frame, 3), Err(FrameError::Count { expected: 3, found: 2 })));
    assert!(matches!(decode(&frame, u32::MAX), Err(FrameError::TooMany { .. })));
}

/// 8 MiB and one byte of nothing, in some hundred bytes.
#[test]
fn a_bomb_is_refused_by_its_claim() {
    let bomb = squeezed(&vec![0_u8; BATCH_BYTES_MAX + 1]);
    assert!(bomb.len() < 4_096);
    assert!(matches!(decode(&bomb, 1), Err(FrameError::TooLarge { max: BATCH_BYTES_MAX, .. })));
}

/// A second frame behind the first is content that the first's header does not claim.
#[test]
fn a_bomb_behind_a_small_claim_is_refused() {
    let mut frame = encode(&[small()]).expect("a frame");
    frame.extend(squeezed(&vec![0_u8; BATCH_BYTES_MAX]));
    assert!(matches!(decode(&frame, 1), Err(FrameError::Inflate(_))));
}

#[test]
fn a_frame_that_hides_its_length_is_refused() {
    let plain = v1::EventFrame { events: vec![small().into()] }.encode_to_vec();
    let mut hidden = zstd::stream::Encoder::new(Vec::new(), 1).expect("zstd");
    std::io::Write::write_all(&mut hidden, &plain).expect("memory");
    assert!(matches!(decode(&hidden.finish().expect("zstd"), 1), Err(FrameError::Length)));
}

/// Four million empty events would cost gigabytes once decoded; the count stops them.
#[test]
fn many_empty_events_are_refused() {
    let plain = [0x0a, 0x00].repeat(BATCH_BYTES_MAX / 2);
    assert!(matches!(decode(&squeezed(&plain), 2_000), Err(FrameError::Event { index: 0, .. })));
}

#[test]
fn an_oversized_event_is_refused() {
    let mut wire = v1::Event::from(small());
    wire.actor = Some(v1::Process { cmd_line: "x".repeat(EVENT_BYTES_MAX), ..v1::Process::default() });
    let plain = v1::EventFrame { events: vec![wire] }.encode_to_vec();
    assert!(matches!(decode(&squeezed(&plain), 1), Err(FrameError::EventTooLarge { .. })));
}

#[test]
fn a_wire_frame_over_its_limit_is_refused() {
    assert!(matches!(decode(&vec![0; BATCH_WIRE_BYTES_MAX + 1], 1), Err(FrameError::TooLarge { max: BATCH_WIRE_BYTES_MAX, .. })));
}

#[test]
fn foreign_fields_are_refused() {
    assert!(matches!(decode(&squeezed(&[0x12, 0x00]), 1), Err(FrameError::Envelope)));
}

/// The hostile host's worst: every text at its limit and nothing that compresses. The encoder still makes frames that the server takes.
#[test]
fn incompressible_events_still_fit_a_frame() {
    let mut state = 1_u64;
    let mut noise = |length: usize| -> String {
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b' ' + u8::try_from((state >> 33) % 94).expect("below 94"))
            })
            .collect()
    };
    let mut encoder = FrameEncoder::new().expect("zstd");
    let mut decoder = FrameDecoder::new().expect("zstd");
    let mut pushed = 0;
    while encoder.has_room() {
        let environment = (0..100).map(|_| (noise(300), noise(2_000))).collect();
        let process = Process { cmd_line: noise(5_000), path: noise(5_000), working_directory: noise(5_000), environment, ..Process::default() };
        let activity = picket_event::ProcessActivity {
            kind: picket_event::ProcessActivityKind::Launch(picket_event::LaunchType::Exec),
            process: process.clone(),
            method: picket_event::ProcessMethod::None,
        };
        let event = Event { actor: Some(Actor { process }), activity: picket_event::Activity::Process(activity), ..small() };
        encoder.push(event).expect("room was promised");
        pushed += 1;
    }
    assert!(pushed > 20);
    let frame = encoder.finish().expect("zstd");
    assert!(frame.len() <= BATCH_WIRE_BYTES_MAX);
    let events = decoder.decode(&frame, pushed).expect("our own frame");
    assert!(events.iter().all(|event| event.flags.contains(EventFlags::TEXT_CUT.union(EventFlags::CMD_LINE_CUT).union(EventFlags::PATH_CUT))));
}

#[test]
fn an_encoder_is_full_at_the_count() {
    let mut encoder = FrameEncoder::new().expect("zstd");
    for _ in 0..BATCH_EVENTS_MAX {
        assert!(encoder.has_room());
        encoder.push(small()).expect("room");
    }
    assert!(!encoder.has_room());
    assert!(matches!(encoder.push(small()), Err(FrameError::Full)));
    assert_eq!(encoder.count(), BATCH_EVENTS_MAX);
    let frame = encoder.finish().expect("zstd");
    assert_eq!(decode(&frame, u32::try_from(BATCH_EVENTS_MAX).expect("small")).expect("our own frame").len(), BATCH_EVENTS_MAX);
    assert_eq!(encoder.count(), 0);
}
