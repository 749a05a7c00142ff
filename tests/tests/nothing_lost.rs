//! Sent = stored + counted lost, always. Generators number what they make; then the server and the agent are killed at random moments,
//! the network is cut, the agent's disk allowance is filled; afterwards every number is on the server exactly once or a loss event owns
//! up to it.
//!
//! `PICKET_LONG_TESTS=1` holds the cut for ten minutes instead of seconds and runs more rounds. `PICKET_SEED` repeats a run.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use picket_tests::{
    account::balance,
    agent_sim::Uplink,
    binaries::can_trace,
    ctl::Ctl,
    fixture::{Agent, AgentOptions, Deployment, ServerOptions},
    generator::{Generator, Rng},
    host_load::NumberedFiles,
    proxy::Proxy,
    wait,
};

fn long() -> bool {
    std::env::var_os("PICKET_LONG_TESTS").is_some()
}

fn seed() -> u64 {
    let seed = std::env::var("PICKET_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(42);
    eprintln!("seed {seed} (PICKET_SEED repeats it)");
    seed
}

/// Sequence numbers 1 to `last` are stored once each, and each carries the payload that was numbered so.
fn stored_exactly(ctl: &Ctl, device: &str, spool: &str, last: u64) {
    let of = format!("FROM events WHERE device_uid = '{device}' AND metadata_spool = '{spool}'");
    assert_eq!(ctl.number(&format!("SELECT count(*) {of}")).unwrap(), last, "stored");
    assert_eq!(ctl.number(&format!("SELECT count(DISTINCT metadata_sequence) {of}")).unwrap(), last, "distinct");
    assert_eq!(ctl.number(&format!("SELECT max(metadata_sequence) {of}")).unwrap(), last, "highest");
    let intact = format!("SELECT count(*) {of} AND file_path LIKE concat('%/n-', CAST(metadata_sequence AS VARCHAR), '.safetensors')");
    assert_eq!(ctl.number(&intact).unwrap(), last, "payload under its own number");
}

#[test]
fn the_server_is_killed_at_random_moments_under_simulated_agents() {
    let mut rng = Rng::new(seed());
    let mut deployment = Deployment::start(&ServerOptions { flush_interval_s: 1, ..ServerOptions::default() }).unwrap();
    let address = deployment.server.agent_address();
    let stop = Arc::new(AtomicBool::new(false));
    let agents: Vec<_> = (0..3_u32)
        .map(|index| {
            let identity = deployment.enrol(&format!("sim-{index}")).unwrap();
            let mut uplink = Uplink::new(address, identity, &format!("sim-{index}"));
            let stop = Arc::clone(&stop);
            deployment.spawn(async move {
                let mut generator = Generator::new(1, index);
                while !stop.load(Ordering::SeqCst) {
                    for _ in 0..4 {
                        let first = uplink.last_seq() + 1;
                        let events: Vec<_> = (first..first + 200).map(|number| generator.numbered(number)).collect();
                        uplink.append(&events)?;
                    }
                    uplink.drain(Duration::from_secs(90)).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                anyhow::Ok(uplink)
            })
        })
        .collect();
    for _ in 0..if long() { 30 } else { 6 } {
        std::thread::sleep(Duration::from_millis(200 + rng.below(1_800)));
        deployment.server.kill().unwrap();
        std::thread::sleep(Duration::from_millis(rng.below(500)));
        deployment.server.run().unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut sessions = 0;
    for agent in agents {
        let uplink = deployment.block_on(agent).unwrap().unwrap();
        assert!(uplink.last_seq() > 2_000, "enough traffic: {}", uplink.last_seq());
        assert_eq!(uplink.stats().acknowledged, uplink.last_seq());
        sessions += uplink.stats().sessions;
        stored_exactly(&deployment.ctl, uplink.device_uid(), uplink.spool_uid(), uplink.last_seq());
    }
    assert!(sessions > 6, "the kills were felt: {sessions} sessions");
    // The same after an orderly stop, when everything went to the table.
    let before = deployment.ctl.number("SELECT count(*) FROM events").unwrap();
    deployment.server.stop().unwrap();
    deployment.server.run().unwrap();
    assert_eq!(deployment.ctl.number("SELECT count(*) FROM events").unwrap(), before);
}

#[test]
fn a_flickering_network_under_simulated_agents() {
    let mut rng = Rng::new(seed());
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let proxy = Proxy::start(deployment.server.agent_address()).unwrap();
    let identity = deployment.enrol("flicker").unwrap();
    let mut uplink = Uplink::new(proxy.address(), identity, "flicker");
    let mut generator = Generator::new(1, 9);
    let task = deployment.spawn(async move {
        for _ in 0..150 {
            let first = uplink.last_seq() + 1;
            let events: Vec<_> = (first..first + 100).map(|number| generator.numbered(number)).collect();
            uplink.append(&events)?;
            if first % 500 == 1 {
                uplink.drain(Duration::from_secs(90)).await?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        uplink.drain(Duration::from_secs(90)).await?;
        anyhow::Ok(uplink)
    });
    while !task.is_finished() {
        std::thread::sleep(Duration::from_millis(50 + rng.below(300)));
        match rng.below(3) {
            0 => proxy.blink(),
            1 => proxy.cut(),
            _ => proxy.stall(),
        }
        std::thread::sleep(Duration::from_millis(rng.below(200)));
        proxy.join();
    }
    let uplink = deployment.block_on(task).unwrap().unwrap();
    assert!(uplink.stats().sessions > 3, "{:?}", uplink.stats());
    stored_exactly(&deployment.ctl, uplink.device_uid(), uplink.spool_uid(), uplink.last_seq());
}

/// A real agent whose only artifacts are the test's own numbered files.
struct Numbered {
    deployment: Deployment,
    proxy: Proxy,
    agent: Agent,
    files: NumberedFiles,
    suffix: String,
}

impl Numbered {
    fn start(spool_bytes_max: u64) -> Self {
        let deployment = Deployment::start(&ServerOptions { flush_interval_s: 1, ..ServerOptions::default() }).unwrap();
        let proxy = Proxy::start(deployment.server.agent_address()).unwrap();
        let suffix = NumberedFiles::own_suffix();
        let options = AgentOptions { extensions: vec![suffix.clone()], spool_bytes_max, ..AgentOptions::default() };
        let mut agent = deployment.agent(proxy.address(), &options).unwrap();
        agent.run().unwrap();
        let folder = deployment.folder().join("numbered");
        std::fs::create_dir(&folder).unwrap();
        let files = NumberedFiles::new(&folder, &suffix);
        Self { deployment, proxy, agent, files, suffix }
    }

    /// Makes files for `time`, at an even pace, so that a kill falls between two of them; in a long time no more than an account holds.
    fn make_for(&mut self, time: Duration) {
        let pause = Duration::from_millis(2).max(time / 4_000);
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.files.make(10).unwrap();
            std::thread::sleep(pause);
        }
    }

    /// Waits until the last number has arrived, then compares.
    fn settle(&mut self) -> picket_tests::account::Account {
        // One more file after everything else: once it is stored, so is all that the same spool keeps before it. It may itself be lost
        // (the spool still full, the agent still waiting to reconnect), so another one follows until one arrives.
        let first = self.files.made();
        let Self { deployment, agent, files, suffix, .. } = self;
        let ctl = &deployment.ctl;
        let found = wait::until("a last file is stored", Duration::from_secs(120), || {
            files.make(1)?;
            std::thread::sleep(Duration::from_secs(2));
            let names: Vec<_> = (first..files.made()).map(|number| format!("'n-{number}{suffix}'")).collect();
            let arrived = ctl.number(&format!("SELECT count(*) FROM events WHERE activity_id = 4 AND file_name IN ({})", names.join(", ")))?;
            Ok((arrived > 0).then_some(()))
        });
        if let Err(error) = found {
            panic!("{error:#}\n{}\n{:?}", agent.log(), agent.status());
        }
        // Loss events are written at most a second after the loss.
        std::thread::sleep(Duration::from_secs(3));
        let account = balance(ctl, files, suffix).unwrap();
        eprintln!("{account:?}");
        account
    }
}

#[test]
fn the_real_agent_is_killed_at_random_moments() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_real_agent_is_killed_at_random_moments", &reason);
    }
    let mut rng = Rng::new(seed());
    let mut numbered = Numbered::start(0);
    for _ in 0..if long() { 20 } else { 4 } {
        numbered.make_for(Duration::from_millis(300 + rng.below(1_200)));
        numbered.agent.kill().unwrap();
        numbered.make_for(Duration::from_millis(rng.below(300)));
        numbered.agent.run().unwrap();
    }
    numbered.make_for(Duration::from_millis(500));
    let account = numbered.settle();
    assert!(account.stored > account.made / 3, "the agent saw most of it: {account:?}");
}

#[test]
fn the_server_is_killed_under_the_real_agent() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_server_is_killed_under_the_real_agent", &reason);
    }
    let mut rng = Rng::new(seed());
    let mut numbered = Numbered::start(0);
    for _ in 0..if long() { 20 } else { 4 } {
        numbered.make_for(Duration::from_millis(300 + rng.below(1_200)));
        numbered.deployment.server.kill().unwrap();
        numbered.make_for(Duration::from_millis(rng.below(800)));
        numbered.deployment.server.run().unwrap();
    }
    let account = numbered.settle();
    assert_eq!(account.missing, 0, "a dead server loses nothing: {account:?}");
}

