//! The one list of what a service may answer instead of a result, and how gRPC and HTTP call it.
//!
//! A message is written for the caller: what was wrong with the call, or what to do. Causes inside the server are logged where they
//! happen and never sent.

use tonic::{Code, Status};

/// An answer that is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The request says something that no caller may say: the caller corrects it.
    #[error("{0}")]
    InvalidArgument(String),
    /// No token, certificate or code, or one that is not valid.
    #[error("{0}")]
    Unauthenticated(String),
    /// Known, and not allowed.
    #[error("{0}")]
    PermissionDenied(String),
    /// No such host, token, column or method.
    #[error("{0}")]
    NotFound(String),
    /// It exists already.
    #[error("{0}")]
    AlreadyExists(String),
    /// Not in this state or order.
    #[error("{0}")]
    FailedPrecondition(String),
    /// Ended by a newer call of the same peer.
    #[error("{0}")]
    Aborted(String),
    /// Over a rate, a size or the memory that a query may use.
    #[error("{0}")]
    ResourceExhausted(String),
    /// Took longer than allowed.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// This server does not do that.
    #[error("{0}")]
    Unimplemented(String),
    /// Not now: starting, stopping, disk full. The same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The caller went away.
    #[error("the caller went away")]
    Cancelled,
    /// Our fault. The cause stands in the server's log under the reference.
    #[error("internal error, reference {reference} in the server's log")]
    Internal {
        /// What the log line carries too.
        reference: String,
    },
}

/// Every code that a service may answer, with its text in JSON and its HTTP status.
pub const CODES: [(Code, &str, u16); 13] = [
    (Code::InvalidArgument, "invalid_argument", 400),
    (Code::Unauthenticated, "unauthenticated", 401),
    (Code::PermissionDenied, "permission_denied", 403),
    (Code::NotFound, "not_found", 404),
    (Code::AlreadyExists, "already_exists", 409),
    (Code::FailedPrecondition, "failed_precondition", 400),
    (Code::Aborted, "aborted", 409),
    (Code::ResourceExhausted, "resource_exhausted", 429),
    (Code::DeadlineExceeded, "deadline_exceeded", 504),
    (Code::Unimplemented, "unimplemented", 501),
    (Code::Unavailable, "unavailable", 503),
    (Code::Cancelled, "canceled", 499),
    (Code::Internal, "internal", 500),
];

impl ServiceError {
    /// The gRPC code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::InvalidArgument(_) => Code::InvalidArgument,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::PermissionDenied(_) => Code::PermissionDenied,
            Self::NotFound(_) => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::FailedPrecondition(_) => Code::FailedPrecondition,
            Self::Aborted(_) => Code::Aborted,
            Self::ResourceExhausted(_) => Code::ResourceExhausted,
            Self::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Self::Unimplemented(_) => Code::Unimplemented,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Cancelled => Code::Cancelled,
            Self::Internal { .. } => Code::Internal,
        }
    }

    /// The code's text in a JSON answer, as Connect writes it.
    #[must_use]
    pub fn code_text(&self) -> &'static str {
        code_text(self.code())
    }

    /// The HTTP status of a JSON answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        http_status(self.code())
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// The text of any gRPC code in a JSON answer. What no service of ours answers (a transport's own code) is `internal`.
#[must_use]
pub fn code_text(code: Code) -> &'static str {
    entry(code).map_or("internal", |(_, text, _)| text)
}

/// The HTTP status of any gRPC code.
#[must_use]
pub fn http_status(code: Code) -> u16 {
    entry(code).map_or(500, |(_, _, status)| status)
}

fn entry(code: Code) -> Option<(Code, &'static str, u16)> {
    CODES.into_iter().find(|(known, ..)| *known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_in_the_list_once() {
        let text = || String::from("x");
        let all = [
            ServiceError::InvalidArgument(text()),
            ServiceError::Unauthenticated(text()),
            ServiceError::PermissionDenied(text()),
            ServiceError::NotFound(text()),
            ServiceError::AlreadyExists(text()),
            ServiceError::FailedPrecondition(text()),
            ServiceError::Aborted(text()),
            ServiceError::ResourceExhausted(text()),
            ServiceError::DeadlineExceeded(text()),
            ServiceError::Unimplemented(text()),
            ServiceError::Unavailable(text()),
            ServiceError::Cancelled,
            ServiceError::Internal { reference: text() },
        ];
        for (error, (code, ..)) in all.iter().zip(CODES) {
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn an_internal_error_tells_only_its_reference() {
        let status = Status::from(ServiceError::Internal { reference: String::from("7f3a") });
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error, reference 7f3a in the server's log"));
        assert_eq!((code_text(Code::DataLoss), http_status(Code::DataLoss)), ("internal", 500));
    }
}
