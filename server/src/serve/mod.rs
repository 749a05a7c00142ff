//! Start-up and shutdown: opens what must be open, in order, starts both ports, and ends so that everything acknowledged is kept.

mod background;
mod deployment;
mod metrics_port;
mod running;

pub use deployment::Deployment;
pub use running::Running;

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

use crate::{
    pki::PkiError,
    state::{InstanceError, StateError},
};

/// Why the server cannot run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The state folder.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The state store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The CA or a certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The lake.
    #[error("cannot open the lake")]
    Lake(#[from] picket_lake::LakeError),
    /// A port.
    #[error("cannot listen on {address} for {port}: change [{port}] listen, or stop what listens there")]
    Listen {
        /// agents, api, metrics
        port: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file that tells the bound addresses.
    #[error("cannot write {path}")]
    Announce {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
