//! Whether each host still sees what it should: silent, stopped, blinded or reporting; a finding at every change.
//!
//! Who turns an agent off as root cannot be kept from it, so the server notices: a host that says nothing and said no goodbye is silent within
//! `agents.silent_after_s` and a second; one whose heartbeats come without probes that it had, or with a problem that it tells itself, is blinded with that heartbeat.
//! What a device tells is its own word: one whose key was stolen can tell a healthy sensor for ever.
//!
//! The judgement ([`judge`]) is pure: what was seen and how long ago are its arguments. Times are of the monotonic clock, so that nobody who steps
//! the server's clock makes hosts silent. A condition outlives a restart in the state store; hosts then have `agents.restart_grace_s` to come back.
//! Each change is one event, stored exactly once: it is written with the condition, and appended to the lake until the lake has it.

mod finding;
mod judge;
mod keeper;
mod problems;

pub use judge::Condition;
pub use keeper::{Rooms, SensorHealth, SensorHealthView};
