//! Frames: the events of one batch, compressed as a whole. The spool keeps them, the link carries them and the server's log stores
//! them, all as the same bytes.
//!
//! ```
//! use picket_event::{Activity, Event, EventFlags, SensorState, SensorStateKind, Severity, Timestamp};
//! use picket_proto::frame;
//!
//! let state = SensorState { kind: SensorStateKind::Started, report: serde_json::Value::Null };
//! let event = Event { time: Timestamp(1), severity: Severity::Informational, flags: EventFlags::default(), actor: None, activity: Activity::Sensor(state) };
//! let bytes = frame::encode(std::slice::from_ref(&event))?;
//! assert_eq!(frame::decode(&bytes, 1)?, [event]);
//! # Ok::<(), frame::FrameError>(())
//! ```

use std::io;

use picket_event::{
    Event,
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BATCH_WIRE_BYTES_MAX, EVENT_BYTES_MAX},
};
use prost::{
    Message as _,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint},
};
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe,
};

use crate::{ConvertError, v1};

/// Fast enough for an agent's budget; 3 saves about a twentieth of the bytes for twice the time.
const ZSTD_LEVEL: i32 = 1;

/// Plain bytes that fit [`BATCH_WIRE_BYTES_MAX`] even where nothing can be compressed: a process on the host chooses its own command
/// line, and must not be able to make a frame that the server refuses. (zstd adds at most one part in 256.)
const PLAIN_BYTES_MAX: usize = BATCH_WIRE_BYTES_MAX / 128 * 127;

