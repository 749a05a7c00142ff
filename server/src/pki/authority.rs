//! The deployment's root: made once, signs everything, never leaves its folder.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use picket_event::{DeviceUid, Timestamp};
use rand::{TryRng as _, rngs::SysRng};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{PkiError, secret_file};
use crate::{clock, credential::NoRandomness};

/// Ten years: a root is replaced by a planned rollover, not by a surprise.
const ROOT_LIFETIME_S: u64 = 10 * 366 * 24 * 3600;
/// Certificates are valid from a little earlier than now, so that a device whose clock is slow can use its own at once.
const BACKDATE_S: u64 = 300;
/// A request of a P-256 key has about 300 bytes; whoever sends more wants something else.
const REQUEST_BYTES_MAX: usize = 4096;

/// The deployment's CA.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    spki_sha256: [u8; 32],
    deployment: Uuid,
}

/// A certificate just signed, and what the state store keeps of it.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// Leaf first, root last.
    pub chain: Vec<CertificateDer<'static>>,
    /// Hex.
    pub serial: String,
    /// SHA-256 of the public key.
    pub spki_sha256: [u8; 32],
    /// Valid until.
    pub not_after: Timestamp,
}

impl Authority {
    /// Opens `<state>/ca`, making the root when the folder is empty.
    pub fn open(state_dir: &Path, deployment: Uuid) -> Result<Self, PkiError> {
        let folder = state_dir.join("ca");
        secret_file::private_folder(&folder).map_err(|source| PkiError::File { action: "make", path: folder.clone(), source })?;
        let (key_path, root_path) = (folder.join("root.key"), folder.join("root.pem"));
        match (read(&key_path)?, read(&root_path)?) {
            (Some(key), Some(root)) => Self::from_pem(&key, &root, deployment),
            (None, None) => Self::create(&key_path, &root_path, deployment),
            // The key is written first: a crash between the two leaves a key that has signed nothing.
            (Some(key), None) => Self::complete(KeyPair::from_pem(&key)?, &root_path, deployment),
            (None, Some(_)) => Err(PkiError::Incomplete(folder)),
        }
    }

