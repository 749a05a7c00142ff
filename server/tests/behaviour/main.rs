//! How the server behaves, over real sockets on loopback, with a real state store and a real lake in a temporary folder. One binary, because
//! each links the query engine.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test that meets what it does not expect fails")]

mod api;
mod command_line;
mod enrolment;
mod lifecycle;
mod refusals;
mod sensor_health;
mod session;
mod support;
