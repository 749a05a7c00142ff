//! OCSF `message`: the event in one plain sentence.

use std::fmt::Write as _;

use crate::{
    Access, Activity, Direction, DnsActivity, DnsActivityKind, Event, FileActivityKind, FileMethods, FileSystemActivity, KernelActivity,
    KernelExtensionActivityKind, KernelExtensionKind, LaunchType, MemoryActivity, MemoryActivityKind, NetworkActivity, NetworkActivityKind, Process,
    ProcessActivity, ProcessActivityKind, ProcessMethod, ScanActivity, ScanActivityKind, SensorLoss, SensorStateKind, dns::record_type_name,
};

use super::{dns::response_code, network::protocol_name};

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
        rare => of_rare(actor, rare),
    }
}

fn of_rare(actor: Option<&Process>, activity: &Activity) -> String {
    match activity {
        Activity::Process(_) | Activity::File(_) | Activity::Network(_) | Activity::Loss(_) | Activity::Sensor(_) => String::new(),
        Activity::Memory(activity) => of_memory(actor, activity),
        Activity::Module(activity) => format!("{} loaded code from {}.", who(actor), named(&activity.file.path)),
        Activity::KernelExtension(activity) => {
            let verb = if activity.kind == KernelExtensionActivityKind::Load { "loaded" } else { "unloaded" };
            match activity.extension {
                KernelExtensionKind::Module => format!("{} {verb} the kernel module {}.", who(actor), activity.name),
                KernelExtensionKind::BpfProgram => format!("{} {verb} the BPF program {} ({}).", who(actor), activity.name, activity.bpf_type),
            }
        }
        Activity::Kernel(activity) => of_kernel(actor, activity),
        Activity::Dns(activity) => of_dns(actor, activity),
        Activity::Scan(activity) => of_scan(activity),
        Activity::Finding(finding) => with_reason(&finding.title, &finding.explanation),
        Activity::Compliance(finding) => with_reason(&format!("{}: {}", finding.status.name(), finding.title), &finding.explanation),
        Activity::Gpu(gpu) => {
            let (used, total) = (gpu.memory_used_bytes >> 20, gpu.memory_total_bytes >> 20);
            format!("GPU {} ({}) is used by {} processes: {used} of {total} MiB.", gpu.index, gpu.name, gpu.processes.len())
        }
    }
}

fn named(path: &str) -> &str {
    if path.is_empty() { "a file without a name" } else { path }
}

/// The other process of an event, or the actor's own.
fn whose(process: Option<&Process>) -> String {
    process.map_or_else(|| String::from("its own memory"), |process| format!("the memory of {}", who(Some(process))))
}

fn of_memory(actor: Option<&Process>, activity: &MemoryActivity) -> String {
    let (who, whose, bytes) = (who(actor), whose(activity.process.as_ref()), activity.size_bytes);
    let how = if activity.method == ProcessMethod::None { String::new() } else { format!(" by {}", activity.method.name()) };
    match activity.kind {
        MemoryActivityKind::Read => format!("{who} read {whose}{how}."),
        MemoryActivityKind::Write => format!("{who} wrote {whose}{how}."),
        MemoryActivityKind::Map => format!("{who} made {bytes} bytes of {whose} executable{how}."),
    }
}

fn of_kernel(actor: Option<&Process>, activity: &KernelActivity) -> String {
    let mut text = format!("{} called {}", who(actor), activity.operation);
    // A `String` takes every write.
    if let Some(process) = &activity.process {
        let _ = write!(text, " on {}", who(Some(process)));
    }
    if !activity.detail.is_empty() {
        let _ = write!(text, " ({})", activity.detail);
    }
    if activity.count != 1 {
        let _ = write!(text, " {} times", activity.count);
    }
    text.push('.');
    text
}

