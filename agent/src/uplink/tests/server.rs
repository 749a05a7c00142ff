use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::Stream;
use picket_proto::v1::{
    Ack, AgentMessage, Command, CommandResult, EnrolRequest, EnrolResponse, Nack, RenewRequest, RenewResponse, ReportState, ServerMessage, Welcome,
    agent_gateway_server::{AgentGateway, AgentGatewayServer},
    agent_message::Message as Up,
    command::Action,
    enrolment_server::{Enrolment, EnrolmentServer},
    nack::Reason,
    server_message::Message as Down,
};
use picket_spool::Spool;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig, server::TcpIncoming},
};
use uuid::Uuid;

use crate::identity::{Identity, NewKey};

/// What happens to the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Busy,
    /// The server says that a batch is missing.
    Gap,
    Malformed,
    CloseBeforeStoring,
    CloseAfterStoring,
    /// The stream breaks with an error, answers lost.
    ResetConnection,
}

/// A deployment's CA.
pub(super) struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, Uuid::new_v4().to_string());
        Self { ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(super) fn pin(&self) -> String {
        let (_, parsed) = x509_parser::parse_x509_certificate(self.ca.der()).unwrap();
        URL_SAFE_NO_PAD.encode(Sha256::digest(parsed.tbs_certificate.subject_pki.raw))
    }

    /// A certificate for the key of a request, dated back an hour as a server does that allows for wrong clocks.
    fn sign(&self, csr_der: &[u8], lifetime: Duration) -> Vec<Vec<u8>> {
        let der = rustls::pki_types::CertificateSigningRequestDer::from(csr_der);
        let mut request = CertificateSigningRequestParams::from_der(&der).unwrap();
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = std::time::SystemTime::now();
        request.params.not_before = (now - Duration::from_secs(3_600)).into();
        request.params.not_after = (now + lifetime).into();
        let leaf = request.signed_by(&self.ca).unwrap();
        vec![leaf.der().to_vec(), self.ca.der().to_vec()]
    }

    pub(super) fn device(&self, url: url::Url, lifetime: Duration) -> Identity {
        let key = NewKey::generate().unwrap();
        Identity::new(Uuid::new_v4(), url, &key, self.sign(&key.csr_der, lifetime), vec![self.ca.der().to_vec()]).unwrap()
    }

    fn server(&self) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.ca).unwrap();
        TlsIdentity::from_pem(format!("{}{}", leaf.pem(), self.ca.pem()), key.serialize_pem())
    }
}

#[derive(Default)]
struct State {
    watermarks: HashMap<String, u64>,
    /// The numbers in the events of a spool, as stored.
    stored: HashMap<String, Vec<u64>>,
    faults: VecDeque<Fault>,
    commands: VecDeque<String>,
    results: Vec<CommandResult>,
    sessions: usize,
    heartbeats: usize,
    goodbyes: usize,
    enrolments: usize,
    renewals: usize,
}

pub(super) struct TestServer {
    pub(super) pki: Arc<Pki>,
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    pki: Arc<Pki>,
    state: Arc<Mutex<State>>,
}

