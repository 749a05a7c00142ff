//! X.509 chains (RFC 5280) from a signing certificate to anchors that the caller names.
//!
//! The library that checks TLS chains is not used: it refuses a leaf that is marked as an authority, which certificates for
//! models in the field are, and it asks for server names.

use crate::SigningError;
use crate::key::{Hash, PublicKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Certificates between leaf and anchor.
const DEPTH_MAX: usize = 8;
/// Signatures checked for one leaf: a bundle of equal names must not make us try every order.
const TRIES_MAX: u32 = 100;

/// What a leaf must be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Digital signatures or code.
    Signing,
    /// Code, said so.
    CodeSigning,
}

/// A parsed certificate.
pub(crate) struct Certificate<'c> {
    der: &'c [u8],
    parsed: X509Certificate<'c>,
}

fn refused<T>(why: impl Into<String>) -> Result<T, SigningError> {
    Err(SigningError::Refused(why.into()))
}

impl<'c> Certificate<'c> {
    pub(crate) fn parse(der: &'c [u8]) -> Result<Self, SigningError> {
        match X509Certificate::from_der(der) {
            Ok(([], parsed)) => Ok(Self { der, parsed }),
            _ => Err(SigningError::Bundle("a certificate cannot be parsed".to_owned())),
        }
    }

    pub(crate) fn der(&self) -> &'c [u8] {
        self.der
    }

    pub(crate) fn key(&self) -> Result<PublicKey, SigningError> {
        PublicKey::from_spki(self.parsed.public_key().raw)
    }

    pub(crate) fn subject(&self) -> String {
        self.parsed.subject().to_string()
    }

    /// Mail addresses and URIs.
    pub(crate) fn identities(&self) -> Vec<String> {
        let names = self.parsed.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.clone()).unwrap_or_default();
        let names = names.into_iter().filter_map(|name| match name {
            GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some(text.to_owned()),
            _ => None,
        });
        names.collect()
    }

    /// The bytes of an extension.
    pub(crate) fn extension(&self, oid: &str) -> Option<&[u8]> {
        self.parsed.extensions().iter().find(|extension| extension.oid.to_id_string() == oid).map(|extension| extension.value)
    }

    fn valid_at(&self, at: i64) -> Result<(), SigningError> {
        let validity = self.parsed.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        if at < from {
            return refused(format!("the certificate {} is not valid before {}", self.subject(), validity.not_before));
        }
        if at > to {
            return refused(format!("the certificate {} expired at {}", self.subject(), validity.not_after));
        }
        Ok(())
    }

    /// May it sign certificates, with `below` authorities between it and the leaf?
    fn is_authority(&self, below: usize) -> Result<(), SigningError> {
        let constraints = self.parsed.basic_constraints().ok().flatten().map(|constraints| constraints.value);
        match constraints {
            Some(constraints) if constraints.ca => {
                if constraints.path_len_constraint.is_some_and(|most| usize::try_from(most).is_ok_and(|most| below > most)) {
                    return refused(format!("the chain below {} is longer than it allows", self.subject()));
                }
            }
            _ => return refused(format!("{} is no authority and signs a certificate", self.subject())),
        }
        match self.parsed.key_usage() {
            Ok(Some(usage)) if !usage.value.key_cert_sign() => refused(format!("the key of {} is not for signing certificates", self.subject())),
            Ok(_) => Ok(()),
            Err(_) => refused(format!("the key usage of {} cannot be read", self.subject())),
        }
    }

    fn is_for(&self, purpose: Purpose) -> Result<(), SigningError> {
        let signs = self.parsed.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature());
        let code = self.parsed.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.code_signing);
        let fits = match purpose {
            Purpose::Signing => signs || code,
            Purpose::CodeSigning => code,
        };
        if fits { Ok(()) } else { refused(format!("the certificate {} is not for signing", self.subject())) }
    }

    /// A critical extension that we do not know may forbid what we allow.
    fn nothing_unknown(&self) -> Result<(), SigningError> {
        // Basic constraints, key usage, extended key usage, alternative names.
        const KNOWN: &[&str] = &["2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"];
        match self.parsed.extensions().iter().find(|extension| extension.critical && !KNOWN.contains(&extension.oid.to_id_string().as_str())) {
            Some(unknown) => refused(format!("the certificate {} has the unknown critical extension {}", self.subject(), unknown.oid)),
            None => Ok(()),
        }
    }

    fn signed_by(&self, issuer: &Certificate<'_>) -> Result<(), SigningError> {
        let hash = match self.parsed.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.10045.4.3.2" | "1.2.840.113549.1.1.11" => Hash::Sha256,
            "1.2.840.10045.4.3.3" | "1.2.840.113549.1.1.12" => Hash::Sha384,
            "1.2.840.10045.4.3.4" | "1.2.840.113549.1.1.13" => Hash::Sha512,
            "1.3.101.112" => Hash::Own,
            other => return Err(SigningError::Unsupported(format!("certificates signed with {other}"))),
        };
        issuer.key()?.verify(hash, self.parsed.tbs_certificate.as_ref(), &self.parsed.signature_value.data)
    }
}

