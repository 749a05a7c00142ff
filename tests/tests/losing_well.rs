//! What happens when there is too much: what is lost is told, what leans on it heals, and the agent stays inside its budget.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{
    path::Path,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_tests::{
    binaries::can_trace,
    fixture::{Agent, AgentOptions, Deployment, ServerOptions},
    host_load::NumberedFiles,
    wait,
};
use serde_json::Value;

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A reader whose start nobody sees: it waits for `go` and then reads the weights, in a child of a shell.
fn reader(folder: &Path) -> Ended {
    let script = folder.join("reader.py");
    let body = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    time.sleep(0.05)\nopen(sys.argv[2]).read()\n";
    std::fs::write(&script, body).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "python3 \"$1\" \"$2\" \"$3\" & wait", "unseen-parent"]).arg(&script).arg(folder.join("go")).arg(folder.join("watched/weights"));
    Ended(shell.spawn().unwrap())
}

#[test]
fn what_lost_process_records_left_unknown_is_read_again() {
    if let Some(reason) = can_trace() {
        return wait::skipped("what_lost_process_records_left_unknown_is_read_again", &reason);
    }
    let deployment = Deployment::start(&ServerOptions { flush_interval_s: 1, ..ServerOptions::default() }).unwrap();
    let folder = deployment.folder().join("healing");
    std::fs::create_dir_all(folder.join("watched")).unwrap();
    std::fs::write(folder.join("watched/weights"), b"weights").unwrap();
    let options = AgentOptions { watches: vec![(folder.join("watched"), "model".to_owned())], ring_bytes: 64 << 10, ..AgentOptions::default() };
    let mut agent = deployment.agent(deployment.server.agent_address(), &options).unwrap();
    agent.run().unwrap();
    let ctl = &deployment.ctl;
    // A stopped agent empties no ring: once it is full, every record is lost for certain.
    signal(agent.pid().unwrap(), Signal::SIGSTOP);
    for _ in 0..300 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let reader = reader(&folder);
    std::thread::sleep(Duration::from_millis(500));
    signal(agent.pid().unwrap(), Signal::SIGCONT);
    let lost = "FROM events WHERE loss_cause = 'ring_full' AND loss_class_uid = 1007";
    wait::until("the loss is told", Duration::from_secs(60), || Ok((ctl.number(&format!("SELECT count(*) {lost} AND loss_count > 0"))? > 0).then_some(())))
        .unwrap();
    wait::until("it is told that the loss has healed", Duration::from_secs(60), || {
        Ok((ctl.number(&format!("SELECT count(*) {lost} AND loss_count = 0 AND message LIKE 'what these losses left unknown%'"))? > 0).then_some(()))
    })
    .unwrap();
    let found = ctl.sql("SELECT process_cmd_line, actor_process_parent_process_cmd_line AS parent FROM events WHERE class_uid = 1007 AND activity_id = 1 AND process_cmd_line LIKE '%reader.py%'").unwrap();
    assert!(found.iter().any(|row| row.to_string().contains("python3")), "the process that was lost is told as one that was there: {found:?}");
    std::fs::write(folder.join("go"), b"").unwrap();
    let row = wait::until("the read", Duration::from_secs(60), || {
        let rows = ctl.sql(
            "SELECT actor_process_cmd_line AS cmd, actor_process_parent_process_cmd_line AS parent, actor_process_user_name AS user, flags FROM events \
             WHERE class_uid = 1001 AND activity_id = 14 AND file_path LIKE '%/watched/weights' AND actor_process_cmd_line LIKE '%reader.py%'",
        )?;
        Ok(rows.into_iter().next())
    })
    .unwrap();
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(text("cmd").contains("python3 ") && !text("cmd").contains("unseen-parent"), "{row}");
    assert!(text("parent").contains("unseen-parent"), "its parent, which nobody saw either: {row}");
    assert!(!text("user").is_empty(), "{row}");
    drop(reader);
    agent.stop().unwrap();
}

fn budget(agent: &Agent, field: &str) -> f64 {
    agent.status().unwrap().pointer(&format!("/budget/{field}")).and_then(Value::as_f64).unwrap()
}

