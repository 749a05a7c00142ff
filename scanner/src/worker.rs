//! The worker: locks itself in, then judges one passed descriptor after another.

use crate::limits::{FINDINGS_MAX, HELD_BYTES_MAX};
use crate::message::{Answer, PACKET_BYTES_MAX, Reply, Request};
use crate::sandbox;
use crate::self_test::Attempt;
use crate::source::PassedFile;
use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, send};
use nix::sys::time::TimeValLike;
use picket_artifact::{Report, ScanOptions, scan};
use picket_bounded::{MemorySource, Source, read_range};
use picket_yara::{Limits, Pack, RuleSet, built_in, read_packs};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Names are paths.
const REQUEST_BYTES_MAX: usize = 16 << 10;
const ANSWER_BYTES_MAX: usize = 256;
const SLOW: Duration = Duration::from_secs(60);

/// How the launcher started it.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    yara: Vec<PathBuf>,
    no_yara: bool,
    attempt: Option<Attempt>,
    without_seccomp: bool,
}

impl Settings {
    pub(crate) fn of(arguments: &[String]) -> Result<Self> {
        let mut settings = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--yara" => settings.yara.push(rest.next().context("--yara needs a path")?.into()),
                "--no-yara" => settings.no_yara = true,
                "--self-test" => {
                    let name = rest.next().context("--self-test needs a name")?;
                    settings.attempt = Some(Attempt::of(name).with_context(|| format!("no self-test is called {name}"))?);
                }
                "--self-test-without-seccomp" => settings.without_seccomp = true,
                other => bail!("unknown argument {other}"),
            }
        }
        if settings.without_seccomp && settings.attempt.is_none_or(|attempt| attempt == Attempt::Slow) {
            bail!("a worker that scans is never without seccomp");
        }
        Ok(settings)
    }
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).context("set the signal of the parent's death")?;
    // Where memory runs out, this is the process to end.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("take the socket")?;
    nix::unistd::close(PLACE).context("free standard input")?;
    let (packs, mut rules_errors) = packs(&settings);
    let mut report = sandbox::privileges()?;
    let rules = compile(packs, &settings, &mut rules_errors)?;
    let identity = rules.as_ref().map(|rules| rules.identity()).unwrap_or_default();
    // The rules are loaded when they are needed, and the engine makes its thread and its code at the first use; behind the filter none of it is allowed.
    if let Some(rules) = &rules {
        rules.warm_up().map_err(|why| anyhow::anyhow!("prepare the YARA rules: {why}"))?;
    }
    let options = ScanOptions { region_rules: rules.map(|rules| Arc::new(rules) as _), ..ScanOptions::default() };
    if !settings.without_seccomp {
        report.push(sandbox::system_calls()?);
    }
    if let Some(attempt) = settings.attempt.filter(|attempt| *attempt != Attempt::Slow) {
        attempt.run();
        return Ok(());
    }
    reply(&socket, &Reply::Ready { pid: std::process::id(), rules: identity, rules_errors, sandbox: report })?;
    while let Some((request, file)) = receive(&socket)? {
        if settings.attempt == Some(Attempt::Slow) {
            std::thread::sleep(SLOW);
        }
        // Rules of the admin may ask for any part of the name.
        if !serve(&socket, &request, file, &options, settings.yara.is_empty())? {
            break;
        }
    }
    Ok(())
}

/// One file. False when the agent is gone.
fn serve(socket: &OwnedFd, request: &Request, file: File, options: &ScanOptions, own_rules_only: bool) -> Result<bool> {
    let options = ScanOptions { time_max: Some(Duration::from_millis(request.time_ms)), hash_up_to: request.hash_up_to, ..options.clone() };
    let source = PassedFile::new(file, request.size);
    let before = cpu_us()?;
    let spent = || -> Result<u64> { Ok(cpu_us()?.saturating_sub(before)) };
    // What cannot be read whole here cannot be below either, where the report says so.
    let held = if request.ask { read_range(&source, 0, source.len(), HELD_BYTES_MAX.min(request.hash_up_to)).ok() } else { None };
    let Some(held) = held else {
        let report = scan(&source, &request.name, &options);
        done(socket, request.id, report, false, spent()?, source.bytes_read())?;
        return Ok(true);
    };
    let sha256 = hex::encode(Sha256::digest(&held));
    reply(socket, &Reply::Digest { id: request.id, sha256: sha256.clone(), cpu_us: spent()?, bytes_read: source.bytes_read() })?;
    let Some(answer) = answer(socket)? else { return Ok(false) };
    if answer.id != request.id {
        bail!("an answer to {} came for {}", answer.id, request.id);
    }
    if answer.judge {
        // An empty file is within any bound; the digest below says the same.
        let mut report = scan(&MemorySource::new(held), &request.name, &ScanOptions { hash_up_to: 0, ..options });
        report.sha256 = Some(sha256);
        let by_ending = own_rules_only && report.name_counts_by_ending();
        done(socket, request.id, report, by_ending, spent()?, source.bytes_read())?;
    }
    Ok(true)
}

