//! What a worker may use, whatever it is shown.

/// Address space. The scanner's own bound is some hundred MiB for any file; a parser's bug that asks for more ends the worker, not the host.
pub(crate) const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// CPU time of one worker's life. The agent replaces a worker long before; this ends one that the agent forgot.
pub(crate) const CPU_SECONDS_MAX: u64 = 3_600;
/// Descriptors: three standard ones, the socket, the file.
pub(crate) const FILES_MAX: u64 = 16;
/// Files up to this size are read once and held while they are digested and judged; a larger one has no verdict by its digest. Digesting reads every
/// byte, and judging a large checkpoint reads hardly any.
pub(crate) const HELD_BYTES_MAX: u64 = 64 << 20;
/// Findings sent of one file; the rest is counted. The worst come first.
pub(crate) const FINDINGS_MAX: usize = 50;
