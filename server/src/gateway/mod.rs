//! The agent plane: who may connect, what a session may do, what is known of each device.

mod directory;
mod enrolment;
mod fleet;
mod hello;
mod service;
mod session;

pub use directory::{DeviceProblem, Directory};
pub use enrolment::EnrolmentService;
pub(crate) use fleet::Seen;
pub use fleet::{CommandError, EndReason, Fleet, LiveView};
pub use service::{Gateway, GatewayService};