impl TestServer {
    pub(super) async fn start(pki: Pki) -> Self {
        // tonic's own server side takes the process's provider; a second test finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (pki, state) = (Arc::new(pki), Arc::<Mutex<State>>::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServerTlsConfig::new().identity(pki.server()).client_ca_root(Certificate::from_pem(pki.ca.pem())).client_auth_optional(true);
        let service = Service { pki: Arc::clone(&pki), state: Arc::clone(&state) };
        let gateway = AgentGatewayServer::new(service.clone()).max_decoding_message_size(4 << 20);
        let router = Server::builder().tls_config(tls).unwrap().add_service(gateway).add_service(EnrolmentServer::new(service));
        let task = tokio::spawn(async move { router.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
        Self { pki, state, address, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn url(&self) -> url::Url {
        url::Url::parse(&format!("https://{}", self.address)).unwrap()
    }

    pub(super) fn faults_after(&self, batches: usize, faults: [Fault; 2]) {
        let faults = std::iter::repeat_n(Fault::None, batches).chain(faults).collect();
        self.state().faults = faults;
    }

    pub(super) fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    pub(super) fn pretend_watermark(&self, spool: Uuid, watermark: u64) {
        self.state().watermarks.insert(spool.to_string(), watermark);
    }

    pub(super) fn command(&self, id: &str) {
        self.state().commands.push_back(id.to_owned());
    }

    pub(super) fn numbers(&self, spool: &Spool) -> Vec<u64> {
        self.state().stored.get(&spool.state().spool_uid.to_string()).cloned().unwrap_or_default()
    }

    pub(super) fn results(&self) -> Vec<CommandResult> {
        self.state().results.clone()
    }

    pub(super) fn sessions(&self) -> usize {
        self.state().sessions
    }

    pub(super) fn heartbeats(&self) -> usize {
        self.state().heartbeats
    }

    pub(super) fn goodbyes(&self) -> usize {
        self.state().goodbyes
    }

    pub(super) fn enrolments(&self) -> usize {
        self.state().enrolments
    }

    pub(super) fn renewals(&self) -> usize {
        self.state().renewals
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        self.state.lock().unwrap().enrolments += 1;
        if request.token != "pe1.id.secret" {
            return Err(Status::permission_denied("the token is not valid"));
        }
        let certificate_chain_der = self.pki.sign(&request.csr_der, Duration::from_secs(3_600));
        Ok(Response::new(EnrolResponse { device_uid: Uuid::new_v4().to_string(), certificate_chain_der, trust_der: vec![self.pki.ca.der().to_vec()] }))
    }
}

#[tonic::async_trait]
impl AgentGateway for Service {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        self.state.lock().unwrap().renewals += 1;
        let certificate_chain_der = self.pki.sign(&request.into_inner().csr_der, Duration::from_secs(4));
        Ok(Response::new(RenewResponse { certificate_chain_der, trust_der: vec![self.pki.ca.der().to_vec()] }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn session(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        if request.peer_certs().is_none_or(|certificates| certificates.is_empty()) {
            return Err(Status::unauthenticated("no certificate"));
        }
        let (down, messages) = mpsc::channel(64);
        let this = self.clone();
        tokio::spawn(async move {
            let mut up = request.into_inner();
            if let Err(status) = this.talk(&mut up, &down).await {
                let _ = down.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// Ends the stream in order.
const CLOSED: Result<(), Status> = Ok(());

impl Service {
    async fn talk(&self, up: &mut Streaming<AgentMessage>, down: &mpsc::Sender<Result<ServerMessage, Status>>) -> Result<(), Status> {
        let send = async |message| down.send(Ok(ServerMessage { message: Some(message) })).await.map_err(|_| Status::cancelled("the agent is gone"));
        let Some(Up::Hello(hello)) = up.message().await?.and_then(|message| message.message) else {
            return Err(Status::failed_precondition("Hello comes first"));
        };
        let (watermark, commands) = {
            let state = &mut *self.state.lock().unwrap();
            state.sessions += 1;
            (state.watermarks.get(&hello.spool_uid).copied().unwrap_or(0), std::mem::take(&mut state.commands))
        };
        send(Down::Welcome(Welcome { watermark, batches_in_flight_max: 4, server_time_ns: 0 })).await?;
        for id in commands {
            send(Down::Command(Command { id, not_after_ns: i64::MAX, action: Some(Action::ReportState(ReportState {})) })).await?;
        }
        while let Some(message) = up.message().await? {
            match message.message {
                Some(Up::Batch(batch)) => {
                    assert_eq!(batch.spool_uid, hello.spool_uid);
                    let fault = self.state.lock().unwrap().faults.pop_front().unwrap_or(Fault::None);
                    match fault {
                        Fault::CloseBeforeStoring => return CLOSED,
                        Fault::ResetConnection => return Err(Status::unavailable("reset")),
                        _ => {}
                    }
                    let answer = self.answer(&batch, fault);
                    if fault == Fault::CloseAfterStoring {
                        return CLOSED;
                    }
                    send(answer).await?;
                }
                Some(Up::Heartbeat(_)) => self.state.lock().unwrap().heartbeats += 1,
                Some(Up::Goodbye(_)) => self.state.lock().unwrap().goodbyes += 1,
                Some(Up::Result(result)) => self.state.lock().unwrap().results.push(result),
                _ => return Err(Status::failed_precondition("not now")),
            }
        }
        CLOSED
    }

    fn answer(&self, batch: &picket_proto::v1::EventBatch, fault: Fault) -> Down {
        let state = &mut *self.state.lock().unwrap();
        let watermark = state.watermarks.entry(batch.spool_uid.clone()).or_default();
        let last = batch.first_seq + u64::from(batch.count) - 1;
        let nack = |reason: Reason, watermark| {
            Down::Nack(Nack {
                spool_uid: batch.spool_uid.clone(),
                first_seq: batch.first_seq,
                count: batch.count,
                reason: reason.into(),
                watermark,
                retry_after_ms: 30,
                ..Nack::default()
            })
        };
        if last <= *watermark {
            return Down::Ack(Ack { spool_uid: batch.spool_uid.clone(), seq: *watermark });
        }
        if batch.first_seq != *watermark + 1 || fault == Fault::Gap {
            return nack(Reason::Gap, *watermark);
        }
        if fault == Fault::Busy {
            return nack(Reason::Busy, *watermark);
        }
        let events = picket_proto::frame::decode(&batch.frame_zstd, batch.count);
        *watermark = last;
        match events {
            Ok(events) if fault != Fault::Malformed => {
                let stored = state.stored.entry(batch.spool_uid.clone()).or_default();
                for event in events {
                    let picket_event::Activity::Sensor(sensor) = event.activity else { panic!("not one of ours") };
                    stored.push(sensor.report["number"].as_u64().unwrap());
                }
                Down::Ack(Ack { spool_uid: batch.spool_uid.clone(), seq: last })
            }
            _ => nack(Reason::Malformed, last),
        }
    }
}
