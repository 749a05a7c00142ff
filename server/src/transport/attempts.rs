//! How often an address may fail at something that needs no identity yet. Success is free: a whole rack may enrol at once from behind one gateway.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use parking_lot::Mutex;

use super::slots::network;
use crate::ingest::TokenBucket;

/// Addresses told apart; when an adversary has more, the table begins anew and the limit over all holds alone.
const ADDRESSES_MAX: usize = 10_000;

/// A limit of failures by address, and one of attempts over all.
pub struct Attempts {
    per_address: u32,
    total: Mutex<TokenBucket>,
    by_address: Mutex<HashMap<IpAddr, TokenBucket>>,
}

impl Attempts {
    /// Failures a second of one address, attempts a second of all, both sustained.
    #[must_use]
    pub fn new(per_address: u32, total: u32) -> Self {
        Self { per_address, total: Mutex::new(TokenBucket::new(total, Instant::now())), by_address: Mutex::default() }
    }

    /// True when one more attempt is allowed.
    pub fn admit(&self, peer: IpAddr, now: Instant) -> bool {
        let failed_too_often = self.by_address.lock().get_mut(&network(peer)).is_some_and(|failures| !failures.has_some(now));
        !failed_too_often && self.total.lock().take(1, now).is_ok()
    }

    /// An attempt that was admitted has failed.
    pub fn failed(&self, peer: IpAddr, now: Instant) {
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX {
            by_address.clear();
        }
        let failures = by_address.entry(network(peer)).or_insert_with(|| TokenBucket::new(self.per_address, now));
        // Several that fail at once may find it empty already.
        let _empty = failures.take(1, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_of_one_address_stop_that_address_for_a_while() {
        let (attempts, now) = (Attempts::new(1, 1_000), Instant::now());
        let (guesser, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..100 {
            assert!(attempts.admit(other, now));
        }
        for _ in 0..2 {
            assert!(attempts.admit(guesser, now));
            attempts.failed(guesser, now);
        }
        assert!(!attempts.admit(guesser, now));
        assert!(attempts.admit(other, now));
        assert!(attempts.admit(guesser, now + Duration::from_secs(1)));
    }
}