    fn create(key_path: &Path, root_path: &Path, deployment: Uuid) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        write(key_path, key_pem.as_bytes())?;
        Self::complete(key, root_path, deployment)
    }

    fn complete(key: KeyPair, root_path: &Path, deployment: Uuid) -> Result<Self, PkiError> {
        let mut params = params(clock::now(), ROOT_LIFETIME_S)?;
        params.distinguished_name.push(DnType::CommonName, format!("Picket root {deployment}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key)?;
        write(root_path, root.pem().as_bytes())?;
        Self::from_parts(key, root.der().clone(), deployment)
    }

    fn from_pem(key: &str, root: &str, deployment: Uuid) -> Result<Self, PkiError> {
        let root = CertificateDer::from_pem_slice(root.as_bytes()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        Self::from_parts(KeyPair::from_pem(key)?, root, deployment)
    }

    fn from_parts(key: KeyPair, root: CertificateDer<'static>, deployment: Uuid) -> Result<Self, PkiError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&root).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let spki = parsed.tbs_certificate.subject_pki.raw;
        if spki != key.subject_public_key_info() {
            return Err(PkiError::Request("root.key does not belong to root.pem; restore both from the same backup"));
        }
        let spki_sha256 = Sha256::digest(spki).into();
        Ok(Self { issuer: Issuer::from_ca_cert_der(&root, key)?, root, spki_sha256, deployment })
    }

    /// The root certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// What peers pin: SHA-256 of the root's `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_sha256(&self) -> &[u8; 32] {
        &self.spki_sha256
    }

    /// The deployment that this CA speaks for.
    #[must_use]
    pub fn deployment(&self) -> Uuid {
        self.deployment
    }

    /// Signs a device's certificate. Of the request only the public key is taken: names, extensions and validity are the server's.
    pub fn issue_device(&self, request_der: &[u8], device: DeviceUid, lifetime_s: u64) -> Result<IssuedCertificate, PkiError> {
        if request_der.len() > REQUEST_BYTES_MAX {
            return Err(PkiError::Request("it is too long"));
        }
        // Checks the request's own signature: proof that the caller holds the private key.
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der))
            .map_err(|_| PkiError::Request("it is not a well-formed and correctly signed PKCS#10"))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::Request("its key is not ECDSA P-256"));
        }
        let uri = format!("spiffe://{}/agent/{device}", self.deployment);
        let mut params = params(clock::now(), lifetime_s)?;
        params.distinguished_name.push(DnType::CommonName, device.to_string());
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &request.public_key)
    }

    /// Signs a server leaf for the given names and addresses.
    pub fn issue_server(&self, names: &[String], lifetime_s: u64) -> Result<(IssuedCertificate, PrivateKeyDer<'static>), PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(clock::now(), lifetime_s)?;
        params.distinguished_name.push(DnType::CommonName, "Picket server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        let issued = self.sign(params, &key)?;
        Ok((issued, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    }

    fn sign(&self, mut params: CertificateParams, key: &impl PublicKeyData) -> Result<IssuedCertificate, PkiError> {
        let mut serial = [0u8; 16];
        SysRng.try_fill_bytes(&mut serial).map_err(|_| NoRandomness)?;
        // A positive DER integer of a fixed length.
        if let Some(first) = serial.first_mut() {
            *first = (*first & 0x7f) | 0x40;
        }
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let not_after = Timestamp(params.not_after.unix_timestamp().saturating_mul(1_000_000_000));
        let leaf = params.signed_by(key, &self.issuer)?;
        Ok(IssuedCertificate {
            chain: vec![leaf.der().clone(), self.root.clone()],
            serial: hex::encode(serial),
            spki_sha256: Sha256::digest(key.subject_public_key_info()).into(),
            not_after,
        })
    }
}

fn params(now: Timestamp, lifetime_s: u64) -> Result<CertificateParams, PkiError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now_s = u64::try_from(now.0.div_euclid(1_000_000_000)).unwrap_or(0);
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(BACKDATE_S));
    params.not_after = epoch + Duration::from_secs(now_s.saturating_add(lifetime_s));
    Ok(params)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, PkiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { action: "read", path: path.to_owned(), source }),
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    secret_file::write(path, content).map_err(|source| PkiError::File { action: "write", path: PathBuf::from(path), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::pki::DeviceIdentity;

    fn request() -> Vec<u8> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(vec!["admin.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_root_survives_a_restart_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path(), Uuid::nil()).unwrap();
        let second = Authority::open(folder.path(), Uuid::nil()).unwrap();
        assert_eq!(first.spki_sha256(), second.spki_sha256());
        let mode = std::fs::metadata(folder.path().join("ca/root.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_without_its_certificate_is_completed_but_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path(), Uuid::nil()).unwrap();
        std::fs::remove_file(folder.path().join("ca/root.pem")).unwrap();
        assert_eq!(first.spki_sha256(), Authority::open(folder.path(), Uuid::nil()).unwrap().spki_sha256());
        std::fs::remove_file(folder.path().join("ca/root.key")).unwrap();
        assert!(matches!(Authority::open(folder.path(), Uuid::nil()), Err(PkiError::Incomplete(_))));
    }

    #[test]
    fn of_a_request_only_the_key_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), Uuid::nil()).unwrap();
        let device = DeviceUid(Uuid::now_v7());
        let issued = authority.issue_device(&request(), device, 60).unwrap();
        let leaf = issued.chain.first().unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
        assert!(!parsed.is_ca());
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        let identity = DeviceIdentity::from_certificate(leaf, authority.deployment()).unwrap();
        assert_eq!(identity.device, device);
        assert_eq!(identity.not_after, issued.not_after);
    }

    #[test]
    fn a_request_with_a_broken_signature_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), Uuid::nil()).unwrap();
        let mut bytes = request();
        let last = bytes.last_mut().unwrap();
        *last ^= 1;
        assert!(matches!(authority.issue_device(&bytes, DeviceUid(Uuid::nil()), 60), Err(PkiError::Request(_))));
        assert!(matches!(authority.issue_device(&[0; 5000], DeviceUid(Uuid::nil()), 60), Err(PkiError::Request(_))));
        assert!(matches!(authority.issue_device(b"", DeviceUid(Uuid::nil()), 60), Err(PkiError::Request(_))));
    }
}
