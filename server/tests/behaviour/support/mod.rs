//! A server on loopback with real sockets, a real state store and a real lake in a temporary folder, and agents that speak the real protocol.

#![expect(unreachable_pub, reason = "shared by every module of this binary")]

pub mod http;

use std::{net::SocketAddr, path::Path, time::Duration};

use picket_event::{Access, Activity, Actor, Event, EventFlags, File, FileActivityKind, FileSystemActivity, Process, ProcessUid, Severity, Timestamp};
use picket_proto::{
    frame,
    v1::{
        self, AgentMessage, EnrolRequest, EventBatch, Heartbeat, Hello, Host, ServerMessage, SignInRequest, agent_gateway_client::AgentGatewayClient,
        agent_message::Message as Up, auth_client::AuthClient, enrolment_client::EnrolmentClient, events_client::EventsClient, hosts_client::HostsClient,
        server_client::ServerClient, server_message::Message as Down, tokens_client::TokensClient,
    },
};
use picket_server::{
    config::ServerConfig,
    serve::{Deployment, Running},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};
use uuid::Uuid;

/// Longest wait for something that must happen; nothing is asserted about the time it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct TestServer {
    pub folder: tempfile::TempDir,
    pub config: ServerConfig,
    pub running: Option<Running>,
}

/// A host that has enrolled.
#[derive(Clone)]
pub struct Device {
    pub uid: String,
    pub chain_pem: String,
    pub key_pem: String,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        // The second test of a process finds it installed.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = "state_dir = \"state\"\n[agents]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[lake]\ndisk_free_bytes_min = 0\n";
        let mut config = ServerConfig::parse(text, &folder.path().join("server.toml")).expect("a configuration");
        change(&mut config);
        let running = Some(Running::start(&config).await.expect("a running server"));
        Self { folder, config, running }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("running")
    }

    pub async fn stop(&mut self) {
        self.running.take().expect("running").stop().await;
    }

    pub async fn restart(&mut self) {
        if self.running.is_some() {
            self.stop().await;
        }
        self.running = Some(Running::start(&self.config).await.expect("a restarted server"));
    }

    pub fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.state_dir().join("ca/root.pem")).expect("the root")
    }

    pub async fn token(&self) -> String {
        self.token_for(600).await
    }

    pub async fn token_for(&self, ttl_s: u64) -> String {
        let deployment = Deployment::open(&self.config).await.expect("the deployment");
        let token = deployment.enrolment_token(ttl_s, "test").await.expect("a token");
        deployment.state.close().await;
        token
    }

    pub async fn channel(&self, address: SocketAddr, identity: Option<&Device>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.ca_pem())).domain_name("localhost");
        if let Some(device) = identity {
            tls = tls.identity(Identity::from_pem(&device.chain_pem, &device.key_pem));
        }
        Channel::from_shared(format!("https://{address}")).expect("a url").tls_config(tls)?.connect_timeout(PATIENCE).connect().await
    }

    pub async fn agent_channel(&self, identity: Option<&Device>) -> Result<Channel, tonic::transport::Error> {
        self.channel(self.running().agents(), identity).await
    }

    pub async fn enrol_with(&self, token: &str, csr_der: Vec<u8>) -> Result<v1::EnrolResponse, Status> {
        let channel = self.agent_channel(None).await.expect("a connection");
        // The pin stays on the host.
        let token = token.split('.').take(3).collect::<Vec<_>>().join(".");
        let request = EnrolRequest { token, csr_der, hostname: "gpu-1".to_owned(), agent_version: "0.1.0".to_owned() };
        EnrolmentClient::new(channel).enrol(request).await.map(tonic::Response::into_inner)
    }

    pub async fn enrol(&self) -> Device {
        let key = new_key();
        let enrolled = self.enrol_with(&self.token().await, csr(&key)).await.expect("enrolled");
        Device { uid: enrolled.device_uid, chain_pem: chain_pem(&enrolled.certificate_chain_der), key_pem: key.serialize_pem() }
    }

    pub async fn gateway(&self, device: Option<&Device>) -> Result<AgentGatewayClient<Channel>, tonic::transport::Error> {
        Ok(AgentGatewayClient::new(self.agent_channel(device).await?).max_encoding_message_size(64 << 20))
    }

    pub async fn session(&self, device: &Device) -> Session {
        let gateway = self.gateway(Some(device)).await.expect("a connection");
        Session::open(gateway, device).await.expect("a session")
    }

    /// An admin, signed in.
    pub async fn admin(&self) -> Admin {
        let channel = self.channel(self.running().api(), None).await.expect("a connection");
        let deployment = Deployment::open(&self.config).await.expect("the deployment");
        let code = deployment.sign_in_code(600).await.expect("a code");
        deployment.state.close().await;
        let answer = AuthClient::new(channel.clone()).sign_in(SignInRequest { code, label: "test".to_owned() }).await.expect("signed in").into_inner();
        Admin { channel, token: answer.token }
    }
}

/// The API as an admin sees it.
#[derive(Clone)]
pub struct Admin {
    pub channel: Channel,
    pub token: String,
}

impl Admin {
    pub fn with<T>(&self, message: T) -> Request<T> {
        with_token(&self.token, message)
    }

    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    pub fn hosts(&self) -> HostsClient<Channel> {
        HostsClient::new(self.channel.clone())
    }

    pub fn tokens(&self) -> TokensClient<Channel> {
        TokensClient::new(self.channel.clone())
    }

    pub fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub fn server(&self) -> ServerClient<Channel> {
        ServerClient::new(self.channel.clone())
    }

    pub async fn refusals(&self) -> Vec<v1::Refusal> {
        self.hosts().refusals(self.with(v1::RefusalsRequest::default())).await.expect("refusals").into_inner().refusals
    }

