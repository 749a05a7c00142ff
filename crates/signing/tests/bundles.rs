//! Bundles made by the field's own tool (`model-signing` 1.1.1; `tests/data` holds what it signed, public keys and anchors, never
//! a private key), and the specification's published vectors where they are beside the project.

#![expect(clippy::unwrap_used, reason = "a test that fails here is a test that fails")]

use picket_signing::{Difference, DifferenceKind, SigningError, Trust, verify_bundle};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn key(name: &str) -> Trust {
    Trust::Key(data(&format!("{name}.pub.pem")))
}

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

fn anchors(name: &str) -> Trust {
    Trust::Certificates { anchors: data(name), at: NOW }
}

/// The model as it was signed.
fn model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("weights.bin"), (0..40).flat_map(|_| 0..=u8::MAX).collect::<Vec<u8>>()).unwrap();
    fs::write(root.join("config.json"), "{\"layers\": 2}\n").unwrap();
    fs::write(root.join("sub/tokenizer.txt"), "a b c\n").unwrap();
    fs::write(root.join("ignored.log"), "changed since, and not covered\n").unwrap();
    folder
}

fn check(bundle: &str, trust: &Trust, model: &Path) -> Vec<(String, DifferenceKind)> {
    let (signed, _) = verify_bundle(&data(bundle), trust).unwrap();
    let found = signed.check(model, &[], &mut |_| true).unwrap();
    found.into_iter().map(|Difference { path, kind }| (path, kind)).collect()
}

#[test]
fn models_signed_with_keys_of_each_curve() {
    let model = model();
    for name in ["p256", "p384", "p521"] {
        assert_eq!(check(&format!("{name}.sig"), &key(name), model.path()), [], "{name}");
    }
    for bundle in ["shards.sig", "blake3.sig"] {
        assert_eq!(check(bundle, &key("p256"), model.path()), [], "{bundle}");
    }
}

#[test]
fn every_way_to_differ_is_named() {
    for bundle in ["p256.sig", "shards.sig", "blake3.sig"] {
        let model = model();
        let root = model.path();
        let mut weights = fs::read(root.join("weights.bin")).unwrap();
        weights[9000] ^= 1;
        fs::write(root.join("weights.bin"), weights).unwrap();
        fs::remove_file(root.join("sub/tokenizer.txt")).unwrap();
        fs::write(root.join("sub/modeling.py"), "import os\n").unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        fs::write(root.join(".git/config"), "").unwrap();
        symlink("weights.bin", root.join("link.bin")).unwrap();
        let expected = [
            ("link.bin".to_owned(), DifferenceKind::Symlink),
            ("sub/modeling.py".to_owned(), DifferenceKind::Extra),
            ("sub/tokenizer.txt".to_owned(), DifferenceKind::Missing),
            ("weights.bin".to_owned(), DifferenceKind::Changed),
        ];
        assert_eq!(check(bundle, &key("p256"), root), expected, "{bundle}");
    }
}

#[test]
fn cut_and_grown_files_differ() {
    for bundle in ["p256.sig", "shards.sig"] {
        for length in [0, 4096, 10_239, 10_241] {
            let model = model();
            fs::OpenOptions::new().write(true).open(model.path().join("weights.bin")).unwrap().set_len(length).unwrap();
            assert_eq!(check(bundle, &key("p256"), model.path()), [("weights.bin".to_owned(), DifferenceKind::Changed)], "{bundle} {length}");
        }
    }
}

#[test]
fn links_where_the_signer_allowed_them_and_a_single_file() {
    let model = model();
    symlink("weights.bin", model.path().join("link.bin")).unwrap();
    assert_eq!(check("symlinks.sig", &key("p256"), model.path()), []);
    assert_eq!(check("single.sig", &key("p256"), &model.path().join("weights.bin")), []);
    let other = check("single.sig", &key("p256"), &model.path().join("config.json"));
    assert_eq!(other, [(".".to_owned(), DifferenceKind::Changed)]);
}

