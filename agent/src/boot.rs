//! This boot: its identity, and what its clock says in wall-clock time.

use nix::time::{ClockId, clock_gettime};
use picket_event::{ProcessUid, Timestamp};

/// Pids in records are those of the host's initial pid namespace, whose inode number is fixed (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

/// Which boot this is.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// As the kernel writes it, a UUID.
    pub(crate) id: String,
    short: String,
}

impl Boot {
    /// Of this host.
    pub(crate) fn current() -> std::io::Result<Self> {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| Self::new(id.trim()))
    }

    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), short: id.chars().filter(char::is_ascii_hexdigit).take(8).collect() }
    }

    /// The id as 16 bytes; zeros where it is no UUID.
    pub(crate) fn bytes(&self) -> [u8; 16] {
        uuid::Uuid::parse_str(&self.id).map_or([0; 16], uuid::Uuid::into_bytes)
    }

    pub(crate) fn process_uid(&self, pid: u32, start_boot_ns: u64) -> ProcessUid {
        ProcessUid::new(&self.short, INITIAL_PID_NAMESPACE, pid, start_boot_ns)
    }
}

/// Turns times since boot into wall-clock time. The offset is measured again with every batch, so that it follows a stepped clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    offset_ns: i64,
}

impl WallClock {
    pub(crate) fn now() -> Self {
        Self { offset_ns: nanoseconds(ClockId::CLOCK_REALTIME).saturating_sub(nanoseconds(ClockId::CLOCK_BOOTTIME)) }
    }

    #[cfg(test)]
    pub(crate) const fn fixed(offset_ns: i64) -> Self {
        Self { offset_ns }
    }

    pub(crate) fn at(self, boot_ns: u64) -> Timestamp {
        Timestamp(i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(self.offset_ns))
    }
}

/// The wall clock.
pub(crate) fn wall_now() -> Timestamp {
    Timestamp(nanoseconds(ClockId::CLOCK_REALTIME))
}

/// Nanoseconds since boot, sleep included: the clock of the records.
pub(crate) fn boot_now_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::CLOCK_BOOTTIME)).unwrap_or(0)
}

fn nanoseconds(clock: ClockId) -> i64 {
    // Fails only for a clock that the kernel does not have; both are older than any kernel we run on.
    clock_gettime(clock).map_or(0, |time| time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_name_boot_namespace_pid_and_start() {
        let boot = Boot::new("0a1b2c3d-0000-4000-8000-000000000000");
        assert_eq!(boot.process_uid(7, 255).as_str(), "0a1b2c3d-effffffc-7-ff");
    }

    #[test]
    fn a_stepped_clock_moves_the_wall_time_of_the_next_batch_and_nothing_else() {
        // Records carry the boot clock, which nobody can step; each batch is told by the wall clock of its own moment.
        let (before, after) = (WallClock::fixed(1_000_000), WallClock::fixed(1_000_000 - 3_600_000_000_000));
        assert_eq!(before.at(50).0 - after.at(50).0, 3_600_000_000_000, "a batch after the step is an hour earlier");
        assert!(before.at(60) > before.at(50) && after.at(60) > after.at(50), "order within a batch stays");
        assert_eq!(WallClock::fixed(i64::MAX).at(u64::MAX), Timestamp(i64::MAX), "no clock overflows");
    }

    #[test]
    fn boot_time_becomes_wall_time() {
        let clock = WallClock::now();
        let difference = clock.at(boot_now_ns()).0 - wall_now().0;
        assert!(difference.abs() < 5_000_000_000, "{difference} ns apart");
        assert_eq!(WallClock::fixed(-10).at(15), Timestamp(5));
    }
}
