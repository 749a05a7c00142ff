//! One entry of the log: `length u32 | crc32 u32 | payload`, little-endian; the crc covers the length too, so that a run of zeros is no entry.

use bytes::{Buf, BufMut, Bytes};
use picket_event::{DeviceUid, SpoolUid, Timestamp, limits};
use uuid::Uuid;

pub(super) const HEADER_BYTES: usize = 8;
/// A frame as sent plus our own fields. A longer length is damage, not an entry: we must not allocate what a flipped bit asks for.
pub(super) const PAYLOAD_BYTES_MAX: usize = limits::BATCH_WIRE_BYTES_MAX + 4096;

const KIND_BATCH: u8 = 1;
const KIND_SKIP: u8 = 2;
const FIXED_BYTES: usize = 1 + 16 + 16 + 8 + 8 + 8 + 2;

/// What is logged of a batch or a skip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) device: DeviceUid,
    pub(crate) hostname: String,
    pub(crate) spool: SpoolUid,
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    pub(crate) received: Timestamp,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// The frame as the agent sent it.
    Batch(Bytes),
    /// Nothing: the range was unreadable and counts as stored.
    Skip,
}

impl Entry {
    /// Appends the entry to a buffer.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.put_bytes(0, HEADER_BYTES);
        let (kind, frame) = match &self.body {
            Body::Batch(frame) => (KIND_BATCH, frame.as_ref()),
            Body::Skip => (KIND_SKIP, &[][..]),
        };
        buffer.put_u8(kind);
        buffer.put_slice(self.device.0.as_bytes());
        buffer.put_slice(self.spool.0.as_bytes());
        buffer.put_u64_le(self.first_seq);
        buffer.put_u64_le(self.count);
        buffer.put_i64_le(self.received.0);
        let hostname = cut(&self.hostname, limits::NAME_BYTES_MAX);
        buffer.put_u16_le(u16::try_from(hostname.len()).unwrap_or_default());
        buffer.put_slice(hostname.as_bytes());
        buffer.put_slice(frame);
        let length = u32::try_from(buffer.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
        if let Some(entry) = buffer.get_mut(start..) {
            let (header, payload) = entry.split_at_mut(HEADER_BYTES);
            let (length_bytes, crc_bytes) = header.split_at_mut(4);
            length_bytes.copy_from_slice(&length.to_le_bytes());
            crc_bytes.copy_from_slice(&checksum(length, payload).to_le_bytes());
        }
    }

    /// Reads a payload whose checksum was right. `None` when it is not one that [`Entry::write`] makes.
    pub(super) fn read(mut payload: Bytes) -> Option<Self> {
        if payload.len() < FIXED_BYTES {
            return None;
        }
        let kind = payload.get_u8();
        let device = DeviceUid(Uuid::from_u128(payload.get_u128()));
        let spool = SpoolUid(Uuid::from_u128(payload.get_u128()));
        let first_seq = payload.get_u64_le();
        let count = payload.get_u64_le();
        let received = Timestamp(payload.get_i64_le());
        let hostname_len = usize::from(payload.get_u16_le());
        if payload.len() < hostname_len {
            return None;
        }
        let hostname = String::from_utf8(payload.split_to(hostname_len).to_vec()).ok()?;
        let body = match kind {
            KIND_BATCH => Body::Batch(payload),
            KIND_SKIP if payload.is_empty() => Body::Skip,
            _ => return None,
        };
        Some(Self { device, hostname, spool, first_seq, count, received, body })
    }
}

pub(super) fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
