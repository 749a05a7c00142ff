//! A signature by a sigstore identity, verified offline: certificate, transparency of the certificate, transparency of the
//! signature, identity (sigstore client specification).

use crate::bundle::{Material, Signed, Signer, base64};
use crate::chain::{self, Certificate, Purpose};
use crate::key::{Hash, PublicKey};
use crate::{SigningError, der};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Where Fulcio puts the issuer: as a DER string, and as bare text in older certificates.
const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
const ISSUER_OLD: &str = "1.3.6.1.4.1.57264.1.1";
/// Embedded signed certificate timestamps, and the content bytes of that identifier.
const TIMESTAMPS: &str = "1.3.6.1.4.1.11129.2.4.2";
const TIMESTAMPS_DER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustedRoot {
    certificate_authorities: Vec<Authority>,
    tlogs: Vec<Log>,
    ctlogs: Vec<Log>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authority {
    cert_chain: crate::bundle::Chain,
    #[serde(default)]
    valid_for: Validity,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    public_key: LogKey,
    log_id: crate::log::LogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogKey {
    raw_bytes: String,
    #[serde(default)]
    valid_for: Validity,
}

#[derive(Default, Deserialize)]
struct Validity {
    start: Option<String>,
    end: Option<String>,
}

impl Validity {
    /// Of seconds since 1970. A time that cannot be read ends trust.
    fn holds(&self, at: i64) -> bool {
        let seconds = |time: &String| x509_time(time);
        self.start.as_ref().is_none_or(|start| seconds(start).is_some_and(|start| at >= start))
            && self.end.as_ref().is_none_or(|end| seconds(end).is_some_and(|end| at <= end))
    }
}

/// `2021-10-07T13:56:59Z`, with or without a fraction, as protobuf's JSON writes times.
fn x509_time(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split('.').next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from a civil date (Howard Hinnant): years begin in March, so that the leap day is the last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

pub(crate) fn verify(material: &Material, signed: &Signed, root: &[u8], identity: &str, issuer: &str) -> Result<Signer, SigningError> {
    let root: TrustedRoot = serde_json::from_slice(root).map_err(|error| SigningError::Trust(format!("the trust root: {error}")))?;
    let raw = match (&material.certificate, &material.x509_certificate_chain) {
        (Some(raw), _) => raw,
        (None, Some(chain)) => chain.certificates.first().ok_or_else(|| SigningError::Bundle("its certificate chain is empty".to_owned()))?,
        (None, None) => return Err(SigningError::Bundle("it carries no certificate".to_owned())),
    };
    let leaf_der = base64(&raw.raw_bytes, "the certificate")?;
    let [entry] = material.tlog_entries.as_slice() else {
        return Err(SigningError::Refused(format!("it has {} log entries; one is needed", material.tlog_entries.len())));
    };
    let at = entry.time()?;
    entry.verify(&log_key(&root.tlogs, &entry.log()?, at, "the transparency log")?, signed, &leaf_der)?;
    let issuing = authority(&root.certificate_authorities, &leaf_der, at)?;
    let leaf = Certificate::parse(&leaf_der)?;
    certificate_was_logged(&leaf, &Certificate::parse(&issuing)?, &root.ctlogs)?;
    is_identity(&leaf, identity, issuer)?;
    leaf.key()?.verify_message(&signed.message, &signed.signature)?;
    Ok(Signer { name: format!("{identity} ({issuer})"), logged_at: Some(at) })
}

fn log_key(logs: &[Log], id: &[u8], at: i64, what: &str) -> Result<PublicKey, SigningError> {
    for log in logs {
        if base64(&log.log_id.key_id, "a log's identifier")? == id && log.public_key.valid_for.holds(at) {
            return PublicKey::from_spki(&base64(&log.public_key.raw_bytes, "a log's key")?);
        }
    }
    Err(SigningError::Refused(format!("{what} {} is not in the trust root, or was not at that time", hex::encode(id))))
}

/// The authority's certificate that issued the leaf.
fn authority(authorities: &[Authority], leaf: &[u8], at: i64) -> Result<Vec<u8>, SigningError> {
    let mut why = SigningError::Trust("the trust root has no authority for that time".to_owned());
    for authority in authorities.iter().filter(|authority| authority.valid_for.holds(at)) {
        let certificates =
            authority.cert_chain.certificates.iter().map(|raw| base64(&raw.raw_bytes, "an authority's certificate")).collect::<Result<Vec<_>, _>>()?;
        // The last is the root; the others lead to it.
        let Some((root, intermediates)) = certificates.split_last() else { continue };
        match chain::verify(leaf, intermediates, std::slice::from_ref(root), at, Purpose::CodeSigning) {
            Ok(issuing) => return Ok(issuing),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// At least one log of certificates vouches that it has seen the leaf, so that its owner could notice (RFC 6962, 3.2).
fn certificate_was_logged(leaf: &Certificate<'_>, issuer: &Certificate<'_>, logs: &[Log]) -> Result<(), SigningError> {
    let none = || SigningError::Refused("no trusted log vouches for the certificate".to_owned());
    let list = leaf.extension(TIMESTAMPS).and_then(der::octets).and_then(|list| list.split_at_checked(2)).map(|(_, list)| list).ok_or_else(none)?;
    let tbs = der::tbs_without(leaf.der(), TIMESTAMPS_DER).ok_or_else(none)?;
    let issuer_key = Sha256::digest(issuer.key()?.spki());
    let mut rest = list;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let Some((timestamp, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
        if vouches(timestamp, &tbs, &issuer_key, logs).is_some() {
            return Ok(());
        }
        rest = after;
    }
    Err(none())
}

/// Version, log, time, extensions, hash and signature algorithm, signature.
fn vouches(timestamp: &[u8], tbs: &[u8], issuer_key: &[u8], logs: &[Log]) -> Option<()> {
    let ([0], rest) = timestamp.split_first_chunk::<1>()? else { return None };
    let (log, rest) = rest.split_first_chunk::<32>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (extensions, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    // SHA-256 with RSA or ECDSA.
    let ([4, 1 | 3], rest) = rest.split_first_chunk::<2>()? else { return None };
    let (signature_length, signature) = rest.split_first_chunk::<2>()?;
    if signature.len() != usize::from(u16::from_be_bytes(*signature_length)) {
        return None;
    }
    let at = i64::try_from(u64::from_be_bytes(*time) / 1000).ok()?;
    let key = log_key(logs, log, at, "").ok()?;
    let tbs_length = u32::try_from(tbs.len()).ok()?.to_be_bytes();
    let message = [&[0, 0][..], time, &[0, 1], issuer_key, tbs_length.get(1..)?, tbs, length, extensions].concat();
    key.verify(Hash::Sha256, &message, signature).ok()
}

fn is_identity(leaf: &Certificate<'_>, identity: &str, issuer: &str) -> Result<(), SigningError> {
    let found = leaf
        .extension(ISSUER)
        .and_then(der::utf8)
        .or_else(|| leaf.extension(ISSUER_OLD).and_then(|text| std::str::from_utf8(text).ok()))
        .ok_or_else(|| SigningError::Refused("the certificate names no issuer".to_owned()))?;
    let identities = leaf.identities();
    if found != issuer || !identities.iter().any(|one| one == identity) {
        return Err(SigningError::Identity(format!("{} ({found}), not {identity} ({issuer})", identities.join(", "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_trust_root() {
        assert_eq!(x509_time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(x509_time("2021-03-07T03:20:29Z"), Some(1_615_087_229));
        assert_eq!(x509_time("2024-02-29T23:59:59.999Z"), Some(1_709_251_199));
        for bad in ["2021-03-07", "2021-13-07T00:00:00Z", "x", "2021-03-07T03:20:29+01:00"] {
            assert_eq!(x509_time(bad), None, "{bad}");
        }
        assert!(!Validity { start: Some("x".to_owned()), end: None }.holds(5));
    }
}