#[test]
fn the_signature_itself_need_not_be_signed() {
    let model = model();
    let signature = model.path().join("model.sig");
    fs::write(&signature, data("p256.sig")).unwrap();
    let (signed, _) = verify_bundle(&data("p256.sig"), &key("p256")).unwrap();
    assert_eq!(signed.check(model.path(), &[signature], &mut |_| true).unwrap(), []);
    assert_eq!(signed.check(model.path(), &[], &mut |_| true).unwrap().len(), 1);
}

#[test]
fn wrong_keys_are_refused() {
    assert!(matches!(verify_bundle(&data("p256.sig"), &key("other")), Err(SigningError::Identity(_))));
    assert!(matches!(verify_bundle(&data("p256.sig"), &key("p384")), Err(SigningError::Identity(_))));
    // Without the hint, the signature decides.
    let text = String::from_utf8(data("p256.sig")).unwrap();
    let mut bundle: serde_json::Value = serde_json::from_str(&text).unwrap();
    bundle["verificationMaterial"]["publicKey"] = serde_json::json!({});
    let bare = serde_json::to_vec(&bundle).unwrap();
    assert!(verify_bundle(&bare, &key("p256")).is_ok());
    assert!(matches!(verify_bundle(&bare, &key("other")), Err(SigningError::Refused(_))));
    assert!(matches!(verify_bundle(&data("certificate.sig"), &key("p256")), Err(SigningError::Bundle(_))));
    assert!(matches!(verify_bundle(&data("p256.sig"), &Trust::Key(b"no key".to_vec())), Err(SigningError::Trust(_))));
}

#[test]
fn certificates() {
    let model = model();
    assert_eq!(check("certificate.sig", &anchors("root.pem"), model.path()), []);
    let (_, signer) = verify_bundle(&data("certificate.sig"), &anchors("root.pem")).unwrap();
    assert_eq!(signer.name, "certificate CN=test signer");
    let refused = |bundle: &str, trust: &Trust, why: &str| match verify_bundle(&data(bundle), trust) {
        Err(SigningError::Refused(said)) => assert!(said.contains(why), "{bundle}: {said}"),
        other => panic!("{bundle}: {other:?}"),
    };
    refused("certificate.sig", &anchors("other_root.pem"), "another key");
    refused("expired.sig", &anchors("root.pem"), "expired");
    refused("encipherment.sig", &anchors("root.pem"), "not for signing");
    refused("not_authority.sig", &anchors("root.pem"), "no authority");
    refused("certificate.sig", &Trust::Certificates { anchors: data("root.pem"), at: 1_500_000_000 }, "not valid before");
    // Said to have been signed while the certificate was valid.
    assert!(verify_bundle(&data("expired.sig"), &Trust::Certificates { anchors: data("root.pem"), at: 1_625_000_000 }).is_ok());
    assert!(matches!(verify_bundle(&data("p256.sig"), &anchors("root.pem")), Err(SigningError::Bundle(_))));
}

#[test]
fn no_byte_of_what_is_signed_can_change() {
    let bundle: serde_json::Value = serde_json::from_slice(&data("p256.sig")).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
    for at in (0..payload.len() - 4).step_by(97) {
        let mut changed = payload.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let mut bundle = bundle.clone();
        bundle["dsseEnvelope"]["payload"] = String::from_utf8(changed).unwrap().into();
        assert!(matches!(verify_bundle(&serde_json::to_vec(&bundle).unwrap(), &key("p256")), Err(SigningError::Refused(_))), "{at}");
    }
    let mut other = bundle;
    other["dsseEnvelope"]["payloadType"] = "text/plain".into();
    assert!(matches!(verify_bundle(&serde_json::to_vec(&other).unwrap(), &key("p256")), Err(SigningError::Bundle(_))));
}

/// The published vectors: in `$PICKET_SHARED` or its `data` folder, or in `shared/data` beside the project.
fn vectors(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("PICKET_SHARED").map(PathBuf::from).into_iter().flat_map(|folder| [folder.join("oms"), folder.join("data/oms")]);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/data/oms"));
    let found = named.chain(beside).map(|folder| folder.join("test-vectors/v1.0")).find(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("SKIPPED {test}: the published vectors (oms) are not beside the project; PICKET_SHARED names their folder");
    }
    found
}

