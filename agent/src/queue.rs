//! The queue between the ring buffer's reader and the pipeline: bounded by bytes, never waited on by its writer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use picket_ebpf::record::{Body, Record};

use crate::healing::Gap;

/// Records of one read.
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    /// What they took in the ring, as the measure of what they take here.
    pub(crate) bytes: usize,
    /// From the ring, so that the kernel has counted them.
    pub(crate) produced: bool,
    /// What exists now, read after losses, instead of what happened.
    pub(crate) heals: Option<Gap>,
}

/// Index of process records in the kernel's counters.
const PROCESS: usize = 0;

/// Index of a record's class in the kernel's counters.
pub(crate) fn record_class(record: &Record) -> usize {
    match record.body {
        Body::Fork(_) | Body::Exec(_) | Body::Exit(_) | Body::Action(_) => PROCESS,
        Body::File(_) => 1,
        Body::Flow(_) | Body::Dns(_) | Body::Socket(_) => 2,
    }
}

pub(crate) struct QueueSender {
    sender: mpsc::Sender<Batch>,
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

pub(crate) struct QueueReceiver {
    receiver: mpsc::Receiver<Batch>,
    used: Arc<AtomicUsize>,
}

pub(crate) fn queue(bytes_max: usize) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::channel();
    let used = Arc::new(AtomicUsize::new(0));
    (QueueSender { sender, used: Arc::clone(&used), bytes_max }, QueueReceiver { receiver, used })
}

/// The last part of the queue is for process records alone: they are few, and every other event leans on them.
const RESERVE_SHARE: usize = 8;

impl QueueSender {
    /// Gives back what does not fit: everything where the queue is full or nobody reads any more, all but process records where only the reserved
    /// room is left.
    pub(crate) fn offer(&self, mut batch: Batch) -> Result<(), Batch> {
        let open = self.bytes_max - self.bytes_max / RESERVE_SHARE;
        if self.used.load(Ordering::Relaxed).saturating_add(batch.bytes) <= open {
            return self.put(batch);
        }
        let all = batch.records.len();
        let (keep, shed): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.records).into_iter().partition(|record| record_class(record) == PROCESS);
        if keep.is_empty() || all == 0 {
            return Err(Batch { records: shed, ..batch });
        }
        // Records of one read share its bytes evenly: what the ring says of each is not known any more.
        let bytes = batch.bytes / all * keep.len();
        let shed_bytes = batch.bytes - bytes;
        match self.put(Batch { records: keep, bytes, produced: batch.produced, heals: None }) {
            Ok(()) if shed.is_empty() => Ok(()),
            Ok(()) => Err(Batch { records: shed, bytes: shed_bytes, produced: batch.produced, heals: None }),
            Err(mut kept) => {
                kept.records.extend(shed);
                Err(Batch { bytes: batch.bytes, ..kept })
            }
        }
    }

    /// The whole batch or nothing of it, and never into the reserved room.
    pub(crate) fn offer_whole(&self, batch: Batch) -> Result<(), Batch> {
        let open = self.bytes_max - self.bytes_max / RESERVE_SHARE;
        if self.used.load(Ordering::Relaxed).saturating_add(batch.bytes) <= open { self.put(batch) } else { Err(batch) }
    }

    fn put(&self, batch: Batch) -> Result<(), Batch> {
        let bytes = batch.bytes;
        if self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.bytes_max {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(batch);
        }
        self.sender.send(batch).map_err(|mpsc::SendError(batch)| batch)
    }

    /// Waits for room: only for what exists before the ring is read.
    pub(crate) fn send(&self, batch: Batch) {
        self.used.fetch_add(batch.bytes, Ordering::Relaxed);
        let _ = self.sender.send(batch);
    }
}

impl QueueReceiver {
    /// `None` when the writer is gone and everything was read.
    pub(crate) fn recv(&self) -> Option<Batch> {
        let batch = self.receiver.recv().ok()?;
        self.used.fetch_sub(batch.bytes, Ordering::Relaxed);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use picket_ebpf::record::{Exit, Flow, FlowOp, FlowProtocol, RecordFlags, Task};

    use super::*;

    fn record(process: bool) -> Record {
        let end = ([127, 0, 0, 1], 1).into();
        let flow = Flow {
            op: FlowOp::Connect,
            inbound: false,
            local: end,
            remote: end,
            bytes_sent: 0,
            bytes_received: 0,
            cookie: 1,
            established_boot_ns: 1,
            error: 0,
            protocol: FlowProtocol::Tcp,
            quic: false,
            merged: false,
        };
        let body = if process { Body::Exit(Exit { code: 0 }) } else { Body::Flow(flow) };
        Record { time_boot_ns: 1, cpu: 0, flags: RecordFlags::default(), task: Task::default(), body }
    }

    fn batch(processes: usize, flows: usize, bytes: usize) -> Batch {
        Batch { records: (0..processes + flows).map(|index| record(index < processes)).collect(), bytes, produced: true, heals: None }
    }

    #[test]
    fn a_full_queue_gives_the_batch_back_and_takes_again_once_read() {
        let (sender, receiver) = queue(100);
        assert!(sender.offer(batch(0, 6, 60)).is_ok());
        assert_eq!(sender.offer(batch(0, 6, 60)).err().map(|batch| batch.bytes), Some(60));
        assert!(sender.offer(batch(0, 2, 20)).is_ok());
        assert!(receiver.recv().is_some());
        assert!(sender.offer(batch(0, 6, 60)).is_ok());
        drop(sender);
        assert_eq!(std::iter::from_fn(|| receiver.recv()).count(), 2);
    }

    #[test]
    fn the_last_eighth_is_for_process_records() {
        let (sender, receiver) = queue(80);
        assert!(sender.offer(batch(0, 7, 70)).is_ok());
        let shed = sender.offer(batch(1, 3, 40)).expect_err("only the process record fits");
        assert_eq!((shed.records.len(), shed.bytes), (3, 30));
        assert!(shed.records.iter().all(|record| record_class(record) != PROCESS));
        let full = sender.offer(batch(1, 1, 20)).expect_err("the reserve is used up");
        assert_eq!((full.records.len(), full.bytes), (2, 20), "a batch that does not fit comes back whole");
        drop(sender);
        let kept: Vec<usize> = std::iter::from_fn(|| receiver.recv()).map(|batch| batch.records.len()).collect();
        assert_eq!(kept, [7, 1]);
    }
}