#[test]
fn the_network_is_cut_for_ten_minutes() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_network_is_cut_for_ten_minutes", &reason);
    }
    let mut numbered = Numbered::start(0);
    numbered.make_for(Duration::from_secs(1));
    let cut = Duration::from_secs(if long() { 600 } else { 12 });
    numbered.proxy.cut();
    numbered.make_for(cut / 2);
    // The second half as a black hole: connections stay up and carry nothing.
    numbered.proxy.stall();
    numbered.make_for(cut / 2);
    numbered.proxy.join();
    let account = numbered.settle();
    assert_eq!(account.missing, 0, "a cut network loses nothing while the spool has room: {account:?}");
}

#[test]
fn the_disk_allowance_is_filled() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_disk_allowance_is_filled", &reason);
    }
    // An eighth of it is the reserve: room for what else a busy machine starts meanwhile.
    let mut numbered = Numbered::start(1 << 20);
    numbered.make_for(Duration::from_secs(1));
    numbered.proxy.cut();
    // Files of one name pattern compress to 13 to 20 bytes an event: several times the allowance.
    let end = Instant::now() + Duration::from_secs(60);
    while numbered.files.made() < 60_000 && Instant::now() < end {
        numbered.files.make(200).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    numbered.proxy.join();
    let account = numbered.settle();
    assert!(account.counted > 0, "the allowance was filled: {account:?}");
    assert_eq!(account.missing, account.counted, "{account:?}");
    assert_eq!(account.uncounted, 0, "the agent ran all the time: {account:?}");
    // What files cannot fill: the reserve of processes and findings.
    let processes = "SELECT count(*) FROM events WHERE loss_cause = 'spool_full' AND loss_class_uid = 1007";
    assert_eq!(numbered.deployment.ctl.number(processes).unwrap(), 0, "no process was lost to files");
}
