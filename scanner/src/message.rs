//! What goes over the two sockets: one JSON object a packet. Packets keep their bounds, so that a worker that dies in the middle of one leaves
//! nothing half-said to the next.

use serde::{Deserialize, Serialize};

/// Longer packets do not fit the kernel's default buffer of a socket.
pub(crate) const PACKET_BYTES_MAX: usize = 160 << 10;

/// Agent to worker, with one read-only descriptor beside it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Comes back in the reply.
    pub(crate) id: u64,
    /// What to call the file.
    pub(crate) name: String,
    /// Bytes, as the agent saw it: this process may not ask.
    pub(crate) size: u64,
    /// The scan ends itself after this long.
    pub(crate) time_ms: u64,
    /// Files up to this size get a sha256.
    pub(crate) hash_up_to: u64,
    /// Digests a file that can be held in memory first, says so, and waits for an [`Answer`]: the agent may know these bytes.
    #[serde(default)]
    pub(crate) ask: bool,
}

/// Agent to worker, after a [`Reply::Digest`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// Of the request.
    pub(crate) id: u64,
    /// Judge it. Otherwise nothing more is said of this file.
    pub(crate) judge: bool,
}

/// Worker to agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Once, when the worker is locked in and ready.
    Ready {
        pid: u32,
        /// Identity of the YARA rules.
        rules: String,
        /// Packs that could not be used, and why; the built-in rules are used all the same.
        rules_errors: Vec<String>,
        /// How it is locked in, part by part.
        sandbox: Vec<String>,
    },
    /// For a request that asks, where the file could be held: what is judged then is what was digested, whatever the file becomes meanwhile.
    Digest { id: u64, sha256: String, cpu_us: u64, bytes_read: u64 },
    /// For each request, unless its answer was that the bytes are known.
    Done {
        id: u64,
        /// `picket_artifact::Report`, without the list of members.
        report: serde_json::Value,
        members: u64,
        /// The same bytes under another name with the same ending would have been judged the same.
        name_counts_by_ending: bool,
        cpu_us: u64,
        bytes_read: u64,
    },
}

/// Agent to launcher.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// Start a worker; one that runs is killed first.
    Start,
    /// Kill the worker.
    Kill,
}

/// Launcher to agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// A worker runs.
    Started { pid: u32 },
    /// No worker runs any more.
    Exited {
        /// Of a worker that ended itself.
        code: Option<i32>,
        /// That ended it.
        signal: Option<i32>,
        /// The end of what it wrote to standard error.
        last_words: String,
    },
    /// No worker could be started.
    Failed { why: String },
}
