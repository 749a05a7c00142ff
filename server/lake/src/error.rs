use std::{io, path::PathBuf};

/// What can go wrong, named by what was attempted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LakeError {
    /// The query is not one we can run; the text is for its author.
    #[error("{message}{}", at(*.position))]
    BadQuery {
        /// What is wrong and what may have been meant.
        message: String,
        /// Byte offset in the query text, where it can be told.
        position: Option<usize>,
    },
    /// The query went over a bound (memory, time, rows, size, concurrent queries).
    #[error("{0}")]
    LimitExceeded(String),
    /// The caller went away or the lake shut down under the query.
    #[error("the query was cancelled")]
    Cancelled,
    /// The file system has less free than the floor; nothing was stored, try again later.
    #[error("less than {floor_bytes} bytes are free at {}; free some or lower the retention", dir.display())]
    DiskFull {
        /// Where.
        dir: PathBuf,
        /// What must stay free.
        floor_bytes: u64,
    },
    /// Events between the watermark and the batch are missing; nothing was stored. Send from `watermark + 1`.
    #[error("gap: expected sequence {}", watermark.saturating_add(1))]
    Gap {
        /// Highest sequence stored without a gap.
        watermark: u64,
    },
    /// A batch whose parts contradict each other; a bug in the caller.
    #[error("misuse of the lake: {0}")]
    Misuse(&'static str),
    /// The lake is shutting down, or its log failed and it refuses to guess.
    #[error("the lake is closed: {0}")]
    Closed(String),
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file of ours does not hold what we wrote.
    #[error("{} is damaged: {detail}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// How.
        detail: String,
    },
    /// The Delta table refused.
    #[error("{action} the table")]
    Table {
        /// What was attempted.
        action: &'static str,
        /// The library's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The query engine failed by no fault of the query.
    #[error("the query engine failed while {action}")]
    Engine {
        /// What was attempted.
        action: &'static str,
        /// The library's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn at(position: Option<usize>) -> String {
    position.map_or_else(String::new, |position| format!(" (at character {})", position.saturating_add(1)))
}

/// Whose fault it is, for mapping to service errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The query's author can fix it; the message is meant for them.
    BadQuery,
    /// Over a bound; the message is meant for the query's author.
    LimitExceeded,
    /// The caller went away.
    Cancelled,
    /// No room; a later try may succeed.
    DiskFull,
    /// Sequence gap.
    Gap,
    /// Shutting down or failed.
    Closed,
    /// Ours: log it, show no detail.
    Internal,
}

impl LakeError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::BadQuery { .. } => ErrorKind::BadQuery,
            Self::LimitExceeded(_) => ErrorKind::LimitExceeded,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::DiskFull { .. } => ErrorKind::DiskFull,
            Self::Gap { .. } => ErrorKind::Gap,
            Self::Closed(_) => ErrorKind::Closed,
            Self::Misuse(_) | Self::Io { .. } | Self::Corrupt { .. } | Self::Table { .. } | Self::Engine { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn table(action: &'static str) -> impl FnOnce(deltalake_core::DeltaTableError) -> Self {
        move |source| Self::Table { action, source: Box::new(source) }
    }

    pub(crate) fn engine(action: &'static str) -> impl FnOnce(datafusion::error::DataFusionError) -> Self {
        move |source| Self::Engine { action, source: Box::new(source) }
    }
}
