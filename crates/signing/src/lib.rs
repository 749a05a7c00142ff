//! Verifies OpenSSF Model Signing bundles (specification v1.0): a sigstore bundle with a DSSE envelope around an in-toto statement
//! that lists the digest of every file of a model.
//!
//! [`verify_bundle`] answers who signed what: by a public key, by certificates below the caller's own anchors, or by a sigstore
//! identity, offline with a given trust root. [`SignedModel::check`] then compares the files. Nothing is fetched, and nothing in
//! a bundle chooses what is trusted.
//!
//! Constraints: a bundle of at most [`BUNDLE_BYTES_MAX`]; files are read once, a megabyte at a time.
//!
//! ```
//! use picket_signing::{SigningError, Trust, verify_bundle};
//! let outcome = verify_bundle(b"{}", &Trust::Key(b"-----BEGIN PUBLIC KEY-----".to_vec()));
//! assert!(matches!(outcome, Err(SigningError::Bundle(_))));
//! ```

mod bundle;
mod chain;
mod der;
mod files;
mod key;
mod log;
mod sigstore;
mod statement;

pub use bundle::{BUNDLE_BYTES_MAX, Signer, Trust, verify_bundle};
pub use files::{Difference, DifferenceKind};
pub use statement::SignedModel;

use thiserror::Error;

/// Why a signature does not hold.
#[derive(Debug, Error)]
pub enum SigningError {
    /// The bundle is not what the format asks for.
    #[error("the bundle cannot be used: {0}")]
    Bundle(String),
    /// The key or certificate that the caller trusts.
    #[error("the trusted key or certificate cannot be used: {0}")]
    Trust(String),
    /// The signature, a certificate or a log entry does not verify.
    #[error("the signature does not hold: {0}")]
    Refused(String),
    /// Sound, and signed by somebody else.
    #[error("signed by another identity: {0}")]
    Identity(String),
    /// A kind that is not read.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A file of the model.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the file system said.
        source: std::io::Error,
    },
}
