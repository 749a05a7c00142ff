use std::{slice::from_ref, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _};

use super::*;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pin: Pin,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let pin = Pin(Sha256::digest(key.subject_public_key_info()).into());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Authority { issuer: CertifiedIssuer::self_signed(params, key).unwrap(), pin }
}

fn leaf(of: &Authority) -> CertificateDer<'static> {
    let params = CertificateParams::new(vec!["picket.test".to_owned()]).unwrap();
    params.signed_by(&KeyPair::generate().unwrap(), &of.issuer).unwrap().der().clone()
}

fn verify(verifier: &PinnedVerifier, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>], name: &str) -> Result<ServerCertVerified, Error> {
    // 2030: within the validity that rcgen gives by default.
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_893_456_000));
    verifier.verify_server_cert(leaf, chain, &ServerName::try_from(name.to_owned()).unwrap(), &[], now)
}

#[test]
fn only_a_chain_up_to_the_pinned_key_is_trusted() {
    let (ours, theirs) = (authority(), authority());
    let (our_ca, their_ca) = (ours.issuer.der().clone(), theirs.issuer.der().clone());
    let verifier = PinnedVerifier::new(ours.pin);
    assert!(verify(&verifier, &leaf(&theirs), from_ref(&their_ca), "picket.test").is_err(), "another key");
    assert!(verify(&verifier, &leaf(&theirs), &[their_ca, our_ca.clone()], "picket.test").is_err(), "the pinned certificate beside a chain of another");
    assert!(verify(&verifier, &leaf(&ours), &[], "picket.test").is_err(), "without the pinned certificate");
    assert!(verify(&verifier, &our_ca, &[], "picket.test").is_err(), "the pinned certificate as a server's own");
    assert!(verify(&verifier, &leaf(&ours), from_ref(&our_ca), "other.test").is_err(), "another name");
    assert_eq!(verifier.found(), None, "nothing was trusted so far");
    verify(&verifier, &leaf(&ours), from_ref(&our_ca), "picket.test").unwrap();
    assert_eq!(verifier.found(), Some(our_ca));
}

#[test]
fn a_pin_is_32_bytes_of_base64url() {
    let text = authority().pin.to_string();
    assert_eq!(Pin::parse(&text).unwrap().to_string(), text);
    for wrong in ["", "c2hvcnQ", &format!("{text}="), &format!("{text}AA"), " "] {
        assert_eq!(Pin::parse(wrong), None, "{wrong:?}");
    }
}
