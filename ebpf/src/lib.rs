//! The kernel side of Picket and its loader: the only crate that uses aya and the only one that may hold `unsafe`.
//!
//! A [`Sensor`] is the probes and maps of one agent, loaded as a unit. Every probe attaches on its own; one that cannot is a
//! [`ProbeState`] with the reason and takes no other down. Records wait in one ring buffer of fixed size, whatever the number of CPUs,
//! until [`Sensor::drain`] hands them out; what did not fit is counted by class and CPU ([`Sensor::counters`]), exactly.
//!
//! Needs: BTF (`/sys/kernel/btf/vmlinux`), `CAP_BPF` and `CAP_PERFMON` (or `CAP_SYS_ADMIN`), Linux 5.15 or newer on `x86_64`.
//!
//! ```no_run
//! use picket_ebpf::{Sensor, SensorConfig};
//! let mut sensor = Sensor::load(&SensorConfig::default())?;
//! sensor.drain(&mut |record| println!("{record:?}"), 1 << 20);
//! # Ok::<(), picket_ebpf::SensorError>(())
//! ```

mod actions;
mod attach;
mod bpffs;
mod canary;
mod cgroup;
mod config;
mod decode;
mod defaults;
mod existing;
mod guard;
mod kernel;
mod layout;
mod losses;
mod objects;
mod probes;
pub mod record;
mod sensor;
mod sys;
mod traffic;
mod watches;

pub use canary::Canary;
pub use config::SensorConfig;
pub use defaults::{DEFAULT_ENVIRONMENT, DEFAULT_EXTENSIONS};
pub use guard::{Tampering, TamperingKind};
pub use kernel::KernelSupport;
pub use sensor::{Class, Counters, Drained, ProbeState, Sensor, SensorError, WatchSpec, WatchState};
pub use traffic::{DEFAULT_DNS_PORTS, DEFAULT_LOCAL_SOCKETS, NetworkConfig};
