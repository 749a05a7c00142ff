//! Only the invited: tokens, keys and certificates.

use crate::support::{Device, Session, TestServer, chain_pem, csr, new_key};
use picket_proto::v1::{self, RevokeTokenRequest, token_view::State};
use rcgen::{KeyPair, PKCS_ED25519};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_buys_one_identity_that_may_connect() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let token = server.token().await;
    let key = new_key();
    let enrolled = server.enrol_with(&token, csr(&key)).await.unwrap();
    assert_eq!(enrolled.trust_der.len(), 1);
    assert_eq!(enrolled.certificate_chain_der.len(), 2);
    let again = server.enrol_with(&token, csr(&new_key())).await.unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied);

    let device = Device { uid: enrolled.device_uid, chain_pem: chain_pem(&enrolled.certificate_chain_der), key_pem: key.serialize_pem() };
    assert_eq!(admin.host(&device.uid).await.state(), v1::host_view::State::Enrolled);
    let mut session = server.session(&device).await;
    session.store(1, 3).await;
    session.heartbeat().await;
    let host = admin.host("gpu-1").await;
    assert_eq!((host.state(), host.events_stored, host.device_uid), (v1::host_view::State::Connected, 3, device.uid.clone()));
    assert_eq!(host.host.unwrap().kernel, "6.1.0");

    let tokens = admin.tokens().list(admin.with(v1::ListTokensRequest {})).await.unwrap().into_inner().tokens;
    assert_eq!((tokens[0].state(), &tokens[0].device_uid), (State::Used, &device.uid));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_gets_the_same_answer_and_its_own_reason() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let created = admin.tokens().create(admin.with(v1::CreateTokenRequest { ttl_s: 60, label: "x".into() })).await.unwrap().into_inner();
    assert_eq!(created.token.split('.').count(), 4);
    admin.tokens().revoke(admin.with(RevokeTokenRequest { id: created.id })).await.unwrap();
    let short = server.token_for(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let good = server.token().await;
    let wrong_secret = good.split('.').take(2).collect::<Vec<_>>().join(".") + ".wrong.pin";
    let mut texts = Vec::new();
    for token in [created.token.as_str(), &short, "pe1.AAAAAAAAAAAA.secret.pin", "nonsense", "", &wrong_secret] {
        let refused = server.enrol_with(token, csr(&new_key())).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{token}");
        texts.push(refused.message().to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "a guesser learns nothing: {texts:?}");
    let bad = admin.refusals_of("bad_token").await;
    assert_eq!(bad.iter().map(|refusal| refusal.count).sum::<u64>(), 6);
    // The attempts with a wrong secret have not burned the token.
    server.enrol_with(&good, csr(&new_key())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_does_not_burn_the_token() {
    let server = TestServer::start().await;
    let token = server.token().await;
    let mut broken = csr(&new_key());
    *broken.last_mut().unwrap() ^= 1;
    let other_algorithm = csr(&KeyPair::generate_for(&PKCS_ED25519).unwrap());
    for bytes in [Vec::new(), b"nonsense".to_vec(), vec![0; 10_000], broken, other_algorithm] {
        assert_eq!(server.enrol_with(&token, bytes).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let key = new_key();
    server.enrol_with(&token, csr(&key)).await.unwrap();
    // One key is one identity.
    let reused = server.enrol_with(&server.token().await, csr(&key)).await.unwrap_err();
    assert_eq!(reused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_rate_limited_and_does_not_stop_others() {
    let server = TestServer::start_with(|config| config.enrolment.attempts_per_second_per_address = 1).await;
    let admin = server.admin().await;
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(server.enrol_with("pe1.AAAAAAAAAAAA.guess.pin", csr(&new_key())).await.unwrap_err().code());
    }
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
    admin.refusals_of("rate_limited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_needs_a_new_key_and_the_old_certificate_stays_good() {
    let server = TestServer::start().await;
    let device = server.enrol().await;
    let mut gateway = server.gateway(Some(&device)).await.unwrap();
    let key = new_key();
    let renewed = gateway.renew(v1::RenewRequest { csr_der: csr(&key) }).await.unwrap().into_inner();
    let reused = gateway.renew(v1::RenewRequest { csr_der: csr(&key) }).await.unwrap_err();
    assert_eq!(reused.code(), Code::InvalidArgument);

    let newer = Device { chain_pem: chain_pem(&renewed.certificate_chain_der), key_pem: key.serialize_pem(), ..device.clone() };
    let mut session = server.session(&newer).await;
    session.store(1, 2).await;
    Session::open(server.gateway(Some(&device)).await.unwrap(), &device).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_without_a_certificate_is_refused() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let refused = server.gateway(None).await.unwrap().renew(v1::RenewRequest { csr_der: csr(&new_key()) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    admin.refusals_of("no_certificate").await;
}
