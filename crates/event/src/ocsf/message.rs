//! OCSF `message`: the event in one plain sentence.

use std::fmt::Write as _;

use crate::{
    Access, Activity, Direction, Event, FileActivityKind, FileSystemActivity, LaunchType, NetworkActivity, NetworkActivityKind, Process, ProcessActivity,
    ProcessActivityKind, SensorLoss, SensorStateKind,
};

use super::network::protocol_name;

pub(super) fn sentence(event: &Event) -> String {
    let actor = event.actor.as_ref().map(|actor| &actor.process);
    match &event.activity {
        Activity::Process(activity) => of_process(actor, activity),
        Activity::File(activity) => of_file(actor, activity),
        Activity::Network(activity) => of_network(actor, activity),
        Activity::Loss(loss) => of_loss(loss),
        Activity::Sensor(state) => String::from(match state.kind {
            SensorStateKind::Started => "The sensor started.",
            SensorStateKind::Stopped => "The sensor stopped.",
            SensorStateKind::Capabilities => "The sensor reported what it can see on this host.",
        }),
    }
}

/// `python3 (pid 4711, user ml)`.
fn who(process: Option<&Process>) -> String {
    let Some(process) = process else { return String::from("An unknown process") };
    let name = if process.name.is_empty() { "A process" } else { &process.name };
    let mut text = format!("{name} (pid {}", process.pid);
    // A `String` takes every write.
    let _ = if process.user.name.is_empty() { write!(text, ", uid {})", process.user.uid) } else { write!(text, ", user {})", process.user.name) };
    text
}

fn of_process(actor: Option<&Process>, activity: &ProcessActivity) -> String {
    let process = &activity.process;
    match activity.kind {
        ProcessActivityKind::Launch(LaunchType::Fork) => format!("{} forked process {}.", who(actor), process.pid),
        ProcessActivityKind::Launch(LaunchType::Exec) => {
            let what = if process.cmd_line.is_empty() { &process.path } else { &process.cmd_line };
            format!("{} executed: {what}", who(Some(process)))
        }
        ProcessActivityKind::Terminate { exit_code, signal: 0 } => format!("{} ended with exit code {exit_code}.", who(Some(process))),
        ProcessActivityKind::Terminate { signal, .. } => format!("{} was ended by signal {signal}.", who(Some(process))),
    }
}

fn of_file(actor: Option<&Process>, activity: &FileSystemActivity) -> String {
    let path = if activity.file.path.is_empty() { "a file without a name" } else { &activity.file.path };
    let who = who(actor);
    match activity.kind {
        FileActivityKind::Create => format!("{who} created {path}."),
        FileActivityKind::Update => format!("{who} wrote {path}."),
        FileActivityKind::Delete => format!("{who} deleted {path}."),
        FileActivityKind::Rename => match &activity.file_result {
            Some(result) => format!("{who} renamed {path} to {}.", result.path),
            None => format!("{who} renamed {path}."),
        },
        FileActivityKind::Open => {
            let how = match (activity.access.contains(Access::READ), activity.access.contains(Access::WRITE)) {
                (true, true) => " for reading and writing",
                (true, false) => " for reading",
                (false, true) => " for writing",
                (false, false) => "",
            };
            format!("{who} opened {path}{how}.")
        }
    }
}

fn of_network(actor: Option<&Process>, activity: &NetworkActivity) -> String {
    let inbound = activity.direction == Direction::Inbound;
    let peer = if inbound { activity.src } else { activity.dst };
    let peer = std::net::SocketAddr::new(peer.ip, peer.port);
    let protocol = protocol_name(activity.transport).to_uppercase();
    let (who, sent, received) = (who(actor), activity.bytes_out, activity.bytes_in);
    match activity.kind {
        NetworkActivityKind::Open if inbound => format!("{who} accepted a {protocol} connection from {peer}."),
        NetworkActivityKind::Open => format!("{who} connected to {peer} over {protocol}."),
        NetworkActivityKind::Close => format!("{who} ended its {protocol} connection with {peer}: {sent} bytes sent, {received} received."),
        NetworkActivityKind::Fail => format!("{who} could not reach {peer} over {protocol}."),
        NetworkActivityKind::Refuse => format!("{who} was refused by {peer} over {protocol}."),
        NetworkActivityKind::Traffic => format!("{who} has a {protocol} connection with {peer}: {sent} bytes sent and {received} received so far."),
    }
}

fn of_loss(loss: &SensorLoss) -> String {
    if !loss.message.is_empty() {
        return loss.message.clone();
    }
    let what = loss.class.map_or("events of any class", |class| class.caption());
    match loss.count {
        Some(count) => format!("{count} events were lost ({what}): {}.", loss.cause.name()),
        None => format!("Events may have been lost, nobody could count them ({what}): {}.", loss.cause.name()),
    }
}
