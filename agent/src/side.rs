//! The way of events from threads that look at something which may never answer (a GPU driver, a folder on a dead server). Such a thread
//! must not keep the agent from ending, so the sender is taken from it instead of waiting for it to be given back.

use std::sync::{Arc, Mutex, PoisonError, mpsc::SyncSender};

use crate::pipeline::Chunk;

type Sender = Arc<Mutex<Option<SyncSender<Chunk>>>>;

/// What such a thread sends with.
pub(crate) struct SideSink(Sender);

/// Takes the sender away when it is dropped.
pub(crate) struct SideGuard(Sender);

pub(crate) fn side(sink: SyncSender<Chunk>) -> (SideSink, SideGuard) {
    let sender = Arc::new(Mutex::new(Some(sink)));
    (SideSink(Arc::clone(&sender)), SideGuard(sender))
}

impl SideSink {
    /// False where nobody takes events any more.
    pub(crate) fn send(&self, chunk: Chunk) -> bool {
        if chunk.is_empty() {
            return true;
        }
        // Not under the lock: the channel may be full for a while.
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.is_some_and(|sender| sender.send(chunk).is_ok())
    }
}

impl Drop for SideGuard {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_channel_ends_although_the_thread_still_has_its_end() {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (sink, guard) = side(sender);
        drop(guard);
        assert!(receiver.recv().is_err());
        assert!(sink.send(Vec::new()));
    }
}
