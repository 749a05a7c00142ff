//! What this host is, for people.

use picket_proto::v1;
use sha2::{Digest, Sha256};
use sysinfo::{Networks, System};

use crate::boot::{Boot, boot_now_ns, wall_now};

/// Addresses told at most: a node of a large cluster may have one for each pod.
const ADDRESSES_MAX: usize = 64;

/// Reads a few files of `/proc`, `/sys` and `/etc`.
pub(crate) fn host(boot: &Boot) -> v1::Host {
    let mut system = System::new();
    system.refresh_memory();
    let mut ip_addresses: Vec<String> = Networks::new_with_refreshed_list()
        .values()
        .flat_map(|network| network.ip_networks())
        .map(|network| network.addr)
        .filter(|address| !address.is_loopback())
        .map(|address| address.to_string())
        .collect();
    ip_addresses.sort();
    ip_addresses.dedup();
    ip_addresses.truncate(ADDRESSES_MAX);
    v1::Host {
        hostname: System::host_name().unwrap_or_default(),
        os_name: System::name().unwrap_or_default(),
        os_version: System::os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        arch: System::cpu_arch(),
        cpus: std::thread::available_parallelism().map_or(0, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        memory_bytes: system.total_memory(),
        boot_id: boot.id.clone(),
        boot_time_ns: wall_now().0.saturating_sub(i64::try_from(boot_now_ns()).unwrap_or(0)),
        machine_id_hash: machine_id_hash(),
        ip_addresses,
    }
}

/// systemd asks not to send the machine id itself: it identifies the host to everybody who knows it.
fn machine_id_hash() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if id.trim().is_empty() { String::new() } else { hex::encode(Sha256::new().chain_update(b"picket machine id\0").chain_update(id.trim()).finalize()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_described() {
        let host = host(&Boot::current().unwrap());
        assert!(!host.hostname.is_empty() && !host.kernel.is_empty() && !host.arch.is_empty());
        assert!(host.cpus > 0 && host.memory_bytes > 0 && host.boot_time_ns > 0);
        assert_eq!(host.boot_id.len(), 36);
    }
}
