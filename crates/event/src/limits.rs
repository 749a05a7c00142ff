//! Bounds of an event's parts. The kernel records already respect them; the server refuses what does not, because a hostile
//! agent may send anything. What is cut is flagged in [`crate::EventFlags`].

/// Command line, joined by spaces. 4 KiB holds 99.9 % of real ones; a hostile process may pass 2 MiB of arguments.
pub const CMD_LINE_BYTES_MAX: usize = 4096;
/// A path as the kernel resolves it (`PATH_MAX`).
pub const PATH_BYTES_MAX: usize = 4096;
/// Process, user, host, container names.
pub const NAME_BYTES_MAX: usize = 256;
/// Selected environment variables a process: preload variables and job ids only.
pub const ENVIRONMENT_VARS_MAX: usize = 32;
/// One environment value.
pub const ENVIRONMENT_VALUE_BYTES_MAX: usize = 1024;
/// The sentence of a loss event.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// A short text that explains: an explanation, a remediation, one piece of evidence, the detail of a system call, an answer of DNS.
pub const DETAIL_BYTES_MAX: usize = 1024;
/// Pieces of evidence of a finding: a file may match in a million places, a person reads a few.
pub const EVIDENCE_MAX: usize = 16;
/// Techniques, standards, reasons, related events of a finding; instances of a GPU.
pub const LIST_MAX: usize = 32;
/// Answers of one DNS response.
pub const DNS_ANSWERS_MAX: usize = 32;
/// Processes on one GPU.
pub const GPU_PROCESSES_MAX: usize = 64;
/// The report of a sensor state, as JSON: some hundred probes and watches.
pub const REPORT_BYTES_MAX: usize = 48 * 1024;
/// One event on the wire. A larger one is refused by the server and counted as malformed.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Events in one batch.
pub const BATCH_EVENTS_MAX: usize = 2_000;
/// One batch after decompression: the server stops inflating here, whatever the frame claims.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One batch as sent.
pub const BATCH_WIRE_BYTES_MAX: usize = 2 * 1024 * 1024;