/// `EventFrame.events`.
const EVENTS_FIELD: u32 = 1;

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The encoder has no room: finish the frame first.
    #[error("the frame is full")]
    Full,
    /// zstd could not compress (out of memory).
    #[error("the frame could not be compressed")]
    Compress(#[source] io::Error),
    /// More bytes than a frame may have, as sent or as claimed inflated.
    #[error("a frame of {bytes} bytes, more than {max}")]
    TooLarge {
        /// What was sent or claimed.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// More events than a frame may have.
    #[error("a frame of {count} events, more than {BATCH_EVENTS_MAX}")]
    TooMany {
        /// What was claimed.
        count: usize,
    },
    /// One event is larger than an event may be.
    #[error("an event of {bytes} bytes, more than {EVENT_BYTES_MAX}")]
    EventTooLarge {
        /// What was sent.
        bytes: u64,
    },
    /// Not zstd, damaged, or longer than it claims.
    #[error("the frame cannot be inflated")]
    Inflate(#[source] io::Error),
    /// The zstd header does not say how long the content is; ours always does.
    #[error("the frame does not tell its length")]
    Length,
    /// Inflated, but no sequence of events.
    #[error("the frame is not an EventFrame")]
    Envelope,
    /// A part of it is no protobuf.
    #[error("the frame is not protobuf")]
    Protobuf(#[from] prost::DecodeError),
    /// The number of events is not the one announced.
    #[error("{expected} events were announced, the frame has {found}")]
    Count {
        /// As announced.
        expected: usize,
        /// As found, counted up to one above `expected`.
        found: usize,
    },
    /// An event says what no event can.
    #[error("event {index}: {source}")]
    Event {
        /// Position in the frame, from 0.
        index: usize,
        /// What is wrong with it.
        source: ConvertError,
    },
}

/// One frame of these events. A [`FrameEncoder`] that is kept saves its set-up.
///
/// # Errors
/// When the events are more or larger than one frame may hold.
pub fn encode(events: &[Event]) -> Result<Vec<u8>, FrameError> {
    let mut encoder = FrameEncoder::new()?;
    for event in events {
        encoder.push(event.clone())?;
    }
    encoder.finish()
}

/// The events of one frame. A [`FrameDecoder`] that is kept saves its set-up.
///
/// # Errors
/// As [`FrameDecoder::decode`].
pub fn decode(frame: &[u8], expected_count: u32) -> Result<Vec<Event>, FrameError> {
    FrameDecoder::new()?.decode(frame, expected_count)
}

/// Writes frames, one after another, with one compression context. Memory: the frame's plain bytes (at most 2 MiB) and about 1 MiB
/// for zstd.
pub struct FrameEncoder {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
    count: usize,
}

impl FrameEncoder {
    /// An empty frame.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> Result<Self, FrameError> {
        Ok(Self { compressor: Compressor::new(ZSTD_LEVEL).map_err(FrameError::Compress)?, plain: Vec::new(), count: 0 })
    }

    /// Events pushed since the last [`finish`](Self::finish).
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Their bytes before compression.
    #[must_use]
    pub const fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// True when any one event more is sure to fit.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.count < BATCH_EVENTS_MAX && self.plain.len() + EVENT_BYTES_MAX + 8 <= PLAIN_BYTES_MAX
    }

    /// Adds an event, cut at the limits of [`picket_event::limits`] where it is larger.
    ///
    /// # Errors
    /// [`FrameError::Full`] where it has no room; the event is gone then, so ask [`has_room`](Self::has_room) before.
    pub fn push(&mut self, mut event: Event) -> Result<(), FrameError> {
        event.clip();
        let mut wire = v1::Event::from(event);
        let mut length = wire.encoded_len();
        if length > EVENT_BYTES_MAX {
            drop_environment(&mut wire);
            length = wire.encoded_len();
        }
        if length > EVENT_BYTES_MAX {
            return Err(FrameError::EventTooLarge { bytes: u64::try_from(length).unwrap_or(u64::MAX) });
        }
        let length_u64 = u64::try_from(length).unwrap_or(u64::MAX);
        if self.count >= BATCH_EVENTS_MAX || self.plain.len() + 1 + encoded_len_varint(length_u64) + length > PLAIN_BYTES_MAX {
            return Err(FrameError::Full);
        }
        encode_key(EVENTS_FIELD, WireType::LengthDelimited, &mut self.plain);
        encode_varint(length_u64, &mut self.plain);
        wire.encode_raw(&mut self.plain);
        self.count += 1;
        Ok(())
    }

    /// The frame of everything pushed, and begins the next.
    ///
    /// # Errors
    /// When zstd gets no memory; what was pushed is kept then.
    pub fn finish(&mut self) -> Result<Vec<u8>, FrameError> {
        let frame = self.compressor.compress(&self.plain).map_err(FrameError::Compress)?;
        self.plain.clear();
        self.count = 0;
        Ok(frame)
    }
}

/// The first part to go where an event is too large.
fn drop_environment(event: &mut v1::Event) {
    if let Some(actor) = &mut event.actor {
        actor.environment.clear();
    }
    if let Some(v1::event::Activity::Process(v1::ProcessActivity { process: Some(process), .. })) = &mut event.activity {
        process.environment.clear();
    }
    event.flags |= picket_event::EventFlags::TEXT_CUT.0;
}

/// Reads frames, one after another, with one decompression context and one buffer. Memory: the largest frame read, at most
/// [`BATCH_BYTES_MAX`].
pub struct FrameDecoder {
    decompressor: Decompressor<'static>,
    plain: Vec<u8>,
}

impl FrameDecoder {
    /// A decoder.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> Result<Self, FrameError> {
        Ok(Self { decompressor: Decompressor::new().map_err(FrameError::Inflate)?, plain: Vec::new() })
    }

    /// The events of one frame from a peer that may be hostile. Nothing is inflated beyond the length that the frame claims, nor beyond
    /// [`BATCH_BYTES_MAX`], and no event is read beyond `expected_count`.
    ///
    /// # Errors
    /// When the frame is over a limit, damaged, holds another number of events than `expected_count`, or an event that says what no
    /// event can.
    pub fn decode(&mut self, frame: &[u8], expected_count: u32) -> Result<Vec<Event>, FrameError> {
        let expected = usize::try_from(expected_count).unwrap_or(usize::MAX);
        if expected > BATCH_EVENTS_MAX {
            return Err(FrameError::TooMany { count: expected });
        }
        self.inflate(frame)?;
        let mut plain = self.plain.as_slice();
        let mut events = Vec::with_capacity(expected);
        while !plain.is_empty() {
            if events.len() == expected {
                return Err(FrameError::Count { expected, found: expected + 1 });
            }
            let event = v1::Event::decode(next(&mut plain)?)?;
            let index = events.len();
            events.push(event.try_into().map_err(|source| FrameError::Event { index, source })?);
        }
        if events.len() != expected {
            return Err(FrameError::Count { expected, found: events.len() });
        }
        Ok(events)
    }

    fn inflate(&mut self, frame: &[u8]) -> Result<(), FrameError> {
        check_length(u64::try_from(frame.len()).unwrap_or(u64::MAX), BATCH_WIRE_BYTES_MAX)?;
        let claimed = zstd_safe::get_frame_content_size(frame).ok().flatten().ok_or(FrameError::Length)?;
        check_length(claimed, BATCH_BYTES_MAX)?;
        self.plain.clear();
        // zstd writes into the capacity and fails where that is too small.
        self.plain.reserve(usize::try_from(claimed).unwrap_or(BATCH_BYTES_MAX));
        self.decompressor.decompress_to_buffer(frame, &mut self.plain).map_err(FrameError::Inflate)?;
        check_length(u64::try_from(self.plain.len()).unwrap_or(u64::MAX), BATCH_BYTES_MAX)
    }
}

fn check_length(bytes: u64, max: usize) -> Result<(), FrameError> {
    if usize::try_from(bytes).is_ok_and(|bytes| bytes <= max) { Ok(()) } else { Err(FrameError::TooLarge { bytes, max }) }
}

/// The next message of the repeated field, without reading it.
fn next<'a>(plain: &mut &'a [u8]) -> Result<&'a [u8], FrameError> {
    let (field, wire_type) = decode_key(plain)?;
    if field != EVENTS_FIELD || wire_type != WireType::LengthDelimited {
        return Err(FrameError::Envelope);
    }
    let bytes = decode_varint(plain)?;
    let length = usize::try_from(bytes).ok().filter(|length| *length <= EVENT_BYTES_MAX).ok_or(FrameError::EventTooLarge { bytes })?;
    let (event, after) = plain.split_at_checked(length).ok_or(FrameError::Envelope)?;
    *plain = after;
    Ok(event)
}
