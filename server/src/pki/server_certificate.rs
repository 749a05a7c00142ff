//! The server's own leaf, replaced while running.

use std::sync::Arc;

use arc_swap::ArcSwap;
use picket_event::Timestamp;
use rustls::{
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Authority, PkiError};
use crate::clock;

/// Shared by both ports: the certificate in use, and how to make the next.
pub struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    lifetime_s: u64,
    current: ArcSwap<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    renew_at: Timestamp,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Makes the first certificate. The key lives in memory only: each start makes a new one, and peers pin the root, not the leaf.
    pub fn new(authority: Arc<Authority>, configured: &[String], lifetime_s: u64) -> Result<Self, PkiError> {
        let names = names(configured);
        let current = ArcSwap::from_pointee(make(&authority, &names, lifetime_s)?);
        Ok(Self { authority, names, lifetime_s, current })
    }

    /// When [`Self::renew`] is due.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        self.current.load().renew_at
    }

    /// Replaces the certificate: connections from now on see the new one, those that are up go on.
    pub fn renew(&self) -> Result<(), PkiError> {
        self.current.store(Arc::new(make(&self.authority, &self.names, self.lifetime_s)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

fn make(authority: &Authority, names: &[String], lifetime_s: u64) -> Result<Current, PkiError> {
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let now = clock::now();
    let (issued, key) = authority.issue_server(names, lifetime_s)?;
    let key = Arc::new(CertifiedKey::from_der(issued.chain, key, &provider)?);
    Ok(Current { key, renew_at: clock::after(now, lifetime_s / 3 * 2) })
}

fn names(configured: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let usable = |name: &str| !name.is_empty() && name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    names.extend(hostname.filter(|name| usable(name)));
    for name in configured {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}
