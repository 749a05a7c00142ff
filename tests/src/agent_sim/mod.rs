//! A simulated agent: enrols with a token over real TLS, speaks the agent contract over real mutual TLS, and misbehaves on demand.
//!
//! Two layers: [`Link`] is one session and sends whatever it is told (the hostile tests), [`Uplink`] is an honest agent whose spool
//! lives in memory: it sends in order, keeps what is not acknowledged, reconnects, and goes on from the server's watermark.

mod identity;
mod link;
mod uplink;

pub use identity::{Identity, TokenParts, connect, enrol, enrolment_request, foreign_identity, key_and_csr, pinned_tls};
pub use link::{Link, capabilities, hello, host};
pub use uplink::{Frame, Uplink, UplinkStats};
