//! The queue between the ring buffer's reader and the pipeline: bounded by bytes, never waited on by its writer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use picket_ebpf::record::{Body, Record};

/// Records of one read.
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    /// What they took in the ring, as the measure of what they take here.
    pub(crate) bytes: usize,
    /// From the ring, so that the kernel has counted them.
    pub(crate) produced: bool,
}

/// Index of a record's class in the kernel's counters.
pub(crate) fn record_class(record: &Record) -> usize {
    match record.body {
        Body::Fork(_) | Body::Exec(_) | Body::Exit(_) => 0,
        Body::File(_) => 1,
        Body::Flow(_) => 2,
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

impl QueueSender {
    /// Gives the batch back where it does not fit or nobody reads any more.
    pub(crate) fn offer(&self, batch: Batch) -> Result<(), Batch> {
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
    use super::*;

    #[test]
    fn a_full_queue_gives_the_batch_back_and_takes_again_once_read() {
        let batch = |bytes| Batch { records: Vec::new(), bytes, produced: true };
        let (sender, receiver) = queue(100);
        assert!(sender.offer(batch(60)).is_ok());
        assert_eq!(sender.offer(batch(60)).err().map(|batch| batch.bytes), Some(60));
        assert!(sender.offer(batch(40)).is_ok());
        assert!(receiver.recv().is_some());
        assert!(sender.offer(batch(60)).is_ok());
        drop(sender);
        assert_eq!(std::iter::from_fn(|| receiver.recv()).count(), 2);
    }
}
