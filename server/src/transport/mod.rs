//! The two listening ports: accept, handshake, limits, HTTP. What is served is the other rooms' business.

mod attempts;
mod connection;
mod slots;

pub use attempts::Attempts;
pub use connection::{Peer, Port, PortConfig};
