//! Trust in a server: by the hash of the CA's public key at the first sign-in, by the CA certificate ever after. Never on first use.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::CtlError;

/// A one-time sign-in code as the server prints it: `ps1.<id>.<secret>.<pin>`.
pub(crate) struct SignInCode {
    /// What is sent: the code without the pin.
    pub(crate) secret: String,
    /// SHA-256 of the CA's public key.
    pub(crate) pin: [u8; 32],
}

impl SignInCode {
    /// Splits the pin off.
    pub(crate) fn parse(text: &str) -> Result<Self, CtlError> {
        let wrong = || CtlError::Usage("this is no sign-in code: it looks like ps1.<id>.<secret>.<pin> and is printed by `picket-server sign-in`".to_owned());
        let (secret, pin) = text.trim().rsplit_once('.').ok_or_else(wrong)?;
        let parts: Vec<&str> = secret.split('.').collect();
        if parts.len() != 3 || parts.first() != Some(&"ps1") || parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        let pin = URL_SAFE_NO_PAD.decode(pin).ok().and_then(|pin| pin.try_into().ok()).ok_or_else(wrong)?;
        Ok(Self { secret: secret.to_owned(), pin })
    }
}

/// base64url of a pin.
pub(crate) fn pin_text(pin: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(pin)
}

/// A certificate as the context file keeps it.
pub(crate) fn certificate_text(certificate: &CertificateDer<'_>) -> String {
    STANDARD.encode(certificate)
}

/// Accepts a server only when its chain verifies up to a certificate with the pinned public key, and remembers that certificate.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    pin: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<CertificateDer<'static>>>,
}

impl PinVerifier {
    /// For one handshake.
    pub(crate) fn new(pin: [u8; 32]) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { pin, algorithms: provider.signature_verification_algorithms, provider, found: Mutex::new(None) }
    }

    /// The CA certificate that carried the pinned key, after a handshake that succeeded.
    pub(crate) fn found(&self) -> Option<CertificateDer<'static>> {
        self.found.lock().ok().and_then(|found| found.clone())
    }

    fn pinned<'a>(&self, chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Option<CertificateDer<'static>> {
        for certificate in chain {
            let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { continue };
            if Sha256::digest(parsed.tbs_certificate.subject_pki.raw).as_slice() == self.pin {
                return Some(certificate.clone().into_owned());
            }
        }
        None
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The adversary may send any chain: a certificate with the right key proves nothing until the leaf verifies up to it.
        let root = self.pinned(std::iter::once(end_entity).chain(intermediates)).ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(root.clone())?), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if let Ok(mut found) = self.found.lock() {
            *found = Some(root);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn roots(certificate: CertificateDer<'static>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    Ok(roots)
}

/// TLS 1.3 with the pin, for the first sign-in.
pub(crate) fn pinned_tls(verifier: Arc<PinVerifier>) -> ClientConfig {
    with_http2(
        ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]).dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
    )
}

/// TLS 1.3 with the CA that the first sign-in found.
pub(crate) fn trusted_tls(ca_certificate: &str) -> Result<ClientConfig, CtlError> {
    let wrong = |reason: String| CtlError::Usage(format!("the context's CA certificate cannot be used ({reason}); sign in again: picketctl login"));
    let der = STANDARD.decode(ca_certificate).map_err(|error| wrong(error.to_string()))?;
    let roots = roots(CertificateDer::from(der)).map_err(|error| wrong(error.to_string()))?;
    Ok(with_http2(ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]).with_root_certificates(roots).with_no_client_auth()))
}

fn with_http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_splits_into_secret_and_pin() {
        let pin = [7; 32];
        let code = SignInCode::parse(&format!(" ps1.abc.s3cret.{}\n", pin_text(&pin))).unwrap();
        assert_eq!(code.secret, "ps1.abc.s3cret");
        assert_eq!(code.pin, pin);
    }

    #[test]
    fn anything_else_is_no_code() {
        let pin = pin_text(&[7; 32]);
        for text in [
            "".to_owned(),
            "ps1.a.b".to_owned(),
            format!("pe1.a.b.{pin}"),
            format!("ps1..b.{pin}"),
            format!("ps1.a.b.c.{pin}"),
            "ps1.a.b.c2hvcnQ".to_owned(),
            format!("ps1.a.b.{pin}="),
        ] {
            assert!(SignInCode::parse(&text).is_err(), "{text}");
        }
    }
}
