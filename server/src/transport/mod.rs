//! The two listening ports: accept, handshake, limits, HTTP. What is served is the other rooms' business.

mod connection;
mod slots;

pub use connection::{Peer, Port, PortConfig};
