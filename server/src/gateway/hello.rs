//! What an agent says of itself, checked for size before it is kept. Nothing here grants anything.

use picket_proto::v1::{CapabilityReport, Heartbeat, Hello, Host};

use crate::refusal::sanitise;

/// A whole Hello, heartbeat or command result: a report of every probe and watch has some KiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const LISTS_MAX: usize = 512;
/// A DNS name has at most 253.
const HOSTNAME_CHARS_MAX: usize = 253;
const VERSION_CHARS_MAX: usize = 64;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooLarge {
    #[error("a state message is larger than {MESSAGE_BYTES_MAX} bytes")]
    Bytes,
    #[error("a list in a state message has more than {LISTS_MAX} entries")]
    List,
}

pub(super) fn check_hello(hello: &Hello) -> Result<(), TooLarge> {
    bytes(hello)?;
    host(hello.host.as_ref())?;
    report(hello.capabilities.as_ref())
}

pub(super) fn check_heartbeat(heartbeat: &Heartbeat) -> Result<(), TooLarge> {
    bytes(heartbeat)?;
    list(heartbeat.losses.len())?;
    list(heartbeat.gpus.len())?;
    list(heartbeat.problems.len())?;
    report(heartbeat.capabilities.as_ref())
}

pub(super) fn check_result(result: &picket_proto::v1::CommandResult) -> Result<(), TooLarge> {
    bytes(result)?;
    host(result.host.as_ref())?;
    report(result.capabilities.as_ref())
}

fn bytes(message: &impl prost::Message) -> Result<(), TooLarge> {
    if message.encoded_len() > MESSAGE_BYTES_MAX { Err(TooLarge::Bytes) } else { Ok(()) }
}

fn list(len: usize) -> Result<(), TooLarge> {
    if len > LISTS_MAX { Err(TooLarge::List) } else { Ok(()) }
}

fn host(host: Option<&Host>) -> Result<(), TooLarge> {
    list(host.map_or(0, |host| host.ip_addresses.len()))
}

fn report(report: Option<&CapabilityReport>) -> Result<(), TooLarge> {
    let Some(report) = report else { return Ok(()) };
    list(report.probes.len())?;
    list(report.watches.len())?;
    list(report.lsms.len())?;
    list(report.exclusions.len())
}

/// A host name fit to be shown; never empty, so that a table has something to show.
pub(super) fn hostname(reported: &str) -> String {
    match sanitise(reported.trim(), HOSTNAME_CHARS_MAX) {
        name if name.is_empty() => "unnamed".to_owned(),
        name => name,
    }
}

/// An agent version fit to be shown.
pub(super) fn version(reported: &str) -> String {
    sanitise(reported, VERSION_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use picket_proto::v1::Probe;

    use super::*;

    #[test]
    fn oversized_messages_are_refused() {
        assert_eq!(check_hello(&Hello { agent_version: "x".repeat(70_000), ..Hello::default() }), Err(TooLarge::Bytes));
        let capabilities = Some(CapabilityReport { probes: vec![Probe::default(); 513], ..CapabilityReport::default() });
        assert_eq!(check_heartbeat(&Heartbeat { capabilities, ..Heartbeat::default() }), Err(TooLarge::List));
        assert_eq!(check_hello(&Hello::default()), Ok(()));
    }

    #[test]
    fn labels_are_fit_to_be_shown() {
        assert_eq!(hostname(" a\u{1b}[31mb\n"), "a\u{fffd}[31mb");
        assert_eq!(hostname(""), "unnamed");
        assert_eq!(hostname(&"x".repeat(1000)).len(), 253);
    }
}
