//! Keys, certificates and the pinned first contact, as `picket-agent enroll` does them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper_util::rt::TokioIo;
use picket_proto::v1::{EnrolRequest, enrolment_client::EnrolmentClient};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// What a device holds after enrolment.
#[derive(Debug)]
pub struct Identity {
    /// Identity given by the server.
    pub device_uid: String,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub key: PrivateKeyDer<'static>,
    /// Roots.
    pub trust: Vec<CertificateDer<'static>>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { device_uid: self.device_uid.clone(), chain: self.chain.clone(), key: self.key.clone_key(), trust: self.trust.clone() }
    }
}

impl Identity {
    /// TLS 1.3 with this certificate, trusting only this deployment's root.
    pub fn tls(&self) -> Result<ClientConfig> {
        let config = builder()?.with_root_certificates(self.roots()?).with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        Ok(over_http2(config))
    }

    /// The same trust without any client certificate.
    pub fn tls_without_certificate(&self) -> Result<ClientConfig> {
        Ok(over_http2(builder()?.with_root_certificates(self.roots()?).with_no_client_auth()))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for root in &self.trust {
            roots.add(root.clone()).context("a root of the deployment")?;
        }
        Ok(roots)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]).context("TLS 1.3")
}

fn over_http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Connects to the agent port at `address` with `tls`; the certificate must name `127.0.0.1`.
pub async fn connect(address: SocketAddr, tls: ClientConfig) -> Result<Channel> {
    let connector = TlsConnector::from(Arc::new(tls));
    let dial = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into());
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    // The scheme is plain because TLS is done by the connector above.
    let endpoint = Endpoint::from_static("http://127.0.0.1").connect_timeout(Duration::from_secs(10));
    endpoint.connect_with_connector(dial).await.map_err(|error| anyhow!("connect to {address}: {}", with_sources(&error)))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// An enrolment token in its parts.
#[derive(Clone, Debug)]
pub struct TokenParts {
    /// `pe1.<id>.<secret>`, what is sent.
    pub sent: String,
    /// SHA-256 of the CA's public key.
    pub pin: [u8; 32],
}

impl TokenParts {
    /// From `pe1.<id>.<secret>.<pin>`.
    pub fn parse(token: &str) -> Result<Self> {
        let (sent, pin) = token.trim().rsplit_once('.').context("a token has four parts")?;
        let pin = URL_SAFE_NO_PAD.decode(pin).context("the pin is base64url")?;
        let pin = <[u8; 32]>::try_from(pin).map_err(|_| anyhow!("the pin is 32 bytes"))?;
        Ok(Self { sent: sent.to_owned(), pin })
    }
}

/// A fresh P-256 key and its certificate signing request, DER.
pub fn key_and_csr() -> Result<(PrivateKeyDer<'static>, Vec<u8>)> {
    let key = KeyPair::generate().context("generate a key")?;
    let csr = CertificateParams::default().serialize_request(&key).context("sign the request")?;
    Ok((PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())), csr.der().to_vec()))
}

/// Enrols with `token` as a new device.
pub async fn enrol(address: SocketAddr, token: &str, hostname: &str) -> Result<Identity> {
    let (key, csr_der) = key_and_csr()?;
    let answer = enrolment_request(address, token, hostname, csr_der).await??;
    Ok(Identity {
        device_uid: answer.device_uid,
        chain: answer.certificate_chain_der.into_iter().map(CertificateDer::from).collect(),
        key,
        trust: answer.trust_der.into_iter().map(CertificateDer::from).collect(),
    })
}

/// TLS 1.3 that trusts whoever presents a chain with the pinned key (base64url SHA-256), for one application protocol.
pub fn pinned_tls(pin: &str, protocol: &[u8]) -> Result<ClientConfig> {
    let pin = TokenParts::parse(&format!("pe1.any.any.{pin}"))?.pin;
    let verifier = Arc::new(PinnedVerifier { pin, provider: provider() });
    let mut config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// The bare call, with the server's own refusal in the inner result.
pub async fn enrolment_request(
    address: SocketAddr,
    token: &str,
    hostname: &str,
    csr_der: Vec<u8>,
) -> Result<Result<picket_proto::v1::EnrolResponse, tonic::Status>> {
    let pin = token.trim().rsplit_once('.').map(|(_, pin)| pin.to_owned()).unwrap_or_default();
    let channel = connect(address, pinned_tls(&pin, b"h2")?).await?;
    let token = TokenParts::parse(token)?;
    let request = EnrolRequest { token: token.sent, csr_der, hostname: hostname.to_owned(), agent_version: "0.1.0-sim".to_owned() };
    Ok(EnrolmentClient::new(channel).enrol(request).await.map(tonic::Response::into_inner))
}

/// A certificate that looks like `of`'s in every field but was signed by a CA of our own.
pub fn foreign_identity(of: &Identity, spiffe: &str) -> Result<Identity> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "Picket");
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(spiffe.try_into().context("the SAN URI")?)];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Identity {
        device_uid: of.device_uid.clone(),
        chain: vec![certificate.der().clone(), ca_certificate.der().clone()],
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        trust: of.trust.clone(),
    })
}

/// Trusts a chain when one of its certificates has the pinned key and the chain verifies up to that certificate.
#[derive(Debug)]
struct PinnedVerifier {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    fn root(&self, chain: &[CertificateDer<'_>]) -> Option<CertificateDer<'static>> {
        chain.iter().find_map(|certificate| {
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate.as_ref()).ok()?;
            let hash = Sha256::digest(parsed.tbs_certificate.subject_pki.raw);
            (hash.as_slice() == self.pin).then(|| certificate.clone().into_owned())
        })
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
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = self.root(intermediates).ok_or_else(|| rustls::Error::General("no certificate of the chain has the pinned key".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
