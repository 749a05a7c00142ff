//! Who this device is: the key and certificate that enrolment gave it, in one file that is replaced as a whole.

mod store;

use std::sync::Arc;

use picket_pin::{Pin, PinnedVerifier};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub(crate) use store::IdentityStore;

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is damaged; enrol this host again", path.display())]
    Damaged { path: std::path::PathBuf },
    #[error("the certificate cannot be read")]
    Certificate,
    #[error("the key or its certificate cannot be used")]
    Tls(#[from] rustls::Error),
    #[error("a key could not be made")]
    Key(#[from] rcgen::Error),
}

/// What a device holds. Secret: never logged, stored 0600.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) device_uid: uuid::Uuid,
    #[serde(with = "url_text")]
    pub(crate) server_url: url::Url,
    /// When this host received the certificate, Unix seconds: an issuer may date it back by hours to allow for wrong clocks.
    issued_at: i64,
    /// PKCS#8 DER, base64.
    key: Secret,
    /// Leaf first, DER, base64.
    chain: Vec<Bytes>,
    /// Roots, DER, base64.
    trust: Vec<Bytes>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("device_uid", &self.device_uid).field("server_url", &self.server_url.as_str()).finish_non_exhaustive()
    }
}

/// When a certificate holds, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

impl Identity {
    pub(crate) fn new(device_uid: uuid::Uuid, server_url: url::Url, key: &NewKey, chain: Vec<Vec<u8>>, trust: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        let wrap = |list: Vec<Vec<u8>>| list.into_iter().map(Bytes).collect::<Vec<_>>();
        let issued_at = crate::boot::wall_now().0 / 1_000_000_000;
        let identity = Self { device_uid, server_url, issued_at, key: Secret(key.pkcs8()), chain: wrap(chain), trust: wrap(trust) };
        // What cannot be used must not replace what can.
        identity.validity()?;
        identity.tls()?;
        Ok(identity)
    }

    /// The same device with a renewed certificate.
    pub(crate) fn renewed(&self, key: &NewKey, chain: Vec<Vec<u8>>, trust: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        Self::new(self.device_uid, self.server_url.clone(), key, chain, trust)
    }

    /// The part of its certificate's life that this host has it for.
    pub(crate) fn lifetime(&self) -> Result<Validity, IdentityError> {
        let validity = self.validity()?;
        let issued = (validity.not_before..validity.not_after).contains(&self.issued_at);
        Ok(if issued { Validity { not_before: self.issued_at, ..validity } } else { validity })
    }

    /// Of its certificate.
    pub(crate) fn validity(&self) -> Result<Validity, IdentityError> {
        let leaf = self.chain.first().ok_or(IdentityError::Certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf.0).map_err(|_| IdentityError::Certificate)?;
        let validity = parsed.validity();
        Ok(Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
    }

    /// TLS 1.3 with this certificate, trusting only this deployment's roots.
    pub(crate) fn tls(&self) -> Result<ClientConfig, IdentityError> {
        let mut roots = RootCertStore::empty();
        for root in &self.trust {
            roots.add(CertificateDer::from(root.0.clone()))?;
        }
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.0.to_vec()));
        Ok(over_http2(tls13()?.with_root_certificates(roots).with_client_auth_cert(chain, key)?))
    }
}

/// TLS 1.3 that accepts only a chain with the pinned key, before there is any certificate.
pub(crate) fn pinned_tls(pin: Pin) -> Result<ClientConfig, IdentityError> {
    Ok(Arc::new(PinnedVerifier::new(pin)).tls(b"h2")?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn tls13() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])
}

fn over_http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A fresh P-256 key and the request to certify it.
pub(crate) struct NewKey {
    pair: KeyPair,
    pub(crate) csr_der: Vec<u8>,
}

impl NewKey {
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        let pair = KeyPair::generate()?;
        let csr_der = CertificateParams::default().serialize_request(&pair)?.der().to_vec();
        Ok(Self { pair, csr_der })
    }

    fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialize_der())
    }
}

/// `https://HOST:PORT`, nothing else in it.
pub(crate) fn server_url(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|error| format!("no address: {error}"))?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if url.scheme() != "https" || url.host().is_none() || !plain {
        return Err("must be https://HOST:PORT".to_owned());
    }
    Ok(url)
}

#[derive(Clone)]
struct Bytes(Vec<u8>);

#[derive(Clone)]
struct Secret(Zeroizing<Vec<u8>>);

mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Bytes, Secret};

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            STANDARD.encode(&self.0).serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            read(from).map(Self)
        }
    }

    impl Serialize for Secret {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            zeroize::Zeroizing::new(STANDARD.encode(&*self.0)).serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Secret {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            read(from).map(|bytes| Self(zeroize::Zeroizing::new(bytes)))
        }
    }
}

mod url_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(url: &url::Url, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(url.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<url::Url, D::Error> {
        super::server_url(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
