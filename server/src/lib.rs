//! The investigation server: takes events from agents over mutual TLS, keeps them in the lake, answers people and tools over one API.
//!
//! Constraints: a batch is acknowledged only after its fsync in the log; identity comes from certificates and tokens, never from a payload; every
//! queue, list and body is bounded; at most [`ingest::BATCHES_IN_FLIGHT_MAX`] batches are inflated at a time.
//!
//! ```
//! let config = picket_server::config::ServerConfig::parse("[api]\nlisten = \"127.0.0.1:0\"", std::path::Path::new("server.toml"))?;
//! assert_eq!(config.agents.listen.port(), 9443);
//! # Ok::<(), picket_server::config::ConfigError>(())
//! ```

pub mod api;
pub mod clock;
pub mod config;
pub mod credential;
pub mod gateway;
pub mod ingest;
pub mod metrics;
pub mod pki;
pub mod refusal;
pub mod sensor_health;
pub mod serve;
pub mod state;
pub mod transport;
