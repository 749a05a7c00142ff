//! Bounded waits: a condition comes true in time, or the test ends with what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Calls `probe` every 50 ms until it gives `Ok(Some(value))`. Where `limit` passes first, the error names `what` and the last answer.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    let mut last = String::from("not yet");
    loop {
        match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = format!("{error:#}"),
        }
        if Instant::now() >= end {
            return Err(anyhow!("{what}: not within {} s; last: {last}", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says by name that a test cannot run here; the test then returns. The runner's summary collects these lines.
pub fn skipped(name: &str, reason: &str) {
    eprintln!("SKIPPED {name}: {reason}");
}
