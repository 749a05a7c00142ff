//! Prints the state of every probe, then records as they come: `dump SECONDS [PATH…]` watches the paths.

use std::time::{Duration, Instant};

use picket_ebpf::record::{Body, Record};
use picket_ebpf::{Sensor, SensorConfig, SensorError, WatchSpec};

fn main() -> Result<(), SensorError> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let start = Instant::now();
    let mut sensor = Sensor::load(&SensorConfig::default())?;
    println!("loaded in {:?}", start.elapsed());
    for probe in sensor.probes() {
        println!("{:<24} {:<8} {} {}", probe.name, if probe.attached { "attached" } else { "MISSING" }, probe.hook, probe.reason);
    }
    let watches: Vec<WatchSpec> = arguments.zip(1..).map(|(path, id)| WatchSpec { id, path: path.into() }).collect();
    for state in sensor.set_watches(&watches) {
        println!("{state:?}");
    }
    println!("{} processes, {} flows", sensor.processes()?.len(), sensor.flows()?.len());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        sensor.drain(&mut |record| println!("{}", line(&record)), 1 << 20);
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{:#?}", sensor.counters()?);
    sensor.detach();
    Ok(())
}

fn line(record: &Record) -> String {
    let text = String::from_utf8_lossy;
    let what = match &record.body {
        Body::Fork(fork) => format!("fork {}", fork.child_pid),
        Body::Exec(exec) => format!("exec {} in {}: {}", text(&exec.exe_path), text(&exec.cwd), text(&exec.args).replace('\0', " ")),
        Body::Exit(exit) => format!("exit {}", exit.code),
        Body::Action(action) => {
            let target = action.target.as_ref().map_or(0, |target| target.pid);
            format!("{:?} call {} result {} count {} target {target}", action.op, action.call, action.result, action.count)
        }
        Body::File(file) => format!(
            "{:?} {} {} watch {} created {} size {} flags {}",
            file.op,
            text(&file.path),
            text(&file.new_path),
            file.watch_id,
            file.created,
            file.size,
            record.flags.0
        ),
        Body::Dns(dns) => format!("{} {} {} {:?}", if dns.response { "answer" } else { "question" }, dns.local, dns.remote, text(&dns.message)),
        Body::Socket(socket) => format!("{:?} family {} type {} protocol {}", socket.op, socket.family, socket.kind, socket.protocol),
        Body::Flow(flow) => {
            format!("{:?} {} {} sent {} received {} error {}", flow.op, flow.local, flow.remote, flow.bytes_sent, flow.bytes_received, flow.error)
        }
    };
    format!("{} {} {what}", record.task.pid, record.task.comm)
}
