//! NVML's answers as [`GpuState`]. The library is looked for when the agent runs; nothing links to it.

use std::{collections::BTreeMap, ffi::OsStr};

use nvml_wrapper::{Device, enums::device::UsedGpuMemory, error::NvmlError, struct_wrappers::device::ProcessInfo};
use picket_event::{GpuProcess, GpuState};

/// The name that the driver's package installs; the one without a version comes with development files only.
const LIBRARY: &str = "libnvidia-ml.so.1";
const DEVICES_MAX: u32 = 256;
const MIG_DEVICES_MAX: u32 = 64;

pub(super) struct Nvml(nvml_wrapper::Nvml);

impl Nvml {
    /// `Err` says why there is none.
    pub(super) fn open() -> Result<Self, String> {
        Self::open_at(OsStr::new(LIBRARY))
    }

    fn open_at(library: &OsStr) -> Result<Self, String> {
        let opened = nvml_wrapper::Nvml::builder().lib_path(library).init();
        opened.map(Self).map_err(|error| match error {
            NvmlError::LibloadingError(_) => format!("{} is not installed", library.display()),
            error => error.to_string(),
        })
    }

    /// Every device; one that does not answer is left out of the list and said in the log.
    pub(super) fn devices(&self) -> Result<Vec<GpuState>, String> {
        let count = self.0.device_count().map_err(|error| error.to_string())?.min(DEVICES_MAX);
        let driver_version = self.0.sys_driver_version().unwrap_or_default();
        let mut devices = Vec::new();
        for index in 0..count {
            match self.0.device_by_index(index).and_then(|device| state(&device, index, &driver_version)) {
                Ok(state) => devices.push(state),
                Err(error) => tracing::warn!(index, %error, "a GPU does not answer"),
            }
        }
        Ok(devices)
    }
}

fn state(device: &Device<'_>, index: u32, driver_version: &str) -> Result<GpuState, NvmlError> {
    let memory = device.memory_info()?;
    // On a card that cannot be divided this is an error, not a "no".
    let mig_enabled = device.mig_mode().ok().map(|mode| mode.current != 0);
    let mut mig_devices = Vec::new();
    let mut processes = processes(device);
    if mig_enabled == Some(true) {
        for at in 0..device.mig_device_count().unwrap_or(0).min(MIG_DEVICES_MAX) {
            // Places without an instance answer with an error.
            let Ok(instance) = device.mig_device_by_index(at) else { continue };
            mig_devices.extend(instance.uuid().ok());
            for (pid, bytes) in self::processes(&instance) {
                processes.entry(pid).or_insert(bytes);
            }
        }
    }
    Ok(GpuState {
        uuid: device.uuid()?,
        name: device.name().unwrap_or_default(),
        index: device.minor_number().unwrap_or(index),
        driver_version: driver_version.to_owned(),
        memory_used_bytes: memory.used,
        memory_total_bytes: memory.total,
        utilization_percent: device.utilization_rates().ok().and_then(|rates| u8::try_from(rates.gpu).ok()),
        mig_enabled,
        mig_devices,
        processes: processes
            .into_iter()
            .take(picket_event::limits::GPU_PROCESSES_MAX)
            .map(|(pid, memory_bytes)| GpuProcess { pid, uid: String::new(), memory_bytes })
            .collect(),
    })
}

/// By pid: a process that both computes and draws stands in both lists.
fn processes(device: &Device<'_>) -> BTreeMap<u32, Option<u64>> {
    let (compute, graphics) = (device.running_compute_processes().unwrap_or_default(), device.running_graphics_processes().unwrap_or_default());
    let bytes = |process: &ProcessInfo| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    graphics.iter().chain(&compute).map(|process| (process.pid, bytes(process))).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn without_a_driver_it_is_absent() {
        let reason = Nvml::open_at(OsStr::new("/nowhere/libnvidia-ml.so.1")).err().unwrap();
        assert_eq!(reason, "/nowhere/libnvidia-ml.so.1 is not installed");
        match Nvml::open() {
            Ok(nvml) => assert!(nvml.devices().is_ok()),
            Err(reason) => eprintln!("SKIPPED the GPUs of this host in without_a_driver_it_is_absent: {reason}"),
        }
    }

    /// Tests our mapping alone: the library is a stand-in that answers as NVML's header describes, not a GPU.
    #[test]
    fn the_answers_of_the_library_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("nvml.c"), folder.path().join("libnvidia-ml.so.1"));
        std::fs::write(&source, include_str!("../../tests/nvml_stand_in.c")).unwrap();
        match Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output() {
            Ok(built) => assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr)),
            Err(error) => {
                eprintln!("SKIPPED the_answers_of_the_library_are_mapped: no C compiler: {error}");
                return;
            }
        }
        let devices = Nvml::open_at(library.as_os_str()).unwrap().devices().unwrap();
        let gpu = devices.first().unwrap();
        assert_eq!(devices.len(), 1, "the second card does not answer");
        assert_eq!((gpu.uuid.as_str(), gpu.name.as_str(), gpu.index, gpu.driver_version.as_str()), ("GPU-5b1f", "Stand-in H100", 3, "580.1"));
        assert_eq!((gpu.memory_used_bytes, gpu.memory_total_bytes, gpu.utilization_percent), (20 << 30, 80 << 30, Some(87)));
        assert_eq!((gpu.mig_enabled, gpu.mig_devices.as_slice()), (Some(true), ["MIG-a".to_owned()].as_slice()));
        let processes: Vec<_> = gpu.processes.iter().map(|process| (process.pid, process.memory_bytes)).collect();
        assert_eq!(processes, [(41, Some(1 << 30)), (42, None), (43, Some(2 << 30))]);
    }
}
