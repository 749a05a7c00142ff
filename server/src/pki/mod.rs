//! Who is who: the deployment's own CA, the server's certificates, the devices' certificates.
//!
//! One root (ECDSA P-256, ten years) made at the first start and kept in `<state>/ca`, mode 0600. It signs the server's leaf (renewed
//! while running) and one short-lived leaf a device. Peers pin the root's public key, so that nothing is trusted on first use.

mod authority;
mod identity;
mod secret_file;
mod server_certificate;
mod verifier;

pub use authority::{Authority, IssuedCertificate};
pub use identity::{DeviceIdentity, IdentityError};
pub(crate) use secret_file::write as write_private;
pub use server_certificate::ServerCertificate;
pub use verifier::{HandshakeConfig, HandshakeRecord, classify, refused_device};

use thiserror::Error;

/// Why keys or certificates could not be made or read.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A file of the CA could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// read, write
        action: &'static str,
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Only one of key and certificate is there: restoring a backup went wrong.
    #[error("{0} is incomplete: it needs both root.key and root.pem; restore them from the same backup")]
    Incomplete(std::path::PathBuf),
    /// Making a key or signing failed, or a stored one cannot be read.
    #[error("certificate operation failed")]
    Certificate(#[from] rcgen::Error),
    /// A request that is not a well-formed, correctly signed P-256 PKCS#10.
    #[error("certificate request refused: {0}")]
    Request(&'static str),
    /// The TLS library refused a configuration.
    #[error("tls configuration")]
    Tls(#[from] rustls::Error),
    /// The TLS library refused the client verifier.
    #[error("client certificate verifier")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] crate::credential::NoRandomness),
}
