//! `run --stdout`: OCSF JSON, one event a line, no server and no spool.

use std::{
    io::{BufWriter, Write},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use picket_event::{Activity, Event, EventFlags, Severity, Timestamp, ocsf};

use crate::{boot::wall_now, loss::LossLedger, pipeline::Chunk};

/// A reader sees an event at most this much later than it could.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
const LOSS_EVERY: Duration = Duration::from_secs(1);

/// Events as lines.
pub(crate) struct Lines<W: Write> {
    out: BufWriter<W>,
    hostname: String,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    pub(crate) fn new(out: W, hostname: String) -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, out), hostname, line: Vec::new() }
    }

    pub(crate) fn write(&mut self, event: &Event) -> std::io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &ocsf::local_json(event, &self.hostname, env!("CARGO_PKG_VERSION")))?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    /// Writes everything until the other end is gone, losses in between. An error is the reader's: gone (`BrokenPipe`) or full disk.
    pub(crate) fn run(mut self, events: &Receiver<Chunk>, ledger: &Arc<LossLedger>) -> std::io::Result<()> {
        let mut next_loss = Instant::now() + LOSS_EVERY;
        loop {
            let received = events.recv_timeout(FLUSH_EVERY);
            if let Ok(chunk) = &received {
                for numbered in chunk {
                    self.write(&numbered.event)?;
                }
            }
            let ended = matches!(received, Err(RecvTimeoutError::Disconnected));
            if ended || Instant::now() >= next_loss {
                next_loss = Instant::now() + LOSS_EVERY;
                for pending in ledger.take() {
                    self.write(&own_event(Activity::Loss(pending.event()), wall_now()))?;
                }
            }
            if received.is_err() {
                self.flush()?;
            }
            if ended {
                return Ok(());
            }
        }
    }
}

/// An event of the sensor itself.
pub(crate) fn own_event(activity: Activity, time: Timestamp) -> Event {
    let severity = if matches!(activity, Activity::Loss(_)) { Severity::Medium } else { Severity::Informational };
    Event { time, severity, flags: EventFlags::default(), actor: None, activity }
}
