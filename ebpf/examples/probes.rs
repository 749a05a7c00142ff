//! Prints the state of every probe, one line each: name, attached, hook, reason. The kernel matrix (tests/kernel) collects it.

use picket_ebpf::{Sensor, SensorConfig, SensorError};

fn main() -> Result<(), SensorError> {
    let mut sensor = Sensor::load(&SensorConfig::default())?;
    for probe in sensor.probes() {
        println!("PROBE {}|{}|{}|{}", probe.name, probe.attached, probe.hook, probe.reason);
    }
    sensor.detach();
    Ok(())
}
