//! Wire ⇄ model. The model to the wire always succeeds; the wire to the model is strict, because a hostile agent may send anything.

mod from_wire;
mod rare;
mod to_wire;

/// Why a wire event is no event. Their bytes are at fault in every case.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A message or value that every such event has.
    #[error("{field} is missing")]
    Missing {
        /// The field, as a path in the .proto.
        field: &'static str,
    },
    /// A number that names nothing here, or is out of its range.
    #[error("{field} is {value}, which this version does not know")]
    Unknown {
        /// The field, as a path in the .proto.
        field: &'static str,
        /// What was sent.
        value: i64,
    },
    /// Longer than [`picket_event::limits`] allows.
    #[error("{field} has length {length}, more than {max}")]
    TooLong {
        /// The field, as a path in the .proto.
        field: &'static str,
        /// What was sent, in bytes or items.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// Neither 4 nor 16 bytes.
    #[error("{field} is an address of {length} bytes")]
    Address {
        /// The field, as a path in the .proto.
        field: &'static str,
        /// What was sent, in bytes.
        length: usize,
    },
    /// Not 32 bytes.
    #[error("{field} is a digest of {length} bytes")]
    Digest {
        /// The field, as a path in the .proto.
        field: &'static str,
        /// What was sent, in bytes.
        length: usize,
    },
    /// The sensor's report is no JSON.
    #[error("sensor.report is not JSON")]
    Report(#[source] serde_json::Error),
}
