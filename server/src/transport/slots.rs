//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// Counts open connections.
#[derive(Debug)]
pub(crate) struct Slots {
    total_max: usize,
    per_address_max: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
}

impl Slots {
    pub(crate) fn new(total_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, per_address_max, used: Mutex::default() })
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = network(address);
        let mut used = self.used.lock();
        let from_there = used.by_address.get(&address).copied().unwrap_or(0);
        if used.total >= self.total_max || from_there >= self.per_address_max {
            return None;
        }
        used.total += 1;
        used.by_address.insert(address, from_there + 1);
        Some(Slot { slots: Arc::clone(self), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.slots.used.lock();
        used.total = used.total.saturating_sub(1);
        let left = used.by_address.get(&self.address).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            used.by_address.remove(&self.address);
        } else {
            used.by_address.insert(self.address, left);
        }
    }
}

/// What counts as one address: a whole IPv6 /64, since one host owns all of it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_a_dropped_slot_is_free_again() {
        let slots = Slots::new(3, 2);
        let (a, b) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let first = slots.take(a).unwrap();
        let _second = slots.take(a).unwrap();
        assert!(slots.take(a).is_none());
        let _third = slots.take(b).unwrap();
        assert!(slots.take("2001:db8:0:1::1".parse().unwrap()).is_none());
        drop(first);
        let _fourth = slots.take("2001:db8::ffff".parse().unwrap()).unwrap();
        assert!(slots.take(b).is_none());
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        assert_eq!(network("::ffff:192.0.2.7".parse().unwrap()), "192.0.2.7".parse::<IpAddr>().unwrap());
    }
}
