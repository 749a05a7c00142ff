//! The sigstore bundle around the signature, and who may have made it.

use crate::chain::{self, Purpose};
use crate::key::PublicKey;
use crate::sigstore;
use crate::statement::{self, SignedModel};
use crate::{SigningError, key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The largest models have some thousand files of 200 bytes in the list.
pub const BUNDLE_BYTES_MAX: u64 = 64 << 20;
/// Certificates of a chain.
const CHAIN_MAX: usize = 16;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Whom the caller trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The holder of this key: PEM or DER of a SubjectPublicKeyInfo.
    Key(Vec<u8>),
    /// Whoever has a certificate for signing below these.
    Certificates {
        /// PEM of the anchors; intermediates come from the bundle or stand here as well.
        anchors: Vec<u8>,
        /// Seconds since 1970 at which the certificates must be valid. Nothing in such a bundle proves when it was made.
        at: i64,
    },
    /// One identity of a sigstore instance.
    Sigstore {
        /// `trusted_root.json` of the instance.
        root: Vec<u8>,
        /// Mail address or URI in the certificate.
        identity: String,
        /// The OpenID Connect issuer that vouched for it.
        issuer: String,
    },
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// For people: a key's digest, a certificate's subject, or an identity.
    pub name: String,
    /// Seconds since 1970 at which a transparency log saw the signature.
    pub logged_at: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bundle {
    media_type: String,
    pub(crate) verification_material: Material,
    #[serde(default)]
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Material {
    #[serde(default)]
    public_key: Option<KeyHint>,
    #[serde(default)]
    pub(crate) certificate: Option<Raw>,
    #[serde(default)]
    pub(crate) x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    pub(crate) tlog_entries: Vec<crate::log::Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyHint {
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    raw_bytes: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Raw {
    pub(crate) raw_bytes: String,
}

#[derive(Deserialize)]
pub(crate) struct Chain {
    pub(crate) certificates: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

/// The one signature of an envelope and what it is over.
pub(crate) struct Signed {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// The bytes that are signed: DSSE's pre-authentication encoding.
    pub(crate) message: Vec<u8>,
}

pub(crate) fn base64(text: &str, what: &str) -> Result<Vec<u8>, SigningError> {
    STANDARD.decode(text).map_err(|error| SigningError::Bundle(format!("{what} is no base64: {error}")))
}

/// Verifies the signature of a bundle; what it says about files is to be checked with [`SignedModel::check`].
///
/// # Errors
/// [`SigningError::Refused`] or [`SigningError::Identity`] when it does not hold, the others when it could not be judged.
pub fn verify_bundle(bundle: &[u8], trust: &Trust) -> Result<(SignedModel, Signer), SigningError> {
    if bundle.len() as u64 > BUNDLE_BYTES_MAX {
        return Err(SigningError::Bundle(format!("it is larger than {BUNDLE_BYTES_MAX} bytes")));
    }
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|error| SigningError::Bundle(error.to_string()))?;
    if !bundle.media_type.starts_with("application/vnd.dev.sigstore.bundle") {
        return Err(SigningError::Unsupported(format!("the media type {}", bundle.media_type)));
    }
    let signed = envelope(bundle.dsse_envelope.as_ref())?;
    let signer = match trust {
        Trust::Key(key) => by_key(&bundle.verification_material, &signed, &PublicKey::parse(key)?)?,
        Trust::Certificates { anchors, at } => by_certificate(&bundle.verification_material, &signed, anchors, *at)?,
        Trust::Sigstore { root, identity, issuer } => sigstore::verify(&bundle.verification_material, &signed, root, identity, issuer)?,
    };
    // Only now is the payload more than somebody's text.
    Ok((statement::parse(&signed.payload)?, signer))
}

fn envelope(envelope: Option<&Envelope>) -> Result<Signed, SigningError> {
    let envelope = envelope.ok_or_else(|| SigningError::Bundle("it has no DSSE envelope".to_owned()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(SigningError::Bundle(format!("the payload is of the type {}, not {PAYLOAD_TYPE}", envelope.payload_type)));
    }
    let [signature] = envelope.signatures.as_slice() else {
        return Err(SigningError::Bundle(format!("it has {} signatures; a model has one", envelope.signatures.len())));
    };
    let payload = base64(&envelope.payload, "the payload")?;
    let message = [format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).as_bytes(), &payload].concat();
    Ok(Signed { signature: base64(&signature.sig, "the signature")?, payload, message })
}

fn by_key(material: &Material, signed: &Signed, key: &PublicKey) -> Result<Signer, SigningError> {
    let Some(named) = &material.public_key else {
        return Err(SigningError::Bundle("it was not signed with a bare key: it names no public key".to_owned()));
    };
    let digest = key.digest();
    // The hint only tells early that another key is needed; the signature decides.
    if let Some(hint) = named.hint.as_ref().filter(|hint| !hint.is_empty())
        && *hint != digest
    {
        return Err(SigningError::Identity(format!("the bundle names the key {hint}, the trusted key is {digest}")));
    }
    if let Some(raw) = named.raw_bytes.as_ref().filter(|raw| !raw.is_empty())
        && PublicKey::parse(&base64(raw, "the public key")?)?.digest() != digest
    {
        return Err(SigningError::Identity("the bundle carries another key than the trusted one".to_owned()));
    }
    key.verify_message(&signed.message, &signed.signature)?;
    Ok(Signer { name: format!("key {digest}"), logged_at: None })
}

fn by_certificate(material: &Material, signed: &Signed, anchors: &[u8], at: i64) -> Result<Signer, SigningError> {
    let certificates = match (&material.x509_certificate_chain, &material.certificate) {
        (Some(chain), _) => chain.certificates.iter().collect::<Vec<_>>(),
        (None, Some(certificate)) => vec![certificate],
        (None, None) => return Err(SigningError::Bundle("it carries no certificate".to_owned())),
    };
    if certificates.len() > CHAIN_MAX {
        return Err(SigningError::Bundle(format!("it carries more than {CHAIN_MAX} certificates")));
    }
    let certificates = certificates.into_iter().map(|raw| base64(&raw.raw_bytes, "a certificate")).collect::<Result<Vec<_>, _>>()?;
    let [leaf, rest @ ..] = certificates.as_slice() else { return Err(SigningError::Bundle("its certificate chain is empty".to_owned())) };
    let anchors = key::pem_all(anchors, "CERTIFICATE").map_err(SigningError::Trust)?;
    chain::verify(leaf, rest, &anchors, at, Purpose::Signing)?;
    let leaf = chain::Certificate::parse(leaf)?;
    leaf.key()?.verify_message(&signed.message, &signed.signature)?;
    Ok(Signer { name: format!("certificate {}", leaf.subject()), logged_at: None })
}
