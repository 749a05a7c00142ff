//! What the tests across processes and the benchmarks share: deterministic events, simulated agents over real mutual TLS, fixtures
//! that start the real binaries, a proxy that cuts the network, and generators of real kernel activity.
//!
//! Everything runs on loopback, in temporary folders, on ports that were free, and ends by itself. The real binaries are looked
//! for in `PICKET_BIN_DIR`, else beside the test executable ([`binaries`]).

pub mod account;
pub mod admin;
pub mod agent_sim;
pub mod binaries;
pub mod ctl;
pub mod fixture;
pub mod generator;
pub mod host_load;
pub mod load;
pub mod ocsf_schema;
pub mod proxy;
pub mod wait;
