//! Trust in a server by the hash of its CA's public key, for the first contact of an agent or an admin: never on first use.

use std::fmt;
use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a CA's `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// base64url without padding, as at the end of a token or a sign-in code.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    fn matches(self, certificate: &CertificateDer<'_>) -> bool {
        x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| Sha256::digest(parsed.tbs_certificate.subject_pki.raw).as_slice() == self.0)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Accepts a chain only where one of its certificates has the pinned key and the leaf verifies up to that one: signatures, validity,
/// purpose and name, all by webpki. The pin replaces the root store, nothing else; an adversary may send any chain.
#[derive(Debug)]
pub struct PinnedVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<CertificateDer<'static>>>,
}

impl PinnedVerifier {
    /// For the handshakes with one server.
    #[must_use]
    pub fn new(pin: Pin) -> Self {
        Self { pin, provider: Arc::new(aws_lc_rs::default_provider()), found: Mutex::new(None) }
    }

    /// The CA certificate with the pinned key, after a handshake that succeeded.
    #[must_use]
    pub fn found(&self) -> Option<CertificateDer<'static>> {
        self.found.lock().ok().and_then(|found| found.clone())
    }

    /// TLS 1.3 that trusts by this verifier, for one application protocol.
    pub fn tls(self: &Arc<Self>, protocol: &[u8]) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::<Self>::clone(self)).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|certificate| self.pin.matches(certificate));
        let pinned = pinned.ok_or_else(|| Error::General("no certificate of the server's chain has the pinned key".to_owned()))?.clone().into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if let Ok(mut found) = self.found.lock() {
            *found = Some(pinned);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
