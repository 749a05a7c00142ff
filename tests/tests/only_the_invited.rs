//! Who is not invited does not get in, and the admin sees why: no certificate, another CA, revoked, expired, another device's identity, a
//! token used twice. A real agent renews at half of its certificate's life with a new key.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that meets a surprise ends there")]

use std::time::Duration;

use picket_proto::v1::{agent_gateway_client::AgentGatewayClient, agent_message::Message};
use picket_tests::{
    agent_sim::{Identity, Link, connect, enrolment_request, foreign_identity, hello, key_and_csr},
    binaries::can_trace,
    fixture::{AgentOptions, Deployment, ServerOptions},
    wait,
};
use tonic::Code;

const SPOOL: &str = "0195f000-0000-7000-8000-000000000001";

/// Opens a session; gives the refusal, whether it came in the handshake or as a status.
fn refusal_of(deployment: &Deployment, tls: rustls::ClientConfig, hello: picket_proto::v1::Hello) -> String {
    let address = deployment.server.agent_address();
    deployment.block_on(async move {
        match Link::open(address, tls, Message::Hello(hello)).await {
            Err(handshake) => format!("{handshake:#}"),
            Ok(Err(status)) => status.to_string(),
            // TLS 1.3: the client may have sent before the server has judged its certificate.
            Ok(Ok(link)) => {
                let status = link.ends_with().await.unwrap();
                assert_ne!(status.code(), Code::Ok, "the session was let in and ended in peace");
                status.to_string()
            }
        }
    })
}

fn accepted(deployment: &Deployment, identity: &Identity) {
    let address = deployment.server.agent_address();
    let tls = identity.tls().unwrap();
    let first = hello(&identity.device_uid, SPOOL, "invited");
    deployment.block_on(async move { Link::welcomed(address, tls, first).await }).unwrap();
}

#[test]
fn a_token_works_once() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let token = deployment.server.enrol_token().unwrap();
    let address = deployment.server.agent_address();
    let ask = |token: String| {
        let (_, csr) = key_and_csr().unwrap();
        deployment.block_on(async move { enrolment_request(address, &token, "once", csr).await }).unwrap()
    };
    ask(token.clone()).unwrap();
    let again = ask(token.clone()).unwrap_err();
    assert_eq!(again.code(), Code::PermissionDenied, "{again}");
    let mut forged: Vec<_> = token.split('.').map(str::to_owned).collect();
    forged[2] = forged[2].chars().rev().collect();
    let unknown = ask(forged.join(".")).unwrap_err();
    assert_eq!(unknown.code(), Code::PermissionDenied, "{unknown}");
    assert_eq!(again.message(), unknown.message(), "used and forged tokens are refused with one text, which helps nobody to guess");
    deployment.refused_for("bad_token").unwrap();
}

#[test]
fn a_server_without_the_pinned_key_gets_nothing() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let token = deployment.server.enrol_token().unwrap();
    let (start, _) = token.rsplit_once('.').unwrap();
    let other = format!("{start}.{}", "A".repeat(43));
    let address = deployment.server.agent_address();
    let (_, csr) = key_and_csr().unwrap();
    let error = deployment.block_on(async move { enrolment_request(address, &other, "pin", csr).await }).unwrap_err();
    assert!(format!("{error:#}").contains("pinned key"), "{error:#}");
    let (_, csr) = key_and_csr().unwrap();
    deployment
        .block_on(async move { enrolment_request(address, &token, "pin", csr).await })
        .unwrap()
        .expect("the token was not burned by the refused handshake");
}

#[test]
fn without_a_certificate() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let identity = deployment.enrol("bare").unwrap();
    refusal_of(&deployment, identity.tls_without_certificate().unwrap(), hello(&identity.device_uid, SPOOL, "bare"));
    deployment.refused_for("no_certificate").unwrap();
    accepted(&deployment, &identity);
}

#[test]
fn with_a_certificate_of_another_ca() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let identity = deployment.enrol("foreign").unwrap();
    let spiffe = spiffe_of(&identity);
    let foreign = foreign_identity(&identity, &spiffe).unwrap();
    refusal_of(&deployment, foreign.tls().unwrap(), hello(&identity.device_uid, SPOOL, "foreign"));
    deployment.refused_for("unknown_ca").unwrap();
    accepted(&deployment, &identity);
}

fn spiffe_of(identity: &Identity) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(identity.chain[0].as_ref()).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = names.value.general_names.iter().find_map(|name| match name {
        x509_parser::extensions::GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    let uri = uri.expect("a device certificate carries a URI");
    assert!(uri.starts_with("spiffe://") && uri.ends_with(&format!("/agent/{}", identity.device_uid)), "{uri}");
    uri
}

#[test]
fn a_revoked_device_is_cut_off_at_once_and_stays_out() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let identity = deployment.enrol("revoked").unwrap();
    let other = deployment.enrol("innocent").unwrap();
    let address = deployment.server.agent_address();
    let (tls, first) = (identity.tls().unwrap(), hello(&identity.device_uid, SPOOL, "revoked"));
    let (link, _) = deployment.block_on(async move { Link::welcomed(address, tls, first).await }).unwrap();
    deployment.ctl.text(&["hosts", "revoke", &identity.device_uid, "--reason", "stolen", "--yes"]).unwrap();
    let status = deployment.block_on(link.ends_with()).unwrap();
    assert_ne!(status.code(), Code::Ok, "{status}");
    refusal_of(&deployment, identity.tls().unwrap(), hello(&identity.device_uid, SPOOL, "revoked"));
    let refusal = deployment.refused_for("revoked").unwrap();
    assert!(refusal.to_string().contains(&identity.device_uid), "{refusal}");
    accepted(&deployment, &other);
}

