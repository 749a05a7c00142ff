//! The contracts of Picket: gRPC services and messages compiled from `picket/v1/*.proto`.
//!
//! Constraints: a frame is at most [`picket_event::limits::BATCH_WIRE_BYTES_MAX`] as sent and
//! [`picket_event::limits::BATCH_BYTES_MAX`] inflated.

mod convert;
pub mod error;
pub mod frame;
pub mod values;

pub use convert::ConvertError;
pub use error::ServiceError;

/// Messages, clients and servers of the package `picket.v1`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic, clippy::indexing_slicing, rustdoc::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("picket.v1");
}

/// The compiled descriptors of every contract, as a serialised `google.protobuf.FileDescriptorSet` with its comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/picket.fds.bin"));
