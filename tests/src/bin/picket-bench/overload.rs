//! Recall under overload, by class: more opens of artifacts than the agent can take, and beside them processes, connections and scans that are
//! few. What is kept of each kind, and whether what is missing is what was counted.

use std::{
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use picket_tests::{binaries::program, wait};
use serde_json::Value;

use crate::{
    figure::Figure,
    rate::{Scene, open_at},
};

/// The smallest that the agent takes: it is over long before the CPUs are.
const RING: u64 = 64 << 10;
const TIME: Duration = Duration::from_secs(15);
const OPENERS: usize = 2;
const SPAWN_EVERY: Duration = Duration::from_millis(50);
const CONNECT_EVERY: Duration = Duration::from_millis(20);
const FINDINGS: u64 = 20;

/// What was made.
#[derive(Debug, Default)]
struct Made {
    files: u64,
    processes: u64,
    flows: u64,
    findings: u64,
}

pub(crate) fn recall() -> Result<Vec<Figure>> {
    let mut scene = Scene::start(RING)?;
    let host = connected(&scene)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let made = overload(&scene, &listener, &host)?;
    let processes = "FROM events WHERE class_uid = 1007 AND activity_id = 1 AND process_cmd_line LIKE '/bin/true overload-%'";
    let flows = format!("FROM events WHERE class_uid = 4001 AND activity_id = 1 AND dst_endpoint_port = {port} AND src_endpoint_port <> {port}");
    let kept = |query: &str| scene.deployment.ctl.number(query);
    // A last process after everything else: once it is stored, so is all that the spool keeps before it.
    wait::until("a last process is stored", Duration::from_secs(120), || {
        run_true("last")?;
        thread::sleep(Duration::from_secs(2));
        Ok((kept("SELECT count(*) FROM events WHERE class_uid = 1007 AND process_cmd_line = '/bin/true last'")? > 0).then_some(()))
    })?;
    if made.findings > 0 {
        let all = wait::until("every finding is stored", Duration::from_secs(60), || Ok((findings(&scene)? >= made.findings).then_some(())));
        if let Err(error) = all {
            eprintln!("    {error:#}");
        }
    } else {
        eprintln!("SKIPPED findings: picket-scanner is not built");
    }
    let opens = format!("SELECT count(*) FROM events WHERE class_uid = 1001 AND activity_id = 14 AND file_name = 'open{}'", scene.suffix);
    let rows = [
        ("processes", made.processes, kept(&format!("SELECT count(DISTINCT process_cmd_line) {processes}"))?),
        ("findings", made.findings, findings(&scene)?.min(made.findings)),
        ("flows", made.flows, kept(&format!("SELECT count(DISTINCT src_endpoint_port) {flows}"))?.min(made.flows)),
        ("files", made.files, kept(&opens)?),
    ];
    let lost = kept("SELECT coalesce(sum(loss_count), 0) FROM events WHERE loss_class_uid = 1001")?;
    let lost_processes = kept("SELECT coalesce(sum(loss_count), 0) FROM events WHERE loss_class_uid = 1007")?;
    scene.agent.stop()?;
    let offered = made.files as f64 / TIME.as_secs_f64();
    let stored_files = rows.last().map_or(0, |(.., kept)| *kept);
    let note = format!(
        "{offered:.0} opens of artifacts a second for {} s into a ring of {} KiB, {:.1} times what was stored; beside them a process every {} ms, a connection every {} ms, a scan on command of {FINDINGS} malicious files; {lost} file events and {lost_processes} process events counted lost",
        TIME.as_secs(),
        RING >> 10,
        made.files as f64 / stored_files.max(1) as f64,
        SPAWN_EVERY.as_millis(),
        CONNECT_EVERY.as_millis(),
    );
    let rows = rows.into_iter().filter(|(_, made, _)| *made > 0);
    Ok(rows
        .map(|(kind, made, kept)| {
            Figure::new(&format!("overload_recall.{kind}"), kept as f64 / made as f64 * 100.0, "% of made")
                .conditions(&format!("{kept} of {made} kept; {note}"))
        })
        .collect())
}

/// The host's id, once it is connected: a command needs a session.
fn connected(scene: &Scene) -> Result<String> {
    wait::until("the host is connected", Duration::from_secs(30), || {
        let hosts = scene.deployment.ctl.lines(&["hosts", "list", "--format", "jsonl"])?;
        let connected = hosts.iter().find(|host| host.to_string().to_lowercase().contains("connected"));
        Ok(connected.and_then(|host| host.get("deviceUid")).and_then(Value::as_str).map(str::to_owned))
    })
}

fn run_true(mark: &str) -> Result<()> {
    Command::new("/bin/true").arg(mark).stdin(Stdio::null()).status().context("run /bin/true").map(drop)
}

fn findings(scene: &Scene) -> Result<u64> {
    scene.deployment.ctl.number("SELECT count(DISTINCT file_path) FROM events WHERE class_uid = 2004")
}

fn overload(scene: &Scene, listener: &TcpListener, host: &str) -> Result<Made> {
    let address = listener.local_addr()?;
    let evil = scene.deployment.folder().join("evil");
    std::fs::create_dir(&evil)?;
    for number in 0..FINDINGS {
        // It would print; nothing here loads it.
        std::fs::write(evil.join(format!("{number}.xyz")), format!("cbuiltins\nprint\n(S'harmless {number}'\ntR."))?;
    }
    let (stop, files, flows) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut made = Made::default();
    thread::scope(|scope| -> Result<()> {
        let (stop, files, flows, file) = (&stop, &files, &flows, scene.file());
        for _ in 0..OPENERS {
            scope.spawn(move || -> Result<()> {
                while !stop.load(Ordering::Relaxed) {
                    files.fetch_add(open_at(file, u32::MAX, Duration::from_millis(200))?.0, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        scope.spawn(move || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let client = TcpStream::connect(address)?;
                drop((listener.accept()?, client));
                flows.fetch_add(1, Ordering::Relaxed);
                thread::sleep(CONNECT_EVERY);
            }
            Ok(())
        });
        let work: Result<()> = (|| {
            if program("picket-scanner").is_ok() {
                scene.deployment.ctl.text(&["scans", "start", "--host", host, &evil.to_string_lossy()])?;
                made.findings = FINDINGS;
            }
            let end = Instant::now() + TIME;
            while Instant::now() < end {
                run_true(&format!("overload-{}", made.processes))?;
                made.processes += 1;
                thread::sleep(SPAWN_EVERY);
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        work
    })?;
    Ok(Made { files: files.into_inner(), flows: flows.into_inner(), ..made })
}
