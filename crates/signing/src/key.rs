//! Public keys, and the algorithm that each signs with.

use crate::SigningError;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

const EC: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const ED25519: &str = "1.3.101.112";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa,
}

/// A key as a SubjectPublicKeyInfo.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    spki: Vec<u8>,
    kind: Kind,
    /// The point, the 32 bytes, or the DER of modulus and exponent.
    bits: Vec<u8>,
}

/// The hash that a signature names beside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
    /// Ed25519 has its own.
    Own,
}

impl PublicKey {
    /// From PEM or DER.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SigningError> {
        let unusable = |why: String| SigningError::Trust(why);
        let spki = if bytes.starts_with(b"-----") || bytes.windows(5).any(|window| window == b"-----") {
            let mut found = pem_all(bytes, "PUBLIC KEY").map_err(unusable)?;
            match (found.pop(), found.is_empty()) {
                (Some(one), true) => one,
                _ => return Err(unusable("the file holds more than one public key".to_owned())),
            }
        } else {
            bytes.to_vec()
        };
        Self::from_spki(&spki)
    }

    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, SigningError> {
        let unusable = |why: &str| SigningError::Trust(why.to_owned());
        let (rest, info) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| unusable("it is no public key in PEM or DER"))?;
        if !rest.is_empty() {
            return Err(unusable("bytes follow the public key"));
        }
        let curve = || info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok()).map(|oid| oid.to_id_string());
        let kind = match info.algorithm.algorithm.to_id_string().as_str() {
            EC => match curve().as_deref() {
                Some(P256) => Kind::P256,
                Some(P384) => Kind::P384,
                Some(P521) => Kind::P521,
                _ => return Err(unusable("the elliptic curve is none of P-256, P-384 and P-521")),
            },
            RSA => Kind::Rsa,
            ED25519 => Kind::Ed25519,
            other => return Err(unusable(&format!("keys of the algorithm {other} are not used for models"))),
        };
        Ok(Self { spki: spki.to_vec(), kind, bits: info.subject_public_key.data.to_vec() })
    }

    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// As the specification names keys: SHA-256 over the PEM text.
    pub(crate) fn digest(&self) -> String {
        hex::encode(Sha256::digest(pem(&self.spki, "PUBLIC KEY")))
    }

    /// With the hash that goes with the key.
    pub(crate) fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), SigningError> {
        let hash = match self.kind {
            Kind::P256 => Hash::Sha256,
            Kind::P384 => Hash::Sha384,
            Kind::P521 => Hash::Sha512,
            Kind::Ed25519 => Hash::Own,
            Kind::Rsa => return Err(SigningError::Unsupported("models are not signed with RSA keys".to_owned())),
        };
        self.verify(hash, message, signature)
    }

    /// With a hash that somebody names: a certificate or a log.
    pub(crate) fn verify(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), SigningError> {
        let algorithm: &'static dyn VerificationAlgorithm = match (self.kind, hash) {
            (Kind::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Kind::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (Kind::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (Kind::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Kind::P521, Hash::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
            (Kind::P521, Hash::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
            (Kind::P521, Hash::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
            (Kind::Ed25519, Hash::Own) => &signature::ED25519,
            (Kind::Rsa, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (kind, hash) => return Err(SigningError::Unsupported(format!("{kind:?} keys with {hash:?}"))),
        };
        UnparsedPublicKey::new(algorithm, &self.bits)
            .verify(message, signature)
            .map_err(|_| SigningError::Refused("it was made with another key, or what is signed was changed".to_owned()))
    }
}

/// PEM text with lines of 64 characters, as every writer makes it.
pub(crate) fn pem(der: &[u8], label: &str) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Every PEM block with this label; at least one.
pub(crate) fn pem_all(bytes: &[u8], label: &str) -> Result<Vec<Vec<u8>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no PEM text".to_owned())?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&begin) {
        let (body, after) = after.split_once(&end).ok_or_else(|| format!("a {label} has no end"))?;
        let body: String = body.split_whitespace().collect();
        found.push(STANDARD.decode(body).map_err(|error| format!("a {label} is no base64: {error}"))?);
        rest = after;
    }
    if found.is_empty() { Err(format!("it holds no {label}")) } else { Ok(found) }
}