/// What the agent says of a digest; nothing when it is gone.
fn answer(socket: &OwnedFd) -> Result<Option<Answer>> {
    let mut buffer = [0; ANSWER_BYTES_MAX];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(length) => return serde_json::from_slice(buffer.get(..length).unwrap_or_default()).map(Some).context("understand an answer"),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("receive an answer"),
        }
    }
}

/// Packs are the admin's files; one that cannot be read is told and costs none of the others.
fn packs(settings: &Settings) -> (Vec<(PathBuf, Vec<Pack>)>, Vec<String>) {
    let (mut packs, mut errors) = (Vec::new(), Vec::new());
    for path in &settings.yara {
        match read_packs(path) {
            Ok(found) => packs.push((path.clone(), found)),
            Err(error) => errors.push(std::error::Error::source(&error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))),
        }
    }
    (packs, errors)
}

fn compile(packs: Vec<(PathBuf, Vec<Pack>)>, settings: &Settings, errors: &mut Vec<String>) -> Result<Option<RuleSet>> {
    if settings.no_yara {
        return Ok(None);
    }
    let mut all = built_in();
    for (_, found) in packs {
        let broken = RuleSet::compile(&found, Limits::default()).err();
        match broken {
            None => all.extend(found),
            Some(broken) => errors.extend(broken.0.iter().take(20).map(ToString::to_string)),
        }
    }
    Ok(Some(RuleSet::compile(&all, Limits::default()).context("compile the built-in YARA rules")?))
}

/// The number of standard input. It is kept free, so that the kernel, which gives the lowest free number, puts a passed descriptor there,
/// and the standard library lends that one safely.
const PLACE: RawFd = 0;

/// The next request with its descriptor; nothing when the agent is gone.
fn receive(socket: &OwnedFd) -> Result<Option<(Request, File)>> {
    let mut buffer = vec![0; REQUEST_BYTES_MAX];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let (length, passed) = loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                let passed: Vec<RawFd> =
                    message.cmsgs()?.filter_map(|one| if let ControlMessageOwned::ScmRights(fds) = one { Some(fds) } else { None }).flatten().collect();
                break (message.bytes, passed);
            }
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("receive a request"),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    if passed != [PLACE] {
        bail!("a request came with {} descriptors", passed.len());
    }
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned().context("take the file")?);
    nix::unistd::close(PLACE).context("free the file's place")?;
    let request = serde_json::from_slice(buffer.get(..length).unwrap_or_default()).context("understand a request")?;
    Ok(Some((request, file)))
}

fn cpu_us() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("ask for the CPU used")?;
    Ok(u64::try_from(usage.user_time().num_microseconds() + usage.system_time().num_microseconds()).unwrap_or(0))
}

/// The report in one packet: members are counted, and of very many findings the worst are sent.
fn done(socket: &OwnedFd, id: u64, mut report: Report, name_counts_by_ending: bool, cpu_us: u64, bytes_read: u64) -> Result<()> {
    let members = report.members.len() as u64;
    report.members.clear();
    let mut keep = FINDINGS_MAX;
    loop {
        report.findings_dropped += report.findings.len().saturating_sub(keep) as u64;
        report.findings.truncate(keep);
        let packet = serde_json::to_vec(&Reply::Done { id, report: serde_json::to_value(&report)?, members, name_counts_by_ending, cpu_us, bytes_read })?;
        if packet.len() <= PACKET_BYTES_MAX || keep == 0 {
            send(socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL).context("send a report")?;
            return Ok(());
        }
        keep /= 2;
    }
}

fn reply(socket: &OwnedFd, reply: &Reply) -> Result<()> {
    send(socket.as_raw_fd(), &serde_json::to_vec(reply)?, MsgFlags::MSG_NOSIGNAL).context("answer the agent")?;
    Ok(())
}
