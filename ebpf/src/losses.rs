//! Counters of the kernel side, of this run and of one before that was killed.

use aya::maps::{Array, Map, MapData, PerCpuArray};

use crate::bpffs::PinDir;
use crate::guard;
use crate::layout::{COUNTER_DROPPED, COUNTER_ERROR, COUNTER_LIMITED, COUNTER_MAP_FULL, COUNTER_PRODUCED, COUNTER_SHED, ERROR_NAMES};
use crate::sensor::{Counters, SensorError};

/// Reads all counters. `programs`: name and descriptor of each loaded program, for the runs that the kernel skipped.
pub(crate) fn read(counters: &PerCpuArray<MapData, u64>, consumed: &Array<MapData, [u64; 3]>, programs: &[(String, i32)]) -> Result<Counters, SensorError> {
    let mut out = Counters { consumed: consumed.get(&0, 0).map_err(|error| failed("picket_consumed", &error))?, ..Counters::default() };
    for class in 0..3_usize {
        let key = |base: u32| base.saturating_add(u32::try_from(class).unwrap_or_default());
        let produced: u64 = per_cpu(counters, key(COUNTER_PRODUCED))?.iter().sum();
        let map_full: u64 = per_cpu(counters, key(COUNTER_MAP_FULL))?.iter().sum();
        let limited: u64 = per_cpu(counters, key(COUNTER_LIMITED))?.iter().sum();
        let shed: u64 = per_cpu(counters, key(COUNTER_SHED))?.iter().sum();
        let dropped = per_cpu(counters, key(COUNTER_DROPPED))?;
        out.dropped_per_cpu.resize(dropped.len(), [0; 3]);
        for (cpu, count) in out.dropped_per_cpu.iter_mut().zip(&dropped) {
            if let Some(slot) = cpu.get_mut(class) {
                *slot = *count;
            }
        }
        for (array, value) in [
            (&mut out.produced, produced),
            (&mut out.map_full, map_full),
            (&mut out.limited, limited),
            (&mut out.shed, shed),
            (&mut out.dropped, dropped.iter().sum()),
        ] {
            if let Some(slot) = array.get_mut(class) {
                *slot = value;
            }
        }
    }
    for (name, key) in ERROR_NAMES.into_iter().zip(COUNTER_ERROR..) {
        let count: u64 = per_cpu(counters, key)?.iter().sum();
        if count > 0 {
            out.errors.push((name.to_owned(), count));
        }
    }
    for (name, fd) in programs {
        if let Some(missed) = program_number(*fd, "recursion_misses:").filter(|missed| *missed > 0) {
            out.errors.push((format!("missed_runs_{name}"), missed));
            if let Some(slot) = out.missed.get_mut(guard::class_of(name).map_or(3, |class| class as usize)) {
                *slot = slot.saturating_add(missed);
            }
        }
    }
    Ok(out)
}

/// Counters that an earlier run left pinned; the pins go, so that this run starts anew.
pub(crate) fn left_behind(pins: &PinDir) -> Option<Counters> {
    let counters = MapData::from_pin(pins.of("picket_counters")).ok().and_then(|data| PerCpuArray::try_from(Map::PerCpuArray(data)).ok());
    let consumed = MapData::from_pin(pins.of("picket_consumed")).ok().and_then(|data| Array::try_from(Map::Array(data)).ok());
    let found = counters.zip(consumed).and_then(|(counters, consumed)| read(&counters, &consumed, &[]).ok());
    pins.clear();
    found
}

/// Run time of all programs, where the kernel measures it.
pub(crate) fn run_time_ns(programs: &[(String, i32)], asked: bool) -> Option<u64> {
    if !asked && std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").ok()?.trim() != "1" {
        return None;
    }
    Some(programs.iter().filter_map(|(_, fd)| program_number(*fd, "run_time_ns:")).sum())
}

/// A line of what the kernel tells of a program's descriptor.
fn program_number(fd: i32, label: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}

fn per_cpu(counters: &PerCpuArray<MapData, u64>, key: u32) -> Result<Vec<u64>, SensorError> {
    Ok(counters.get(&key, 0).map_err(|error| failed("picket_counters", &error))?.to_vec())
}

fn failed(what: &'static str, error: &aya::maps::MapError) -> SensorError {
    SensorError::Map { what, reason: crate::attach::reason(error) }
}
