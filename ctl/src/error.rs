//! What can go wrong, in words that say what to do, and the exit code of each.

use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;
use tonic::{Code, Status};

/// Why a command ended without doing all it was asked.
#[derive(Debug, Error)]
pub(crate) enum CtlError {
    /// The arguments cannot mean anything.
    #[error("{0}")]
    Usage(String),
    /// The context file.
    #[error("{path}: {message}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// No context to work with.
    #[error(
        "not signed in to any server; run `picket-server sign-in --config F` beside the server and pipe its code into: picketctl login https://HOST:8443 --code -"
    )]
    NoContext,
    /// A context that has no token any more.
    #[error("signed out of {url}; sign in again: picketctl login {url} --code -")]
    SignedOut {
        /// The server.
        url: String,
    },
    /// No connection.
    #[error("cannot reach {url}: {reason}{hint}")]
    Unreachable {
        /// The server.
        url: String,
        /// What the network or TLS said.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The server answered with an error.
    #[error("{}", status_text(.url, .status))]
    Answer {
        /// The server.
        url: String,
        /// Its answer.
        status: Box<Status>,
    },
    /// What was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// The answer ends before what was asked for does.
    #[error("{0}")]
    Partial(String),
    /// Standard output or a file.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    /// The server sent what its contract does not allow.
    #[error("the server's answer cannot be understood ({0}); is it of another version? see: picketctl server status")]
    Malformed(String),
    /// No crypto provider.
    #[error("the crypto provider could not be installed twice")]
    Crypto,
    /// No runtime.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

impl CtlError {
    /// The stable exit code.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::NoContext | Self::SignedOut { .. } => 4,
            Self::Answer { status, .. } => match status.code() {
                Code::InvalidArgument => 2,
                Code::NotFound => 3,
                Code::Unauthenticated | Code::PermissionDenied => 4,
                _ => 1,
            },
            Self::Partial(_) => 5,
            _ => 1,
        }
    }
}

/// Prints the error and gives its exit code.
pub(crate) fn report(error: &CtlError) -> ExitCode {
    let prefix = if matches!(error, CtlError::Partial(_)) { "note" } else { "error" };
    eprintln!("{prefix}: {}", crate::output::clean(&error.to_string()));
    ExitCode::from(error.code())
}

fn status_text(url: &str, status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unauthenticated => format!("{url} does not accept this sign-in ({message}); sign in again: picketctl login {url} --code -"),
        Code::PermissionDenied => format!("denied: {message}"),
        Code::NotFound => format!("not found: {message}"),
        Code::InvalidArgument => message.to_owned(),
        Code::Unavailable => format!("{url} is not available: {message}; try again, and see its log"),
        Code::Unimplemented => format!("{url} does not know this call; it is older than this picketctl ({})", env!("CARGO_PKG_VERSION")),
        Code::DeadlineExceeded => format!("{url} took too long: {message}"),
        Code::ResourceExhausted => format!("over a limit of {url}: {message}"),
        code => format!("{url} answered {code:?}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let answer = |code| CtlError::Answer { url: "https://x".to_owned(), status: Box::new(Status::new(code, "m")) }.code();
        assert_eq!(answer(Code::InvalidArgument), 2);
        assert_eq!(answer(Code::NotFound), 3);
        assert_eq!(answer(Code::Unauthenticated), 4);
        assert_eq!(answer(Code::PermissionDenied), 4);
        assert_eq!(answer(Code::Internal), 1);
        assert_eq!(CtlError::Partial("x".to_owned()).code(), 5);
        assert_eq!(CtlError::NoContext.code(), 4);
        assert_eq!(CtlError::Usage("x".to_owned()).code(), 2);
    }
}
