//! Prints the state of every probe, then records as they come: `dump SECONDS [PATH…]` watches the paths.

use std::time::{Duration, Instant};

use picket_ebpf::{Sensor, SensorConfig, SensorError, WatchSpec};

fn main() -> Result<(), SensorError> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut sensor = Sensor::load(&SensorConfig::default())?;
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
        sensor.drain(&mut |record| println!("{record:?}"), 1 << 20);
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{:#?}", sensor.counters()?);
    sensor.detach();
    Ok(())
}
