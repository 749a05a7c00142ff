//! Keys, certificates and the pinned first contact, as `picket-agent enroll` does them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::TokioIo;
use picket_pin::{Pin, PinnedVerifier};
use picket_proto::v1::{EnrolRequest, enrolment_client::EnrolmentClient};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
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
    pub pin: Pin,
}

impl TokenParts {
    /// From `pe1.<id>.<secret>.<pin>`.
    pub fn parse(token: &str) -> Result<Self> {
        let (sent, pin) = token.trim().rsplit_once('.').context("a token has four parts")?;
        Ok(Self { sent: sent.to_owned(), pin: Pin::parse(pin).context("the pin is 32 bytes of base64url")? })
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
    Ok(Arc::new(PinnedVerifier::new(pin)).tls(protocol)?)
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