fn of_dns(actor: Option<&Process>, activity: &DnsActivity) -> String {
    let (who, kind, name) = (who(actor), record_type_name(activity.query_type), &activity.hostname);
    if activity.kind == DnsActivityKind::Query {
        return format!("{who} asked {} for {kind} of {name}.", activity.dst.ip);
    }
    let answers: Vec<&str> = activity.answers.iter().map(|answer| &*answer.rdata).collect();
    match activity.rcode {
        None | Some(0) if answers.is_empty() => format!("{who} was told that {name} has no {kind}."),
        None | Some(0) => format!("{who} was told {kind} of {name}: {}.", answers.join(", ")),
        Some(code) => format!("{who} got no {kind} of {name}: {}.", response_code(code).1),
    }
}

fn of_scan(activity: &ScanActivity) -> String {
    let counts = &activity.counts;
    let mut text = format!("Scan {} {}", activity.name, activity.kind.name().to_lowercase());
    // A `String` takes every write.
    if activity.kind != ScanActivityKind::Started {
        let _ = write!(text, ": {} files, {} findings, {} not judged whole", counts.files, counts.detections, counts.skipped);
    }
    if !activity.detail.is_empty() {
        let _ = write!(text, " ({})", activity.detail);
    }
    text.push('.');
    text
}

fn with_reason(title: &str, explanation: &str) -> String {
    if explanation.is_empty() { String::from(title) } else { format!("{title}: {explanation}") }
}

/// What rights a process has: user and effective user.
fn rights(process: &Process) -> String {
    let user = &process.user;
    if user.uid == user.euid { format!("uid {}", user.uid) } else { format!("uid {}, effective uid {}", user.uid, user.euid) }
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
        ProcessActivityKind::Open => format!("{} reached into {} by {}.", who(actor), who(Some(process)), activity.method.name()),
        ProcessActivityKind::Inject => format!("{} changed code or registers of {} by {}.", who(actor), who(Some(process)), activity.method.name()),
        ProcessActivityKind::SetUserId => {
            let before = actor.map_or_else(|| String::from("unknown rights"), rights);
            format!("{} changed its rights by {}: {before} to {}.", who(actor), activity.method.name(), rights(process))
        }
        ProcessActivityKind::Terminate { signal, .. } => format!("{} was ended by signal {signal}.", who(Some(process))),
    }
}

fn of_file(actor: Option<&Process>, activity: &FileSystemActivity) -> String {
    let (path, who, detail) = (named(&activity.file.path), who(actor), &activity.detail);
    let result = activity.file_result.as_ref().map_or("", |result| &*result.path);
    let bytes = |count: Option<u64>| count.map_or_else(String::new, |count| format!("{count} bytes of "));
    let so_far = if activity.until_end || activity.bytes_read.or(activity.bytes_written).is_none() { "" } else { " so far" };
    match activity.kind {
        FileActivityKind::Create => format!("{who} created {path}."),
        FileActivityKind::Read => format!("{who} read {}{path}{so_far}.", bytes(activity.bytes_read)),
        FileActivityKind::Update => format!("{who} wrote {}{path}{so_far}.", bytes(activity.bytes_written)),
        FileActivityKind::Delete => format!("{who} deleted {path}."),
        FileActivityKind::Rename if !result.is_empty() => format!("{who} renamed {path} to {result}."),
        FileActivityKind::Rename => format!("{who} renamed {path}."),
        FileActivityKind::SetAttributes => format!("{who} changed attributes of {path}{}.", aside(detail)),
        FileActivityKind::SetSecurity => format!("{who} changed mode, owner or access of {path}{}.", aside(detail)),
        FileActivityKind::Mount => format!("{who} mounted a file system on {path}{}.", aside(detail)),
        FileActivityKind::Unmount => format!("{who} unmounted {path}."),
        FileActivityKind::Link => format!("{who} gave {path} another name: {result}."),
        FileActivityKind::Open if activity.methods.contains(FileMethods::CONNECT) => format!("{who} connected to the socket {path}."),
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

fn aside(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
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
        NetworkActivityKind::Listen => format!("{who} listens on {} over {protocol}.", std::net::SocketAddr::new(activity.dst.ip, activity.dst.port)),
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
