//! An honest agent with a spool in memory.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use picket_event::Event;
use picket_proto::v1::{EventBatch, agent_message, server_message};

use super::{Identity, Link, hello};

/// One batch that is not acknowledged yet.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Sequence of its first event.
    pub first_seq: u64,
    /// Events in it.
    pub count: u32,
    /// What goes over the wire.
    pub bytes: Bytes,
}

/// What an uplink went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct UplinkStats {
    /// Sessions that reached Welcome.
    pub sessions: u64,
    /// Batches sent, those sent again included.
    pub batches: u64,
    /// Events acknowledged.
    pub acknowledged: u64,
    /// Nacks by which the server asked to send again.
    pub asked_again: u64,
}

/// Sends its frames in order and keeps what is not acknowledged.
#[derive(Debug)]
pub struct Uplink {
    address: SocketAddr,
    identity: Identity,
    spool_uid: String,
    hostname: String,
    last_seq: u64,
    frames: VecDeque<Frame>,
    stats: UplinkStats,
}

impl Uplink {
    /// A device with an empty spool.
    #[must_use]
    pub fn new(address: SocketAddr, identity: Identity, hostname: &str) -> Self {
        let spool_uid = uuid::Uuid::now_v7().to_string();
        Self { address, identity, spool_uid, hostname: hostname.to_owned(), last_seq: 0, frames: VecDeque::new(), stats: UplinkStats::default() }
    }

    /// Life of the spool.
    #[must_use]
    pub fn spool_uid(&self) -> &str {
        &self.spool_uid
    }

    /// Its device.
    #[must_use]
    pub fn device_uid(&self) -> &str {
        &self.identity.device_uid
    }

    /// The last sequence number given.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// What it went through.
    #[must_use]
    pub const fn stats(&self) -> UplinkStats {
        self.stats
    }

    /// Numbers `events` and keeps them until the server acknowledges.
    pub fn append(&mut self, events: &[Event]) -> Result<()> {
        let count = u32::try_from(events.len()).context("a batch is small")?;
        let bytes = picket_proto::frame::encode(events)?.into();
        self.frames.push_back(Frame { first_seq: self.last_seq + 1, count, bytes });
        self.last_seq += u64::from(count);
        Ok(())
    }

    /// Sends until everything is acknowledged, whatever happens to server and network meanwhile, for at most `limit`.
    pub async fn drain(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut last = String::from("never connected");
        while !self.frames.is_empty() {
            if Instant::now() >= end {
                bail!("{} frames unacknowledged after {} s; last: {last}", self.frames.len(), limit.as_secs());
            }
            let left = end.saturating_duration_since(Instant::now()).min(Duration::from_secs(15));
            match tokio::time::timeout(left, self.session()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => last = format!("{error:#}"),
                Err(_) => last = String::from("the session stood still"),
            }
            if !self.frames.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    async fn session(&mut self) -> Result<()> {
        let mut first = hello(&self.identity.device_uid, &self.spool_uid, &self.hostname);
        first.first_seq = self.frames.front().map_or(0, |frame| frame.first_seq);
        first.last_seq = self.last_seq;
        let (mut link, welcome) = Link::welcomed(self.address, self.identity.tls()?, first).await?;
        self.stats.sessions += 1;
        self.acknowledged(welcome.watermark)?;
        let window = usize::try_from(welcome.batches_in_flight_max).unwrap_or(1).max(1);
        let mut sent = 0_usize;
        while !self.frames.is_empty() {
            while sent < window.min(self.frames.len()) {
                let frame = self.frames.get(sent).context("within the queue")?.clone();
                let batch = EventBatch { spool_uid: self.spool_uid.clone(), first_seq: frame.first_seq, count: frame.count, frame_zstd: frame.bytes };
                link.send(agent_message::Message::Batch(batch)).await?;
                self.stats.batches += 1;
                sent += 1;
            }
            match link.next().await? {
                server_message::Message::Ack(ack) if ack.spool_uid == self.spool_uid => sent = sent.saturating_sub(self.acknowledged(ack.seq)?),
                server_message::Message::Nack(nack) => {
                    self.stats.asked_again += 1;
                    tokio::time::sleep(Duration::from_millis(u64::from(nack.retry_after_ms.min(1_000)))).await;
                    bail!("asked to send again: {:?} {}", nack.reason(), nack.detail);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Drops what the server has; gives the number of frames. An acknowledgement of what was never sent is the server's fault.
    fn acknowledged(&mut self, seq: u64) -> Result<usize> {
        if seq > self.last_seq {
            bail!("the server acknowledged {seq}, the last event is {}", self.last_seq);
        }
        let mut dropped = 0;
        while let Some(frame) = self.frames.front() {
            let last = frame.first_seq + u64::from(frame.count) - 1;
            if last > seq {
                break;
            }
            self.stats.acknowledged += u64::from(frame.count);
            self.frames.pop_front();
            dropped += 1;
        }
        Ok(dropped)
    }
}
