//! Failures of other rooms in the words of the API. Causes go to the log under a reference, never to the caller.

use picket_lake::{ErrorKind, LakeError};
use picket_proto::ServiceError;
use tracing::error;
use uuid::Uuid;

use crate::state::StateError;

/// The lake could not do it.
pub(super) fn lake(error: LakeError) -> ServiceError {
    match error.kind() {
        ErrorKind::BadQuery => ServiceError::InvalidArgument(error.to_string()),
        ErrorKind::LimitExceeded => ServiceError::ResourceExhausted(error.to_string()),
        ErrorKind::Cancelled => ServiceError::Cancelled,
        ErrorKind::DiskFull => ServiceError::Unavailable("the server's disk is nearly full".to_owned()),
        ErrorKind::Closed => ServiceError::Unavailable("the server is stopping".to_owned()),
        ErrorKind::Gap | ErrorKind::Internal => internal(&error),
    }
}

/// The state store could not do it.
pub(super) fn state(error: StateError) -> ServiceError {
    internal(&error)
}

/// Our fault.
pub(super) fn internal(cause: &(dyn std::error::Error + 'static)) -> ServiceError {
    let reference = Uuid::new_v4().simple().to_string().chars().take(8).collect::<String>();
    error!(error = cause, reference, "a call failed");
    ServiceError::Internal { reference }
}
