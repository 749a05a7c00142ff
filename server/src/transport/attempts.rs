//! How often an address may try something that needs no identity yet.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use parking_lot::Mutex;

use super::slots::network;
use crate::ingest::TokenBucket;

/// Addresses told apart; when an adversary has more, the table begins anew and the limit over all holds alone.
const ADDRESSES_MAX: usize = 10_000;

/// A limit by address and one over all.
pub struct Attempts {
    per_address: u32,
    total: Mutex<TokenBucket>,
    by_address: Mutex<HashMap<IpAddr, TokenBucket>>,
}

impl Attempts {
    /// Attempts a second, sustained.
    #[must_use]
    pub fn new(per_address: u32, total: u32) -> Self {
        Self { per_address, total: Mutex::new(TokenBucket::new(total, Instant::now())), by_address: Mutex::default() }
    }

    /// True when one more is allowed.
    pub fn admit(&self, peer: IpAddr, now: Instant) -> bool {
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX {
            by_address.clear();
        }
        let of_address = by_address.entry(network(peer)).or_insert_with(|| TokenBucket::new(self.per_address, now));
        of_address.take(1, now).is_ok() && self.total.lock().take(1, now).is_ok()
    }
}
