//! Who is refused, and that the admin sees why.

use crate::support::{Device, Session, TestServer, csr, new_key};
use picket_event::DeviceUid;
use picket_proto::v1::{self, agent_message::Message as Up};
use picket_server::pki::Authority;
use tonic::{Code, Status};
use uuid::Uuid;

/// A device certificate of `authority`, for its own or another deployment.
fn device_of(authority: &Authority, lifetime_s: u64) -> Device {
    let key = new_key();
    let uid = DeviceUid(Uuid::now_v7());
    let issued = authority.issue_device(&csr(&key), uid, lifetime_s).unwrap();
    let chain: Vec<_> = issued.chain.iter().map(|der| der.to_vec()).collect();
    Device { uid: uid.to_string(), chain_pem: crate::support::chain_pem(&chain), key_pem: key.serialize_pem() }
}

fn authority(server: &TestServer) -> Authority {
    let instance: serde_json::Value = serde_json::from_slice(&std::fs::read(server.state_dir().join("instance.json")).unwrap()).unwrap();
    Authority::open(server.state_dir(), instance["deployment"].as_str().unwrap().parse().unwrap()).unwrap()
}

/// The refusal of a handshake reaches the client with its first call, or already while it connects.
async fn cannot_open(server: &TestServer, device: &Device) {
    if let Ok(gateway) = server.gateway(Some(device)).await {
        let mut session = match Session::silent(gateway).await {
            Ok(session) => session,
            Err(_) => return,
        };
        session.next().await.unwrap_err();
    }
}

async fn refused(server: &TestServer, device: &Device) -> Status {
    match Session::open(server.gateway(Some(device)).await.unwrap(), device).await {
        Ok(_) => panic!("not refused"),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let Err(status) = Session::silent(server.gateway(None).await.unwrap()).await else { panic!("not refused") };
    assert_eq!(status.code(), Code::Unauthenticated);
    let refusals = admin.refusals_of("no_certificate").await;
    assert_eq!((refusals[0].peer_address.as_str(), refusals[0].count), ("127.0.0.1", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_of_another_ca() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let folder = tempfile::tempdir().unwrap();
    let stranger = device_of(&Authority::open(folder.path(), authority(&server).deployment()).unwrap(), 600);
    cannot_open(&server, &stranger).await;
    let refusals = admin.refusals_of("unknown_ca").await;
    assert_eq!(refusals[0].device_uid, stranger.uid, "what it claimed to be");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_expired_certificate() {
    let server = TestServer::start_with(|config| config.enrolment.certificate_lifetime_s = 5).await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 1).await;
    // The session that is up ends with its certificate.
    assert_eq!(session.end().await.code(), Code::Unauthenticated);
    cannot_open(&server, &device).await;
    let refusals = admin.refusals_of("expired").await;
    assert_eq!(refusals[0].device_uid, device.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_servers_own_certificate() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let authority = authority(&server);
    let (issued, key) = authority.issue_server(&["localhost".to_owned()], 600).unwrap();
    let chain: Vec<_> = issued.chain.iter().map(|der| der.to_vec()).collect();
    let key_pem = rcgen::KeyPair::try_from(&key).unwrap().serialize_pem();
    cannot_open(&server, &Device { uid: String::new(), chain_pem: crate::support::chain_pem(&chain), key_pem }).await;
    admin.refusals_of("bad_certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_of_another_deployment_or_of_an_unknown_device() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let unknown = device_of(&authority(&server), 600);
    let Err(status) = Session::silent(server.gateway(Some(&unknown)).await.unwrap()).await else { panic!("not refused") };
    assert_eq!(status.code(), Code::PermissionDenied);
    let other = device_of(&Authority::open(server.state_dir(), Uuid::new_v4()).unwrap(), 600);
    cannot_open(&server, &other).await;
    let refused: Vec<_> =
        admin.refusals().await.into_iter().filter(|refusal| refusal.reason == "identity_mismatch").map(|refusal| refusal.device_uid).collect();
    assert!(refused.contains(&unknown.uid) && refused.contains(&other.uid), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_loses_its_session_and_stays_out() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (device, other) = (server.enrol().await, server.enrol().await);
    let mut session = server.session(&device).await;
    let mut bystander = server.session(&other).await;
    session.store(1, 1).await;
    let revoke = v1::RevokeHostRequest { host: device.uid.clone(), reason: "stolen".to_owned() };
    admin.hosts().revoke(admin.with(revoke.clone())).await.unwrap();
    assert_eq!(session.end().await.code(), Code::PermissionDenied);
    let Err(status) = Session::silent(server.gateway(Some(&device)).await.unwrap()).await else { panic!("not refused") };
    assert_eq!(status.code(), Code::PermissionDenied);
    let refusals = admin.refusals_of("revoked").await;
    assert_eq!(refusals[0].device_uid, device.uid);
    assert_eq!(admin.host(&device.uid).await.state(), v1::host_view::State::Revoked);
    assert_eq!(admin.hosts().revoke(admin.with(revoke)).await.unwrap_err().code(), Code::FailedPrecondition);
    bystander.store(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_outlives_a_restart() {
    let mut server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    admin.hosts().revoke(admin.with(v1::RevokeHostRequest { host: device.uid.clone(), reason: String::new() })).await.unwrap();
    server.restart().await;
    let Err(status) = Session::silent(server.gateway(Some(&device)).await.unwrap()).await else { panic!("not refused") };
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn claiming_to_be_another_device() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (device, victim) = (server.enrol().await, server.enrol().await);
    let claims = Device { uid: victim.uid.clone(), ..device.clone() };
    let status = refused(&server, &claims).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    let refusals = admin.refusals_of("identity_mismatch").await;
    assert_eq!(refusals[0].device_uid, device.uid, "the one that the certificate proves");
    assert!(refusals[0].detail.contains(&victim.uid), "{}", refusals[0].detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_on_two_hosts_is_suspected() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut first = server.session(&device).await;
    first.store(1, 1).await;
    let mut second = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
    let mut hello = second.hello(&device);
    hello.host.as_mut().unwrap().boot_id = "boot-2".to_owned();
    second.send(Up::Hello(hello)).await;
    second.welcome().await.unwrap();
    assert_eq!(first.end().await.code(), Code::Aborted);
    admin.refusals_of("possible_clone").await;

    // The same host that was booted again after it was last heard is no clone.
    let mut third = Session::silent(server.gateway(Some(&device)).await.unwrap()).await.unwrap();
    let mut hello = third.hello(&device);
    let host = hello.host.as_mut().unwrap();
    host.boot_id = "boot-3".to_owned();
    host.boot_time_ns = picket_server::clock::now().0;
    third.send(Up::Hello(hello)).await;
    third.welcome().await.unwrap();
    assert_eq!(admin.refusals_of("possible_clone").await[0].count, 1);
}