#[test]
fn the_budget_sheds_the_least_valuable_first_and_recovers() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_budget_sheds_the_least_valuable_first_and_recovers", &reason);
    }
    let deployment = Deployment::start(&ServerOptions { flush_interval_s: 1, ..ServerOptions::default() }).unwrap();
    let folder = deployment.folder().join("budget");
    std::fs::create_dir_all(folder.join("watched")).unwrap();
    let suffix = NumberedFiles::own_suffix();
    let extensions = vec![suffix.clone()];
    // Of all CPUs: twice what is left of the flood's cost once it is shed, half of what it costs before.
    let options = AgentOptions { watches: vec![(folder.join("watched"), "model".to_owned())], extensions, budget: Some((6.0, 2)), ..AgentOptions::default() };
    let mut agent = deployment.agent(deployment.server.agent_address(), &options).unwrap();
    agent.run().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flood = folder.join(format!("flood{suffix}"));
    std::fs::write(&flood, b"x").unwrap();
    let load = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut opens = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    drop(std::fs::File::open(&flood).unwrap());
                }
                opens += 20;
                std::thread::sleep(Duration::from_millis(1));
            }
            opens
        }
    });
    let mut peak = 0.0_f64;
    wait::until("the budget sheds", Duration::from_secs(60), || {
        peak = peak.max(budget(&agent, "cpu_percent"));
        std::thread::sleep(Duration::from_millis(200));
        Ok((budget(&agent, "shedding_level") >= 1.0).then_some(()))
    })
    .unwrap();
    // What is worth more goes on: watched files and processes.
    let mut files = NumberedFiles::new(&folder.join("watched"), &suffix);
    let mut shedding = Vec::new();
    let end = Instant::now() + Duration::from_secs(25);
    while Instant::now() < end {
        files.make(1).unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
        // Each look starts three programs, which are told and cost the agent what no shedding saves.
        std::thread::sleep(Duration::from_millis(500));
        let (used, level) = (budget(&agent, "cpu_percent"), budget(&agent, "shedding_level"));
        peak = peak.max(used);
        // It stops now and then, to see whether there is room again: what counts is what it uses while it sheds, once that has taken effect.
        if level >= 1.0 && end - Instant::now() < Duration::from_secs(15) {
            shedding.push(used);
        }
    }
    let limit = budget(&agent, "cpu_percent_max");
    shedding.sort_by(f64::total_cmp);
    let inside = shedding.get(shedding.len() / 2).copied().expect("the flood goes on, and is shed");
    let shown = deployment.ctl.text(&["hosts", "list", "--format", "json"]).unwrap();
    eprintln!("peak {peak:.1} % of a CPU, shedding {inside:.1} %, limit {limit:.1} %");
    assert!(inside <= limit, "shedding keeps the agent inside {limit:.1} %: {inside:.1} %");
    assert!(shown.contains("shedding_level") || shown.contains("sheddingLevel"), "the heartbeat tells it: {shown}");
    stop.store(true, Ordering::Relaxed);
    let opens = load.join().unwrap();
    let ctl = &deployment.ctl;
    wait::until("what was shed is told", Duration::from_secs(30), || {
        Ok((ctl.number("SELECT coalesce(sum(loss_count), 0) FROM events WHERE loss_cause = 'budget' AND loss_class_uid = 1001")? > 0).then_some(()))
    })
    .unwrap();
    wait::until("nothing is shed any more", Duration::from_secs(120), || {
        std::thread::sleep(Duration::from_millis(500));
        Ok((budget(&agent, "shedding_level") < 1.0).then_some(()))
    })
    .unwrap();
    let losses = ctl
        .sql("SELECT loss_cause, loss_class_uid, sum(loss_count) AS lost FROM events WHERE loss_cause IS NOT NULL GROUP BY loss_cause, loss_class_uid")
        .unwrap();
    assert!(losses.iter().all(|row| row.get("loss_class_uid").and_then(Value::as_u64) != Some(1007)), "no process was shed: {losses:?}");
    let stored =
        ctl.number(&format!("SELECT count(*) FROM events WHERE class_uid = 1001 AND activity_id IN (1, 3, 4) AND file_name LIKE 'n-%{suffix}'")).unwrap();
    assert_eq!(stored, files.made() * 3, "nothing that is watched was shed: {losses:?}");
    eprintln!("{opens} opens, {losses:?}");
    agent.stop().unwrap();
}
