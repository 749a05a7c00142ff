//! Bearer secrets: enrolment tokens (`pe1.`), one-time sign-in codes (`ps1.`), API tokens (`pk1.`).
//!
//! Text form `<kind>.<id>.<secret>`, and a fourth part with the pin of the CA key where the receiver has nothing else to trust. The
//! id finds the row, the secret proves the right; the server keeps only the SHA-256 of the secret (256 random bits need no slow hash) and
//! compares in constant time.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

const ID_BYTES: usize = 9;
const SECRET_BYTES: usize = 32;
/// Longest text that is looked at; a whole token with pin has about 110 bytes.
const TEXT_BYTES_MAX: usize = 256;

/// What a secret is for. A secret of one kind is never accepted as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// `pe1`: a device may enrol once.
    Enrolment,
    /// `ps1`: a person may sign in once.
    SignIn,
    /// `pk1`: calls the API.
    Api,
}

impl CredentialKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Enrolment => "pe1",
            Self::SignIn => "ps1",
            Self::Api => "pk1",
        }
    }
}

/// SHA-256 of a secret: what the server stores.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// From a stored column.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For a column.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Constant-time comparison.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A secret as presented, split.
pub struct Presented {
    /// Finds the row.
    pub id: String,
    /// Proves the right.
    pub hash: SecretHash,
}

/// A secret just made. The text is shown once and never stored.
pub struct Issued {
    /// Finds the row.
    pub id: String,
    /// What is stored.
    pub hash: SecretHash,
    text: Zeroizing<String>,
}

impl Issued {
    /// Makes one from the operating system's randomness.
    pub fn generate(kind: CredentialKind) -> Result<Self, NoRandomness> {
        let mut id = [0u8; ID_BYTES];
        let mut secret = Zeroizing::new([0u8; SECRET_BYTES]);
        SysRng.try_fill_bytes(&mut id).map_err(|_| NoRandomness)?;
        SysRng.try_fill_bytes(secret.as_mut_slice()).map_err(|_| NoRandomness)?;
        let id = URL_SAFE_NO_PAD.encode(id);
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
        let text = Zeroizing::new(format!("{}.{id}.{}", kind.prefix(), secret.as_str()));
        Ok(Self { id, hash: hash(&secret), text })
    }

    /// The text to hand out, without a pin.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text to hand out with the pin of the CA key.
    #[must_use]
    pub fn text_with_pin(&self, spki_sha256: &[u8; 32]) -> String {
        format!("{}.{}", self.text.as_str(), URL_SAFE_NO_PAD.encode(spki_sha256))
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The operating system gave no random bytes.
#[derive(Debug, Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// Splits a presented text. `None` when it has not the form of that kind; a trailing pin part is ignored.
#[must_use]
pub fn parse(kind: CredentialKind, text: &str) -> Option<Presented> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut parts = text.trim().split('.');
    let (prefix, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let (_pin, end) = (parts.next(), parts.next());
    let id_is_ours = id.len() == ID_BYTES.div_ceil(3) * 4 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if prefix != kind.prefix() || end.is_some() || !id_is_ours || secret.is_empty() {
        return None;
    }
    Some(Presented { id: id.to_owned(), hash: hash(secret) })
}

fn hash(secret: &str) -> SecretHash {
    SecretHash(Sha256::digest(secret.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_issued_parses_and_matches() {
        let issued = Issued::generate(CredentialKind::Enrolment).unwrap();
        let presented = parse(CredentialKind::Enrolment, &issued.text_with_pin(&[7; 32])).unwrap();
        assert_eq!(presented.id, issued.id);
        assert!(presented.hash.matches(&issued.hash));
        assert!(!format!("{issued:?}").contains(issued.text()));
    }

    #[test]
    fn another_kind_or_form_is_refused() {
        let issued = Issued::generate(CredentialKind::Enrolment).unwrap();
        assert!(parse(CredentialKind::Api, issued.text()).is_none());
        for text in ["", "pe1", "pe1..", "pe1.short.x", "pe1.aaaaaaaaaaaa.", "pe1.aaaaaaaaaaaa.s.p.more", "pe1.aaaaaaaa/aaa.s"] {
            assert!(parse(CredentialKind::Enrolment, text).is_none(), "{text}");
        }
        assert!(parse(CredentialKind::Enrolment, &"x".repeat(10_000)).is_none());
    }

    #[test]
    fn another_secret_does_not_match() {
        let (a, b) = (Issued::generate(CredentialKind::Api).unwrap(), Issued::generate(CredentialKind::Api).unwrap());
        assert!(!a.hash.matches(&b.hash));
    }
}
