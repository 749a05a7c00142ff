//! How the server behaves, over real sockets on loopback, with a real state store and a real lake in a temporary folder. One binary, because
//! each links the query engine.

mod api;
mod command_line;
mod enrolment;
mod lifecycle;
mod refusals;
mod session;
mod support;
