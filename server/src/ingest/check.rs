//! What a batch must be before it may reach the log.

use std::cell::RefCell;

use bytes::Bytes;
use picket_event::{Event, limits};
use picket_proto::frame::FrameDecoder;

/// Events of a batch, checked.
pub type Checked = Result<Vec<Event>, Rejected>;

/// Why a batch can never be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// More events than a batch may have.
    #[error("{0} events in a batch, at most {max} are allowed", max = limits::BATCH_EVENTS_MAX)]
    Count(u32),
    /// More bytes than a batch may have.
    #[error("{0} bytes in a batch, at most {max} are allowed", max = limits::BATCH_WIRE_BYTES_MAX)]
    Bytes(usize),
    /// The frame is not what it says.
    #[error("{0}")]
    Frame(String),
}

thread_local! {
    // A zstd context has some hundred KiB: made once a thread, not once a batch.
    static DECODER: RefCell<Option<FrameDecoder>> = const { RefCell::new(None) };
}

/// Bounds that cost nothing to check, before any work is done for the batch.
pub(super) fn check_bounds(count: u32, frame: &Bytes) -> Result<(), Rejected> {
    if usize::try_from(count).unwrap_or(usize::MAX) > limits::BATCH_EVENTS_MAX {
        return Err(Rejected::Count(count));
    }
    if frame.len() > limits::BATCH_WIRE_BYTES_MAX {
        return Err(Rejected::Bytes(frame.len()));
    }
    Ok(())
}

/// Inflates and decodes; runs on a blocking thread, because a hostile frame may cost tens of milliseconds.
pub(super) fn decode(count: u32, frame: &Bytes) -> Checked {
    DECODER.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(FrameDecoder::new().map_err(|error| Rejected::Frame(error.to_string()))?),
        };
        decoder.decode(frame, count).map_err(|error| Rejected::Frame(error.to_string()))
    })
}