    /// The refusals of a reason, waited for: a handshake's refusal is recorded after the peer has noticed it.
    pub async fn refusals_of(&self, reason: &str) -> Vec<v1::Refusal> {
        for _ in 0..200 {
            let found: Vec<_> = self.refusals().await.into_iter().filter(|refusal| refusal.reason == reason).collect();
            if !found.is_empty() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no refusal of reason {reason}: {:?}", self.refusals().await);
    }

    pub async fn host(&self, host: &str) -> v1::HostView {
        self.hosts().show(self.with(v1::ShowHostRequest { host: host.to_owned() })).await.expect("the host").into_inner()
    }

    pub async fn audit(&self) -> Vec<v1::AuditEntry> {
        self.server().audit(self.with(v1::AuditRequest { limit: 10_000 })).await.expect("the audit log").into_inner().entries
    }

    pub async fn search(&self, query: &str) -> Vec<prost_types::Struct> {
        let request = v1::SearchRequest { query: query.to_owned(), limit: 10_000, ..v1::SearchRequest::default() };
        self.events().search(self.with(request)).await.expect("a page").into_inner().events
    }
}

pub fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).expect("ascii"));
    request
}

/// One agent's stream.
pub struct Session {
    pub up: mpsc::Sender<AgentMessage>,
    pub down: Streaming<ServerMessage>,
    pub spool: Uuid,
}

impl Session {
    /// Opens the stream without a word.
    pub async fn silent(mut gateway: AgentGatewayClient<Channel>) -> Result<Self, Status> {
        let (up, messages) = mpsc::channel(64);
        let down = gateway.session(ReceiverStream::new(messages)).await?.into_inner();
        Ok(Self { up, down, spool: Uuid::new_v4() })
    }

    /// Opens the stream and says Hello.
    pub async fn open(gateway: AgentGatewayClient<Channel>, device: &Device) -> Result<Self, Status> {
        let mut session = Self::silent(gateway).await?;
        let hello = session.hello(device);
        session.send(Up::Hello(hello)).await;
        session.welcome().await.map(|_| session)
    }

    pub fn hello(&self, device: &Device) -> Hello {
        let host = Host { hostname: "gpu-1".to_owned(), kernel: "6.1.0".to_owned(), boot_id: "boot-1".to_owned(), ..Host::default() };
        Hello {
            agent_version: "0.1.0".to_owned(),
            protocol: 1,
            device_uid: device.uid.clone(),
            spool_uid: self.spool.to_string(),
            host: Some(host),
            ..Hello::default()
        }
    }

    pub async fn send(&self, message: Up) {
        self.up.send(AgentMessage { message: Some(message) }).await.expect("the stream is up");
    }

    pub async fn next(&mut self) -> Result<Down, Status> {
        let message = timeout(PATIENCE, self.down.message()).await.expect("an answer in time")?;
        message.and_then(|message| message.message).ok_or_else(|| Status::ok("the stream ended"))
    }

    pub async fn welcome(&mut self) -> Result<v1::Welcome, Status> {
        match self.next().await? {
            Down::Welcome(welcome) => Ok(welcome),
            other => panic!("not Welcome: {other:?}"),
        }
    }

    /// How the stream ends, whatever comes before.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    pub fn batch(&self, first_seq: u64, count: u32) -> EventBatch {
        let events: Vec<_> = (first_seq..first_seq + u64::from(count)).map(event).collect();
        EventBatch { spool_uid: self.spool.to_string(), first_seq, count, frame_zstd: frame::encode(&events).expect("a frame").into() }
    }

    pub async fn store(&mut self, first_seq: u64, count: u32) {
        self.send(Up::Batch(self.batch(first_seq, count))).await;
        assert_eq!(self.ack().await, first_seq + u64::from(count) - 1);
    }

    pub async fn ack(&mut self) -> u64 {
        match self.next().await.expect("an answer") {
            Down::Ack(ack) => {
                assert_eq!(ack.spool_uid, self.spool.to_string());
                ack.seq
            }
            other => panic!("not Ack: {other:?}"),
        }
    }

    pub async fn nack(&mut self) -> v1::Nack {
        match self.next().await.expect("an answer") {
            Down::Nack(nack) => nack,
            other => panic!("not Nack: {other:?}"),
        }
    }

    pub async fn heartbeat(&self) {
        let now = picket_server::clock::now();
        self.send(Up::Heartbeat(Heartbeat { time_ns: now.0, uptime_s: 5, rss_bytes: 1 << 20, ..Heartbeat::default() })).await;
    }
}

/// A numbered event: `/models/<number>.safetensors` was opened.
pub fn event(number: u64) -> Event {
    let process = Process {
        uid: ProcessUid::new("0a1b2c3d", 4026531836, 4242, 77),
        pid: 4242,
        name: "python3".to_owned(),
        path: "/usr/bin/python3".to_owned(),
        cmd_line: format!("python3 train.py --step {number}"),
        ..Process::default()
    };
    let file = File {
        path: format!("/models/{number}.safetensors"),
        inode: number,
        device: 1,
        size_bytes: Some(4096),
        mode: 0o100_644,
        owner_uid: 0,
        asset_class: "model".to_owned(),
        sha256: None,
    };
    Event {
        time: Timestamp(picket_server::clock::now().0),
        severity: Severity::Informational,
        flags: EventFlags::default(),
        actor: Some(Actor { process }),
        activity: Activity::File(FileSystemActivity::new(FileActivityKind::Open, Access::READ, file)),
    }
}

pub fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

pub fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::new(Vec::new()).expect("parameters").serialize_request(key).expect("a request").der().to_vec()
}

pub fn chain_pem(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| pem(&CertificateDer::from(der.as_slice()))).collect()
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ascii")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
