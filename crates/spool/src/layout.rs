//! The bytes of a segment. Integers are little-endian.
//!
//! Segment: `PKSEGM` · layout version · 0 · first sequence (8) · crc32 of these 16 (4), then frames.
//! Frame: `PKFR` · crc32 of the rest of the header and the checkpoint (4) · payload length (4) · payload crc32 (4) · first sequence (8) ·
//! events (4) · first and last event time (8, 8) · acknowledged sequence when written (8) · events by class (8 × 4) · priority (1: 0 normal, 1 report, 2 low, 3 high) ·
//! 0 · checkpoint length (2) · checkpoint · payload.

/// Version of the layout on disk.
pub const LAYOUT_VERSION: u8 = 1;
/// Classes of events that a frame counts; what a class means is the caller's.
pub const CLASSES: usize = 8;

pub(crate) const SEGMENT_MAGIC: &[u8; 6] = b"PKSEGM";
pub(crate) const SEGMENT_HEADER_BYTES: usize = 20;
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"PKFR";
pub(crate) const FRAME_HEADER_BYTES: usize = 88;

/// What may use which part of the allowance, least first: see [`crate::SpoolConfig::reserve_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Refused first.
    Low,
    /// Everything usual.
    #[default]
    Normal,
    /// May use the reserve but for its last eighth.
    High,
    /// What tells of losses: may use everything.
    Report,
}

impl Priority {
    /// Least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Report];

    const fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Report => 1,
            Self::Low => 2,
            Self::High => 3,
        }
    }

    /// A code of a later version counts as the usual.
    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Report,
            2 => Self::Low,
            3 => Self::High,
            _ => Self::Normal,
        }
    }
}

/// What a frame says of itself. Its own checksum covers it, so that a frame with a broken payload can still be counted as lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Sequence of the first event.
    pub first_seq: u64,
    /// Events.
    pub count: u32,
    /// Time of the earliest event, ns since the Unix epoch.
    pub time_first_ns: i64,
    /// Time of the latest event.
    pub time_last_ns: i64,
    /// Highest acknowledged sequence when the frame was written.
    pub acked: u64,
    /// Events by class.
    pub class_counts: [u32; CLASSES],
    /// What it was allowed to use.
    pub priority: Priority,
    /// The caller's own bytes.
    pub checkpoint: Vec<u8>,
    pub(crate) payload_len: u32,
    pub(crate) payload_crc: u32,
}

impl FrameHeader {
    /// Sequence of the last event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count)).saturating_sub(1)
    }

    /// Bytes of header and checkpoint.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEADER_BYTES + self.checkpoint.len()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(FRAME_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        out.extend_from_slice(&self.payload_crc.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.time_first_ns.to_le_bytes());
        out.extend_from_slice(&self.time_last_ns.to_le_bytes());
        out.extend_from_slice(&self.acked.to_le_bytes());
        for count in self.class_counts {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.extend_from_slice(&[self.priority.code(), 0]);
        // The checkpoint is at most CHECKPOINT_BYTES_MAX, checked by `append`.
        out.extend_from_slice(&u16::try_from(self.checkpoint.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.checkpoint);
        let crc = crc32fast::hash(out.get(start + 8..).unwrap_or_default());
        if let Some(place) = out.get_mut(start + 4..start + 8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
    }

    /// The header at the start of `bytes`, `None` where there is none that its checksum vouches for.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut at = Cursor(bytes);
        if at.take(4)? != FRAME_MAGIC {
            return None;
        }
        let crc = at.u32()?;
        let mut header = Self { payload_len: at.u32()?, payload_crc: at.u32()?, first_seq: at.u64()?, count: at.u32()?, ..Self::default() };
        header.time_first_ns = at.i64()?;
        header.time_last_ns = at.i64()?;
        header.acked = at.u64()?;
        for count in &mut header.class_counts {
            *count = at.u32()?;
        }
        let [priority, _] = at.array::<2>()?;
        header.priority = Priority::of(priority);
        let checkpoint = usize::from(u16::from_le_bytes(at.array()?));
        header.checkpoint = at.take(checkpoint)?.to_vec();
        let plausible = crc32fast::hash(bytes.get(8..header.len())?) == crc && header.first_seq > 0 && header.count > 0;
        let len = usize::try_from(header.payload_len).ok()?;
        (plausible && len <= crate::FRAME_BYTES_MAX && header.count <= crate::FRAME_EVENTS_MAX).then_some(header)
    }
}

pub(crate) fn encode_segment_header(first_seq: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    bytes.extend_from_slice(SEGMENT_MAGIC);
    bytes.extend_from_slice(&[LAYOUT_VERSION, 0]);
    bytes.extend_from_slice(&first_seq.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header.copy_from_slice(&bytes);
    header
}

/// What the start of a segment file says.
pub(crate) enum SegmentHeader {
    Good { first_seq: u64 },
    OtherLayout(u8),
    Broken,
}

pub(crate) fn decode_segment_header(bytes: &[u8]) -> SegmentHeader {
    let mut at = Cursor(bytes);
    let parts = (|| Some((at.take(6)? == SEGMENT_MAGIC, at.array::<2>()?, at.u64()?, at.u32()?)))();
    let Some((true, [version, _], first_seq, crc)) = parts else { return SegmentHeader::Broken };
    if bytes.get(..16).map(crc32fast::hash) != Some(crc) {
        return SegmentHeader::Broken;
    }
    if version == LAYOUT_VERSION { SegmentHeader::Good { first_seq } } else { SegmentHeader::OtherLayout(version) }
}

/// Reads integers off the front of a slice.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}
