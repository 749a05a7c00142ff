//! Which device a certificate speaks for. Everything the server believes about a peer's identity comes from here.

use picket_event::{DeviceUid, Timestamp};
use thiserror::Error;
use uuid::Uuid;
use x509_parser::prelude::{GeneralName, X509Certificate};

/// A verified device certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// From the SAN URI.
    pub device: DeviceUid,
    /// Hex.
    pub serial: String,
    /// The certificate is worth nothing from here on.
    pub not_after: Timestamp,
}

/// A certificate of our CA that names no device of this deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not X.509.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// No SAN, several, or not a URI.
    #[error("the certificate must name exactly one URI")]
    Names,
    /// The URI is not `spiffe://<deployment>/agent/<device>` of this deployment.
    #[error("the certificate's URI names no device of this deployment")]
    Uri,
}

impl DeviceIdentity {
    /// Reads a certificate that has been verified against the CA.
    pub fn from_certificate(der: &[u8], deployment: Uuid) -> Result<Self, IdentityError> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_| IdentityError::Unreadable)?;
        let uri = only_uri(&certificate).ok_or(IdentityError::Names)?;
        let device = device_of(uri, Some(deployment)).ok_or(IdentityError::Uri)?;
        let not_after = Timestamp(certificate.validity().not_after.timestamp().saturating_mul(1_000_000_000));
        Ok(Self { device, serial: hex::encode(certificate.tbs_certificate.raw_serial()), not_after })
    }
}

/// The device that an unverified certificate claims, for a refusal's detail and nothing else.
pub(crate) fn claimed_device(der: &[u8]) -> Option<DeviceUid> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    device_of(only_uri(&certificate)?, None)
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    match certificate.subject_alternative_name().ok()??.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Some(uri),
        _ => None,
    }
}

fn device_of(uri: &str, deployment: Option<Uuid>) -> Option<DeviceUid> {
    let (domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    if let Some(deployment) = deployment
        && domain != deployment.to_string()
    {
        return None;
    }
    path.strip_prefix("agent/")?.parse().ok()
}
