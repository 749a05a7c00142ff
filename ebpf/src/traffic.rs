//! Bytes of flows while they are up: every few seconds the kernel side goes through the flows it knows and writes a record for each that
//! moved enough since it was told last. Nothing is added to a packet's way for that.
//!
//! A round counts first and tells then: where more flows have something to tell than [`FLOWS_MAX`], each round tells a share of them, so
//! that a host with very many flows tells each of them less often instead of filling the ring. Between the two, where a flow has never been looked
//! up or [`NetworkConfig::holders_interval`] has passed, the descriptor tables are walked for who holds each socket now (see `iterate__holder`
//! in `bpf/iterators.h`). What a walk costs sets when the next one may come.

use std::fs::File;
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};

use crate::layout::SOCKET_NAME;
use crate::objects::Objects;
use crate::sys::MapIterator;

/// Ports whose messages are told as DNS.
pub const DEFAULT_DNS_PORTS: [u16; 1] = [53];

/// Sockets by which a process commands a container runtime, and so the host.
pub const DEFAULT_LOCAL_SOCKETS: [&str; 8] =
    ["docker.sock", "containerd.sock", "crio.sock", "podman.sock", "buildkitd.sock", "cri-dockerd.sock", "dockershim.sock", "kubelet.sock"];

const LOCAL_SOCKETS_MAX: usize = 64;
/// `DNS_PORTS` of the probes.
const DNS_PORTS_MAX: usize = 8;
/// Records of one round: about 800 KiB of the ring.
const FLOWS_MAX: u32 = 4096;
/// A flow that moved anything at all is told at least so often.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between walks of the descriptor tables for flows that were never looked up: at least this.
const WALK_EVERY_MIN: Duration = Duration::from_secs(5);

/// The network side of [`crate::SensorConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// How often the bytes of flows that are up are told; zero never.
    pub traffic_interval: Duration,
    /// A flow that moved less than this since it was told last waits, at most a minute.
    pub traffic_bytes_min: u64,
    /// A flow that was inherited or handed over is told in the name of who holds it after at most this and one `traffic_interval`, or after
    /// `holders_rest` times what a walk over all descriptors takes here, where that is longer.
    pub holders_interval: Duration,
    /// Between two walks lies at least so many times what the last one took.
    pub holders_rest: u32,
    /// Far ports whose messages are told as DNS, at most 8.
    pub dns_ports: Vec<u16>,
    /// Last components of the names of local sockets whose connections are told, at most 64 of at most 31 bytes.
    pub local_sockets: Vec<String>,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            traffic_interval: Duration::from_secs(5),
            traffic_bytes_min: 64 << 10,
            holders_interval: Duration::from_secs(60),
            holders_rest: 1000,
            dns_ports: DEFAULT_DNS_PORTS.to_vec(),
            local_sockets: DEFAULT_LOCAL_SOCKETS.map(String::from).to_vec(),
        }
    }
}

impl NetworkConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.dns_ports.len() > DNS_PORTS_MAX || self.dns_ports.contains(&0) {
            return Err(format!("dns_ports holds at most {DNS_PORTS_MAX} ports, none of them 0"));
        }
        for name in &self.local_sockets {
            if name.is_empty() || name.len() >= SOCKET_NAME || name.contains(['/', '\0']) {
                return Err(format!("local socket {name:?} is not the last part of a name, of 1 to 31 bytes"));
            }
        }
        if self.local_sockets.len() > LOCAL_SOCKETS_MAX {
            return Err(format!("local_sockets holds at most {LOCAL_SOCKETS_MAX} names"));
        }
        Ok(())
    }

    /// `struct network_config`.
    pub(crate) fn dns_words(&self) -> [u64; 2] {
        let mut words = [0; 2];
        for (at, port) in self.dns_ports.iter().enumerate().take(DNS_PORTS_MAX) {
            if let Some(word) = words.get_mut(at / 4) {
                *word |= u64::from(*port) << (at % 4 * 16);
            }
        }
        words
    }
}

/// `struct traffic`, as its words.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    bytes_min: u64,
    walk: u64,
    pass: u32,
    part: u32,
    parts: u32,
    counting: bool,
    due: u32,
    unheld: u32,
}