fn sigstore(identity: &str, issuer: &str) -> Trust {
    Trust::Sigstore { root: data("trusted_root.json"), identity: identity.to_owned(), issuer: issuer.to_owned() }
}

const IDENTITY: &str = "stefanb@us.ibm.com";
const ISSUER: &str = "https://sigstore.verify.ibm.com/oauth2";

#[test]
fn a_published_sigstore_signature_offline() {
    let Some(vectors) = vectors("a_published_sigstore_signature_offline") else { return };
    let bundle = fs::read(vectors.join("valid/sigstore.bundle.json")).unwrap();
    let (_, signer) = verify_bundle(&bundle, &sigstore(IDENTITY, ISSUER)).unwrap();
    assert_eq!(signer.logged_at, Some(1_760_062_340));
    assert!(matches!(verify_bundle(&bundle, &sigstore("someone@else", ISSUER)), Err(SigningError::Identity(_))));
    assert!(matches!(verify_bundle(&bundle, &sigstore(IDENTITY, "https://accounts.google.com")), Err(SigningError::Identity(_))));
    // Each part is needed.
    let parsed: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let entry = "/verificationMaterial/tlogEntries/0";
    for (pointer, value) in [
        (format!("{entry}/integratedTime"), "1760062341"),
        (format!("{entry}/logIndex"), "598151087"),
        (format!("{entry}/inclusionProof/rootHash"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (format!("{entry}/inclusionProof/logIndex"), "476246823"),
        (format!("{entry}/inclusionProof/hashes/3"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (format!("{entry}/logId/keyId"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (format!("{entry}/inclusionPromise/signedEntryTimestamp"), "AAAA"),
        ("/dsseEnvelope/signatures/0/sig".to_owned(), "MEQCIErVIgUO5ZfOBVXVM8URhnDQ2RXg7H+960ckEz8xKkdoAiBkki5CpODdpZw8GzMNv/nnT1j5OQ6l/Y5k00n7P0AXFQ=="),
        ("/dsseEnvelope/payload".to_owned(), "e30="),
    ] {
        let mut changed = parsed.clone();
        *changed.pointer_mut(&pointer).unwrap() = value.into();
        let outcome = verify_bundle(&serde_json::to_vec(&changed).unwrap(), &sigstore(IDENTITY, ISSUER));
        assert!(matches!(outcome, Err(SigningError::Refused(_))), "{pointer}: {outcome:?}");
    }
    // A trust root without the logs of certificates.
    let mut root: serde_json::Value = serde_json::from_slice(&data("trusted_root.json")).unwrap();
    root["ctlogs"] = serde_json::json!([]);
    let trust = Trust::Sigstore { root: serde_json::to_vec(&root).unwrap(), identity: IDENTITY.to_owned(), issuer: ISSUER.to_owned() };
    assert!(matches!(verify_bundle(&bundle, &trust), Err(SigningError::Refused(_))));
}

#[test]
fn published_vectors_that_must_fail() {
    let Some(vectors) = vectors("published_vectors_that_must_fail") else { return };
    let mut count = 0;
    for folder in ["invalid", "invalid-payload"] {
        for entry in fs::read_dir(vectors.join(folder)).unwrap() {
            let bundle = fs::read(entry.unwrap().path()).unwrap();
            for trust in [key("p256"), anchors("root.pem"), sigstore(IDENTITY, ISSUER)] {
                assert!(verify_bundle(&bundle, &trust).is_err());
            }
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

proptest! {
    /// Bytes of a bundle changed anywhere: never a panic, and never another statement accepted.
    #[test]
    fn damaged_bundles_end(at in 0_usize..6000, value in any::<u8>(), which in 0_usize..3) {
        let names = ["p256.sig", "certificate.sig", "shards.sig"];
        let original = data(names[which]);
        let mut bundle = original.clone();
        let at = at % bundle.len();
        bundle[at] = value;
        let trust = if which == 1 { anchors("root.pem") } else { key("p256") };
        let expected = verify_bundle(&original, &trust).unwrap().0;
        if let Ok((signed, _)) = verify_bundle(&bundle, &trust) {
            prop_assert_eq!(signed, expected);
        }
        let _ = verify_bundle(&bundle, &sigstore(IDENTITY, ISSUER));
    }
}
