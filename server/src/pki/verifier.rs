//! Client certificates at the handshake of the agent port: optional (enrolment comes without), verified when present, and every
//! refusal classified with what the peer showed.

use std::sync::Arc;

use parking_lot::Mutex;
use picket_event::DeviceUid;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{Authority, PkiError, ServerCertificate, identity::claimed_device};
use crate::refusal::RefusalReason;

/// Makes the TLS configuration of one connection.
pub struct HandshakeConfig {
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    certificate: Arc<ServerCertificate>,
    protocols: Vec<Vec<u8>>,
}

/// What the peer showed during one handshake, for the refusal log.
#[derive(Debug, Default)]
pub struct HandshakeRecord {
    shown: Mutex<Option<CertificateDer<'static>>>,
}

impl HandshakeConfig {
    /// For the agent port: HTTP/2 only, client certificates of our CA.
    pub fn agents(authority: &Authority, certificate: Arc<ServerCertificate>) -> Result<Self, PkiError> {
        let provider = provider();
        let mut roots = RootCertStore::empty();
        roots.add(authority.root().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated().build()?;
        Ok(Self { provider, verifier: Some(verifier), certificate, protocols: vec![b"h2".to_vec()] })
    }

    /// For the API port: no client certificates; callers carry tokens.
    #[must_use]
    pub fn api(certificate: Arc<ServerCertificate>) -> Self {
        Self { provider: provider(), verifier: None, certificate, protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()] }
    }

    /// The configuration of one connection, and where its handshake leaves what the peer showed.
    ///
    /// TLS 1.3 only. No resumption: a resumed session would skip the certificate's expiry check.
    pub fn connection(&self) -> Result<(Arc<ServerConfig>, Arc<HandshakeRecord>), PkiError> {
        let record = Arc::new(HandshakeRecord::default());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = match &self.verifier {
            Some(inner) => builder.with_client_cert_verifier(Arc::new(Recording { inner: Arc::clone(inner), record: Arc::clone(&record) })),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.certificate) as Arc<dyn rustls::server::ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols.clone_from(&self.protocols);
        Ok((Arc::new(config), record))
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[derive(Debug)]
struct Recording {
    inner: Arc<dyn ClientCertVerifier>,
    record: Arc<HandshakeRecord>,
}

impl ClientCertVerifier for Recording {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, rustls::Error> {
        *self.record.shown.lock() = Some(leaf.clone().into_owned());
        self.inner.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The reason of a failed handshake, where it is the peer's certificate; `None` for everything that is not a refusal of an identity
/// (a port scan, a client that does not trust us, a broken connection).
#[must_use]
pub fn classify(error: &std::io::Error) -> Option<(RefusalReason, String)> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(problem) = tls else { return None };
    let reason = match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => RefusalReason::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => RefusalReason::NotYetValid,
        CertificateError::Revoked => RefusalReason::Revoked,
        CertificateError::UnknownIssuer => RefusalReason::UnknownCa,
        // Signed by a key that is not the CA's although it names our CA as its issuer, or the peer does not hold the key.
        CertificateError::BadSignature => RefusalReason::UnknownCa,
        _ => RefusalReason::BadCertificate,
    };
    Some((reason, problem.to_string()))
}

/// The device that the refused certificate claimed.
#[must_use]
pub fn refused_device(record: &HandshakeRecord) -> Option<DeviceUid> {
    record.shown.lock().as_ref().and_then(|der| claimed_device(der))
}