#[test]
fn a_revocation_survives_a_kill_of_the_server() {
    let mut deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let identity = deployment.enrol("revoked").unwrap();
    deployment.ctl.text(&["hosts", "revoke", &identity.device_uid, "--reason", "stolen", "--yes"]).unwrap();
    deployment.server.kill().unwrap();
    deployment.server.run().unwrap();
    refusal_of(&deployment, identity.tls().unwrap(), hello(&identity.device_uid, SPOOL, "revoked"));
    deployment.refused_for("revoked").unwrap();
}

#[test]
fn an_expired_certificate() {
    let deployment = Deployment::start(&ServerOptions { certificate_lifetime_s: 3, ..ServerOptions::default() }).unwrap();
    let identity = deployment.enrol("expired").unwrap();
    accepted(&deployment, &identity);
    std::thread::sleep(Duration::from_secs(4));
    refusal_of(&deployment, identity.tls().unwrap(), hello(&identity.device_uid, SPOOL, "expired"));
    deployment.refused_for("expired").unwrap();
}

#[test]
fn claiming_to_be_another_device() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let (mallory, alice) = (deployment.enrol("mallory").unwrap(), deployment.enrol("alice").unwrap());
    refusal_of(&deployment, mallory.tls().unwrap(), hello(&alice.device_uid, SPOOL, "alice"));
    let refusal = deployment.refused_for("identity_mismatch").unwrap();
    assert!(refusal.to_string().contains(&mallory.device_uid), "the refusal names who tried: {refusal}");
    accepted(&deployment, &alice);
}

#[test]
fn renewal_needs_a_valid_certificate_and_gives_one_for_the_new_key() {
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let identity = deployment.enrol("renewing").unwrap();
    let address = deployment.server.agent_address();
    let (key, csr_der) = key_and_csr().unwrap();
    let tls = identity.tls().unwrap();
    let request = picket_proto::v1::RenewRequest { csr_der: csr_der.clone() };
    let answer = deployment.block_on(async move { AgentGatewayClient::new(connect(address, tls).await.unwrap()).renew(request).await }).unwrap().into_inner();
    let chain: Vec<_> = answer.certificate_chain_der.into_iter().map(|der| rustls::pki_types::CertificateDer::from(der.to_vec())).collect();
    assert_ne!(chain[0], identity.chain[0]);
    let renewed = Identity { chain, key, ..identity.clone() };
    assert_eq!(spiffe_of(&renewed), spiffe_of(&identity), "the identity stays");
    accepted(&deployment, &renewed);
    // The old one is good until it expires: a crash between issue and storage loses nothing.
    accepted(&deployment, &identity);
    let bare = identity.tls_without_certificate().unwrap();
    let request = picket_proto::v1::RenewRequest { csr_der };
    let refused = deployment.block_on(async move { AgentGatewayClient::new(connect(address, bare).await?).renew(request).await.map_err(anyhow::Error::from) });
    assert!(refused.is_err(), "a caller without a certificate got one");
}

#[test]
fn a_real_agent_renews_at_half_life_with_a_new_key() {
    if let Some(reason) = can_trace() {
        return wait::skipped("a_real_agent_renews_at_half_life_with_a_new_key", &reason);
    }
    let lifetime_s = 20;
    let deployment = Deployment::start(&ServerOptions { certificate_lifetime_s: lifetime_s, ..ServerOptions::default() }).unwrap();
    let mut agent = deployment.agent(deployment.server.agent_address(), &AgentOptions::default()).unwrap();
    let before = identity_files(&agent.state());
    assert!(!before.is_empty(), "no identity in {}", agent.state().display());
    agent.run().unwrap();
    wait::until("the identity files change", Duration::from_secs(lifetime_s), || Ok((identity_files(&agent.state()) != before).then_some(()))).unwrap();
    // Past the first certificate's end the host is still connected, so it speaks with the second.
    std::thread::sleep(Duration::from_secs(lifetime_s));
    let before_refusals = deployment.refusals().unwrap();
    assert!(!before_refusals.iter().any(|refusal| refusal["reason"] == "expired"), "{before_refusals:?}");
    let hosts = deployment.ctl.lines(&["hosts", "list", "--format", "jsonl"]).unwrap();
    assert!(hosts[0].to_string().to_lowercase().contains("connected"), "{}", hosts[0]);
    agent.stop().unwrap();
}

/// Every file of the agent's state that holds its identity, with its content.
fn identity_files(state: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![state.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("identity")) {
                found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found.sort();
    found
}