impl State {
    fn words(self) -> [u64; 6] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let patience = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        [self.bytes_min, patience, self.walk, pair(self.pass, self.part), pair(self.parts, self.counting.into()), pair(self.due, self.unheld)]
    }

    /// Flows with something to tell, and of them those whose holder was never looked for.
    fn counts(words: [u64; 6]) -> (u32, u32) {
        let [.., counts] = words;
        (u32::try_from(counts & u64::from(u32::MAX)).unwrap_or(0), u32::try_from(counts >> 32).unwrap_or(0))
    }
}

/// When the next round is, and what it needs to know of the last.
#[derive(Debug)]
pub(crate) struct Rounds {
    every: Duration,
    bytes_min: u64,
    holders_every: Duration,
    holders_rest: u32,
    next: Instant,
    number: u32,
    walked: Option<Instant>,
    walk_not_before: Instant,
}

impl Rounds {
    pub(crate) fn new(config: &NetworkConfig) -> Self {
        let now = Instant::now();
        Self {
            every: config.traffic_interval,
            bytes_min: config.traffic_bytes_min,
            holders_every: config.holders_interval,
            holders_rest: config.holders_rest,
            next: now + config.traffic_interval,
            number: 0,
            walked: None,
            walk_not_before: now,
        }
    }

    /// Runs a round where its time has come. The records it makes are in the ring afterwards.
    pub(crate) fn run_if_due(&mut self, tellers: &[MapIterator], state: &mut Array<MapData, [u64; 6]>, objects: &mut Objects) {
        let now = Instant::now();
        if self.every.is_zero() || now < self.next || tellers.is_empty() {
            return;
        }
        self.next = now + self.every;
        self.number = self.number.wrapping_add(1);
        if let Err(error) = self.run(tellers, state, objects) {
            tracing::warn!(%error, "the bytes of flows cannot be told");
        }
    }

    fn run(&mut self, tellers: &[MapIterator], state: &mut Array<MapData, [u64; 6]>, objects: &mut Objects) -> io::Result<()> {
        let mut round = State { bytes_min: self.bytes_min, walk: u64::from(self.number), counting: true, ..State::default() };
        set(state, round)?;
        tell(tellers)?;
        let (due, unheld) = State::counts(state.get(&0, 0).map_err(io::Error::other)?);
        let now = Instant::now();
        if due > 0 && now >= self.walk_not_before && (unheld > 0 || self.walked.is_none_or(|walked| now - walked >= self.holders_every)) {
            for pass in [1, 2] {
                set(state, State { pass, ..round })?;
                read(crate::attach::open_iterator(objects, "iterate_holders").map_err(io::Error::other)?)?;
            }
            self.walked = Some(now);
            self.walk_not_before = now + WALK_EVERY_MIN.min(self.holders_every).max(now.elapsed() * self.holders_rest);
        }
        round.counting = false;
        round.parts = due.div_ceil(FLOWS_MAX);
        round.part = self.number.checked_rem(round.parts).unwrap_or(0);
        set(state, round)?;
        tell(tellers)
    }
}

fn set(state: &mut Array<MapData, [u64; 6]>, round: State) -> io::Result<()> {
    state.set(0, round.words(), 0).map_err(io::Error::other)
}

fn tell(tellers: &[MapIterator]) -> io::Result<()> {
    tellers.iter().try_for_each(|teller| read(teller.open()?))
}

/// Running an iterator is reading it to its end; these write nothing.
fn read(mut file: File) -> io::Result<()> {
    let mut nothing = [0; 64];
    while file.read(&mut nothing)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lie_as_the_probes_read_them() {
        let config = NetworkConfig { dns_ports: vec![53, 5353, 1, 2, 0xffff], ..NetworkConfig::default() };
        assert_eq!(config.dns_words(), [0x0002_0001_14e9_0035, 0xffff]);
        assert!(config.check().is_ok());
        assert!(NetworkConfig { dns_ports: vec![1; 9], ..NetworkConfig::default() }.check().is_err());
        assert!(NetworkConfig { dns_ports: vec![0], ..NetworkConfig::default() }.check().is_err());
    }

    #[test]
    fn a_round_lies_as_the_probes_read_it() {
        let state = State { bytes_min: 7, walk: 8, pass: 1, part: 2, parts: 3, counting: true, due: 5, unheld: 6 };
        assert_eq!(state.words(), [7, 60_000_000_000, 8, 1 | 2 << 32, 3 | 1 << 32, 5 | 6 << 32]);
        assert_eq!(State::counts(state.words()), (5, 6));
    }
}