/// Finds a chain from `leaf` over `others` to one of `anchors`; returns the certificate that issued the leaf.
pub(crate) fn verify(leaf: &[u8], others: &[Vec<u8>], anchors: &[Vec<u8>], at: i64, purpose: Purpose) -> Result<Vec<u8>, SigningError> {
    let leaf = Certificate::parse(leaf)?;
    leaf.is_for(purpose)?;
    leaf.valid_at(at)?;
    leaf.nothing_unknown()?;
    // An unreadable certificate among the trusted ones is the caller's mistake; among the others it only does not help.
    let anchors = anchors
        .iter()
        .map(|der| Certificate::parse(der).map_err(|_| SigningError::Trust("one of the certificates cannot be parsed".to_owned())))
        .collect::<Result<Vec<_>, _>>()?;
    let others: Vec<Certificate<'_>> = others.iter().filter_map(|der| Certificate::parse(der).ok()).collect();
    let mut search = Search { anchors: &anchors, others: &others, at, tries: TRIES_MAX, why: None };
    match search.climb(&leaf, 0) {
        Some(issuer) => Ok(issuer),
        None => Err(search.why.unwrap_or_else(|| SigningError::Refused(format!("no trusted certificate stands above {}", leaf.subject())))),
    }
}

struct Search<'s, 'c> {
    anchors: &'s [Certificate<'c>],
    others: &'s [Certificate<'c>],
    at: i64,
    tries: u32,
    /// The last thing that spoke against a chain of fitting names.
    why: Option<SigningError>,
}

impl Search<'_, '_> {
    fn climb(&mut self, below: &Certificate<'_>, depth: usize) -> Option<Vec<u8>> {
        let (anchors, others) = (self.anchors, self.others);
        for (issuer, trusted) in anchors.iter().map(|anchor| (anchor, true)).chain(others.iter().map(|other| (other, false))) {
            if issuer.parsed.subject().as_raw() != below.parsed.issuer().as_raw() || issuer.der() == below.der() && !trusted {
                continue;
            }
            self.tries = self.tries.checked_sub(1)?;
            let fits = below.signed_by(issuer).and_then(|()| issuer.valid_at(self.at)).and_then(|()| issuer.is_authority(depth)).and_then(|()| {
                // What the caller trusts is trusted as it is.
                if trusted { Ok(()) } else { issuer.nothing_unknown() }
            });
            match fits {
                Ok(()) if trusted => return Some(issuer.der().to_vec()),
                Ok(()) if depth < DEPTH_MAX && self.climb(issuer, depth + 1).is_some() => return Some(issuer.der().to_vec()),
                Ok(()) => {}
                Err(why) => self.why = Some(why),
            }
        }
        None
    }
}
