//! What the scanner says of itself in `picket-agent status`.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

/// Shared by the scan thread, which writes, and the status socket, which reads.
#[derive(Debug, Default)]
pub(crate) struct ScanStatus {
    pub(crate) files: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) cpu_us: AtomicU64,
    pub(crate) findings: AtomicU64,
    pub(crate) trusted: AtomicU64,
    pub(crate) by_digest: AtomicU64,
    pub(crate) vanished: AtomicU64,
    pub(crate) killed: AtomicU64,
    pub(crate) pending: AtomicU64,
    pub(crate) jobs: AtomicU64,
    pub(crate) known: AtomicU64,
    pub(crate) known_contents: AtomicU64,
    /// State in a word, how the worker is locked in, and what is wrong.
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    state: String,
    sandbox: Vec<String>,
    rules: String,
    problems: Vec<String>,
}

impl ScanStatus {
    fn texts(&self) -> std::sync::MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `off`, `idle`, `scanning`, `resting`, `failing`.
    pub(crate) fn state(&self, state: &str) {
        let texts = &mut *self.texts();
        if texts.state != state {
            state.clone_into(&mut texts.state);
        }
    }

    pub(crate) fn worker(&self, sandbox: &[String], rules: &str, problems: &[String]) {
        let texts = &mut *self.texts();
        texts.sandbox = sandbox.to_vec();
        rules.clone_into(&mut texts.rules);
        texts.problems = problems.to_vec();
    }

    pub(crate) fn problem(&self, problem: &str) {
        self.texts().problems = vec![problem.to_owned()];
    }

    pub(crate) fn json(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let texts = self.texts();
        json!({
            "state": if texts.state.is_empty() { "off" } else { &texts.state },
            "files": count(&self.files), "bytes_read": count(&self.bytes_read), "cpu_us": count(&self.cpu_us), "findings": count(&self.findings),
            "trusted": count(&self.trusted), "by_digest": count(&self.by_digest), "vanished": count(&self.vanished), "killed": count(&self.killed), "pending": count(&self.pending),
            "jobs": count(&self.jobs), "known": count(&self.known), "known_contents": count(&self.known_contents), "sandbox": texts.sandbox, "rules": texts.rules, "problems": texts.problems,
        })
    }
}
