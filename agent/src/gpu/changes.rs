use picket_event::GpuState;

/// Share of the memory, and points of utilisation, that count as a change.
const MEMORY_SHARE: u64 = 20;
const UTILIZATION_POINTS: u8 = 20;

/// Whether the difference is worth an event: who uses the device, how it is divided, or much of its memory or time.
pub(super) fn differs(told: &GpuState, now: &GpuState) -> bool {
    let pids = |state: &GpuState| state.processes.iter().map(|process| process.pid).collect::<Vec<_>>();
    let memory = told.memory_used_bytes.abs_diff(now.memory_used_bytes) > now.memory_total_bytes / MEMORY_SHARE;
    let utilization = told.utilization_percent.unwrap_or(0).abs_diff(now.utilization_percent.unwrap_or(0)) >= UTILIZATION_POINTS;
    let same = (&told.name, &told.driver_version, told.mig_enabled, &told.mig_devices) == (&now.name, &now.driver_version, now.mig_enabled, &now.mig_devices);
    memory || utilization || !same || pids(told) != pids(now)
}

#[cfg(test)]
mod tests {
    use picket_event::GpuProcess;

    use super::*;

    #[test]
    fn small_moves_are_no_change() {
        let state = GpuState { memory_total_bytes: 100, memory_used_bytes: 50, utilization_percent: Some(50), ..GpuState::default() };
        assert!(!differs(&state, &GpuState { memory_used_bytes: 54, utilization_percent: Some(69), ..state.clone() }));
        assert!(differs(&state, &GpuState { memory_used_bytes: 56, ..state.clone() }));
        assert!(differs(&state, &GpuState { utilization_percent: Some(70), ..state.clone() }));
        assert!(differs(&state, &GpuState { mig_enabled: Some(true), ..state.clone() }));
        assert!(differs(&state, &GpuState { processes: vec![GpuProcess { pid: 7, ..GpuProcess::default() }], ..state.clone() }));
    }
}
