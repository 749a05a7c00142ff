//! What a state folder is before anything runs on it: also for the command line beside a running server.

use std::sync::Arc;

use super::ServeError;
use crate::{
    clock,
    config::ServerConfig,
    credential::{CredentialKind, Issued},
    pki::{Authority, PkiError},
    state::{Instance, State},
};

/// Identity, CA and state store of a folder; made where they are missing.
pub struct Deployment {
    /// Identity.
    pub instance: Instance,
    /// CA.
    pub authority: Arc<Authority>,
    /// State store.
    pub state: State,
}

impl Deployment {
    /// Opens the folder.
    pub async fn open(config: &ServerConfig) -> Result<Self, ServeError> {
        let opened = Instance::open(&config.state_dir)?;
        let authority = Arc::new(Authority::open(&config.state_dir, opened.instance.deployment)?);
        let state = State::open(&config.state_dir).await?;
        Ok(Self { instance: opened.instance, authority, state })
    }

    /// A new enrolment token, with its pin.
    pub async fn enrolment_token(&self, ttl_s: u64, label: &str) -> Result<String, ServeError> {
        let issued = Issued::generate(CredentialKind::Enrolment).map_err(PkiError::from)?;
        let now = clock::now();
        self.state.insert_enrol_token(&issued, label, "picket-server", now, clock::after(now, ttl_s)).await?;
        Ok(issued.text_with_pin(self.authority.spki_sha256()))
    }

    /// A new one-time sign-in code, with its pin.
    pub async fn sign_in_code(&self, lifetime_s: u64) -> Result<String, ServeError> {
        let issued = Issued::generate(CredentialKind::SignIn).map_err(PkiError::from)?;
        let now = clock::now();
        self.state.insert_sign_in_code(&issued, now, clock::after(now, lifetime_s)).await?;
        Ok(issued.text_with_pin(self.authority.spki_sha256()))
    }
}
