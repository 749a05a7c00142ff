//! A durable, bounded queue on disk: what the agent saw and the server does not have yet.
//!
//! Frames (one batch of events each, opaque bytes here) are appended to segment files and numbered event by event, from 1 and without
//! gaps. A frame may be handed to a reader only after [`Spool::sync`] has fsynced it, so whatever the server was told exists after a
//! crash too. Acknowledged segments are deleted whole.
//!
//! Constraints, in numbers: one frame is at most [`FRAME_BYTES_MAX`] (2 MiB) and [`FRAME_EVENTS_MAX`] events; the folder never holds
//! more than `bytes_max` plus one header; the last `reserve_bytes` of that are kept for frames of high priority, and the last eighth of these
//! for reports, so that a full spool can still say that it is full; memory is an index entry a segment (about 64 bytes an 8 MiB file). Files are 0600, the folder
//! 0700; a lock file keeps a second agent out.
//!
//! Crash behaviour: a torn tail is cut off; a frame in the middle that fails its checksum is reported as a lost range and skipped, the
//! frames after it stay; whatever is found is fsynced before it can be read. A later segment overrides an earlier one where both claim a
//! sequence number, because a failed fsync rolls the numbering back.
//!
//! ```
//! use picket_spool::{NewFrame, Spool, SpoolConfig, Stored};
//!
//! let folder = tempfile::tempdir()?;
//! let (spool, recovery) = Spool::open(SpoolConfig::new(folder.path().join("spool")))?;
//! assert_eq!(recovery.last_seq, 0);
//! let first = spool.append(&NewFrame { count: 3, payload: b"three events", ..NewFrame::default() })?;
//! assert_eq!(first, 1);
//! let mut reader = spool.reader();
//! assert!(reader.frames_after(0, 1 << 20)?.is_empty(), "nothing is readable before it is synced");
//! spool.sync()?;
//! let frames = reader.frames_after(0, 1 << 20)?;
//! assert!(matches!(frames.as_slice(), [Stored::Frame(frame)] if frame.count == 3));
//! spool.ack(3)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod folder;
mod layout;
mod meta;
mod reader;
mod recovery;
mod spool;

pub use error::SpoolError;
pub use layout::{CLASSES, FrameHeader, LAYOUT_VERSION, Priority};
pub use reader::{Reader, Stored, StoredFrame};
pub use recovery::{LostRange, Recovery};
pub use spool::{NewFrame, Spool, SpoolConfig, SpoolState};

/// Largest payload of a frame. A batch on the wire has the same bound; a larger one could never be sent and would block the queue.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most events in one frame.
pub const FRAME_EVENTS_MAX: u32 = 2_000;
/// Largest checkpoint a frame carries.
pub const CHECKPOINT_BYTES_MAX: usize = 256;
