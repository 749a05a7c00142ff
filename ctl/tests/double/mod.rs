//! A server that speaks the API with canned answers, over real TLS, so that the command line is tested as a program.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use picket_proto::v1::{self, auth_server, events_server, hosts_server, server_server, tokens_server};
use picket_proto::values::{to_list, to_struct};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// The one token that the double accepts.
pub(crate) const TOKEN: &str = "pk1.id.secret";

/// The sign-in secret that it accepts.
pub(crate) const CODE: &str = "ps1.id.secret";

/// Events that a search for everything finds.
pub(crate) const STORED: usize = 2_500;

/// What the double was asked, and how it is to behave.
#[derive(Default)]
pub(crate) struct Shared {
    /// Calls as `method argument`, in order.
    pub(crate) calls: Mutex<Vec<String>>,
    /// The server's version.
    pub(crate) version: Mutex<String>,
    /// The hosts it knows.
    pub(crate) hosts: Mutex<Vec<v1::HostView>>,
}

/// A running double; ends when dropped.
pub(crate) struct Double {
    /// `https://127.0.0.1:<port>`.
    pub(crate) url: String,
    /// base64url of the SHA-256 of its CA's public key.
    pub(crate) pin: String,
    /// What it saw.
    pub(crate) shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    pub(crate) fn start() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let pin = URL_SAFE_NO_PAD.encode(Sha256::digest(ca_key.subject_public_key_info()));
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, ca_key).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&leaf_key, &ca).unwrap();
        let identity = Identity::from_pem(format!("{}{}", leaf.pem(), ca.pem()), leaf_key.serialize_pem());

        let shared =
            Arc::new(Shared { version: Mutex::new(env!("CARGO_PKG_VERSION").to_owned()), hosts: Mutex::new(vec![host("gpu01")]), ..Shared::default() });
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(identity, served, stopped, &tell));
        let address = told.recv().unwrap();
        Self { url: format!("https://{address}"), pin, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// A code that names this double's CA.
    pub(crate) fn code(&self) -> String {
        format!("{CODE}.{}", self.pin)
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.shared.calls.lock().unwrap().clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(identity: Identity, shared: Arc<Shared>, stopped: oneshot::Receiver<()>, tell: &std::sync::mpsc::Sender<SocketAddr>) {
    // Both sides of the process use one provider; a second installation is no error here.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        tell.send(incoming.local_addr().unwrap()).unwrap();
        let api = Api(shared);
        let serving = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap()
            .add_service(auth_server::AuthServer::new(api.clone()))
            .add_service(hosts_server::HostsServer::new(api.clone()))
            .add_service(events_server::EventsServer::new(api.clone()))
            .add_service(tokens_server::TokensServer::new(api.clone()))
            .add_service(server_server::ServerServer::new(api))
            .serve_with_incoming(incoming);
        tokio::select! {
            served = serving => served.unwrap(),
            _ = stopped => {}
        }
    });
}

/// A connected host with one probe that could not be attached.
fn host(name: &str) -> v1::HostView {
    let probe =
        |name: &str, attached: bool, reason: &str| v1::Probe { name: name.to_owned(), hook: format!("tp_btf/{name}"), attached, reason: reason.to_owned() };
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::HostView {
        device_uid: "0199-device".to_owned(),
        hostname: name.to_owned(),
        state: v1::host_view::State::Connected.into(),
        host: Some(v1::Host {
            hostname: name.to_owned(),
            kernel: "6.1.0-42-amd64".to_owned(),
            os_name: "Debian".to_owned(),
            cpus: 2,
            memory_bytes: 8 << 30,
            ..v1::Host::default()
        }),
        capabilities: Some(v1::CapabilityReport {
            probes: vec![probe("sched_process_exec", true, ""), probe("unlink", false, "no such tracepoint")],
            ring_bytes: 8 << 20,
            watches: vec![v1::Watch { path: "/srv/models".to_owned(), asset_class: "model".to_owned(), active: false, reason: "no such folder".to_owned() }],
            ..v1::CapabilityReport::default()
        }),
        heartbeat: Some(v1::Heartbeat {
            cpu_percent: 1.25,
            rss_bytes: 42 << 20,
            spool_bytes: 1536,
            losses: vec![v1::LossCounter { cause: "ring_full".to_owned(), class_uid: 1001, count: 7 }],
            ..v1::Heartbeat::default()
        }),
        agent_version: "0.1.0".to_owned(),
        enrolled_at: at(1_700_000_000),
        last_seen_at: at(1_700_000_100),
        events_stored: 12_345,
        ..v1::HostView::default()
    }
}

/// Event number `n`, newest first.
fn event(n: usize) -> Value {
    json!({
        "time": 1_700_000_000_000_i64 - i64::try_from(n).unwrap(), "class_uid": 1001, "activity_id": 14, "metadata": {"sequence": n}, "device": {"hostname": "gpu01"},
        "actor": {"process": {"name": "python3", "pid": 4711, "cmd_line": "python3 \u{1b}[2J train.py", "user": {"name": "alice"}, "parent_process": {"name": "bash", "pid": 1}}},
        "file": {"path": "/srv/models/a.safetensors"}
    })
}

/// What hosts told of their scans: one that was asked for, one of a file that changed, and a finding of each.
fn scans(query: &str) -> Option<Vec<Value>> {
    const START: i64 = 1_700_000_000_000;
    let scan = |uid: &str, activity: &str, after: i64, more: Value| {
        let mut event = json!({
            "time": START + after, "class_uid": 6007, "activity_name": activity, "device": {"uid": "0199-device", "hostname": "gpu01"}, "start_time": START,
            "scan": {"uid": uid, "name": "/srv/models", "type": "Manual"}, "command_uid": "command-1", "policy": {"version": "rules-1"}
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let finding = |uid: &str, title: &str| {
        json!({
            "time": START + 500, "class_uid": 2004, "severity": "Critical", "finding_info": {"title": title},
            "evidences": [{"file": {"path": "/srv/models/a\u{1b}[2J.pt"}}], "picket": {"scan_uid": uid, "rule": {"uid": "PICKET-PKL-001"}, "verdict": "malicious"}
        })
    };
    if query.starts_with("class:scan") {
        let done = json!({
            "end_time": START + 1_000, "num_files": 512, "num_detections": 1, "num_skipped_items": 2, "num_trusted_items": 3, "picket": {"scan": {"bytes": 1536}},
            "message": "Scan /srv/models completed."
        });
        let changed = json!({"scan": {"uid": "scan-2", "name": "/srv/b.pt", "type": "File Changed"}, "command_uid": ""});
        return Some(vec![scan("scan-2", "Completed", 2_000, changed), scan("scan-1", "Completed", 1_000, done), scan("scan-1", "Started", 0, json!({}))]);
    }
    query.starts_with("class:finding").then(|| vec![finding("scan-2", "of another scan"), finding("scan-1", "A pickle calls os.system")])
}

#[derive(Clone)]
struct Api(Arc<Shared>);

impl Api {
    fn called<T>(&self, request: &Request<T>, what: String) -> Result<(), Status> {
        if request.metadata().get("authorization").and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("token unknown or expired"));
        }
        self.0.calls.lock().unwrap().push(what);
        Ok(())
    }

    fn host(&self, name: &str) -> Result<v1::HostView, Status> {
        let hosts = self.0.hosts.lock().unwrap();
        hosts.iter().find(|host| host.hostname == name).cloned().ok_or_else(|| Status::not_found(format!("no host {name}")))
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn streamed<T: Send + 'static>(parts: Vec<T>) -> Streamed<T> {
    Box::pin(tokio_stream::iter(parts).map(Ok))
}

#[tonic::async_trait]
impl auth_server::Auth for Api {
    async fn sign_in(&self, request: Request<v1::SignInRequest>) -> Answer<v1::SignInResponse> {
        let code = request.into_inner().code;
        self.0.calls.lock().unwrap().push(format!("SignIn {code}"));
        if code != CODE {
            return Err(Status::permission_denied("code unknown, used or expired"));
        }
        let expires_at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
        Ok(Response::new(v1::SignInResponse { token: TOKEN.to_owned(), expires_at, user: "admin".to_owned() }))
    }

    async fn sign_out(&self, request: Request<v1::SignOutRequest>) -> Answer<v1::SignOutResponse> {
        self.called(&request, "SignOut".to_owned())?;
        Ok(Response::new(v1::SignOutResponse {}))
    }

    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Answer<v1::WhoAmIResponse> {
        self.called(&request, "WhoAmI".to_owned())?;
        let server_version = self.0.version.lock().unwrap().clone();
        Ok(Response::new(v1::WhoAmIResponse { user: "admin".to_owned(), role: "admin".to_owned(), server_version }))
    }
}

#[tonic::async_trait]
impl hosts_server::Hosts for Api {
    async fn list(&self, request: Request<v1::ListHostsRequest>) -> Answer<v1::ListHostsResponse> {
        self.called(&request, "Hosts/List".to_owned())?;
        Ok(Response::new(v1::ListHostsResponse { hosts: self.0.hosts.lock().unwrap().clone() }))
    }

    async fn show(&self, request: Request<v1::ShowHostRequest>) -> Answer<v1::HostView> {
        self.called(&request, format!("Hosts/Show {}", request.get_ref().host))?;
        self.host(&request.get_ref().host).map(Response::new)
    }

    async fn revoke(&self, request: Request<v1::RevokeHostRequest>) -> Answer<v1::RevokeHostResponse> {
        let asked = request.get_ref();
        self.called(&request, format!("Hosts/Revoke {} {}", asked.host, asked.reason))?;
        self.host(&asked.host).map(|_| Response::new(v1::RevokeHostResponse {}))
    }

    async fn refresh(&self, request: Request<v1::RefreshHostRequest>) -> Answer<v1::HostView> {
        self.called(&request, format!("Hosts/Refresh {}", request.get_ref().host))?;
        self.host(&request.get_ref().host).map(Response::new)
    }

    async fn scan(&self, request: Request<v1::ScanHostRequest>) -> Answer<v1::ScanHostResponse> {
        let asked = request.get_ref();
        self.called(&request, format!("Hosts/Scan {} {}", asked.host, asked.paths.join(",")))?;
        self.host(&asked.host).map(|_| Response::new(v1::ScanHostResponse { command_uid: "command-1".to_owned() }))
    }

    async fn refusals(&self, request: Request<v1::RefusalsRequest>) -> Answer<v1::RefusalsResponse> {
        self.called(&request, format!("Hosts/Refusals {}", request.get_ref().limit))?;
        let refusal = v1::Refusal {
            peer_address: "192.0.2.7".to_owned(),
            reason: "unknown_ca".to_owned(),
            count: 3,
            detail: "certificate of another CA".to_owned(),
            ..v1::Refusal::default()
        };
        Ok(Response::new(v1::RefusalsResponse { refusals: vec![refusal] }))
    }
}

#[tonic::async_trait]
impl events_server::Events for Api {
    type TailStream = Streamed<v1::TailResponse>;
    type SqlStream = Streamed<v1::SqlResponse>;

    async fn search(&self, request: Request<v1::SearchRequest>) -> Answer<v1::SearchResponse> {
        let asked = request.get_ref();
        self.called(&request, format!("Search {} limit {} cursor {}", asked.query, asked.limit, asked.cursor))?;
        if asked.query == "((" {
            return Err(Status::invalid_argument("query, position 2: a bracket is not closed"));
        }
        if let Some(events) = scans(&asked.query) {
            return Ok(Response::new(v1::SearchResponse { events: events.into_iter().filter_map(to_struct).collect(), ..v1::SearchResponse::default() }));
        }
        let from: usize = if asked.cursor.is_empty() { 0 } else { asked.cursor.parse().map_err(|_| Status::invalid_argument("cursor"))? };
        let to = (from + asked.limit as usize).min(STORED);
        let events = (from..to).filter_map(|n| to_struct(event(n))).collect();
        Ok(Response::new(v1::SearchResponse { events, cursor: if to < STORED { to.to_string() } else { String::new() }, stats: None }))
    }

    async fn tail(&self, request: Request<v1::TailRequest>) -> Answer<Self::TailStream> {
        self.called(&request, format!("Tail {} last {}", request.get_ref().query, request.get_ref().last))?;
        let part = |n: usize, missed| v1::TailResponse { events: to_struct(event(n)).into_iter().collect(), missed };
        Ok(Response::new(streamed(vec![part(1, 0), part(0, 9)])))
    }

    async fn sql(&self, request: Request<v1::SqlRequest>) -> Answer<Self::SqlStream> {
        let asked = request.get_ref();
        self.called(&request, format!("Sql {} limit {}", asked.sql, asked.row_limit))?;
        let column = |name: &str| v1::SqlColumn { name: name.to_owned(), r#type: "Int64".to_owned() };
        let limit = i64::from(asked.row_limit).min(3);
        let parts = [
            v1::sql_response::Part::Columns(v1::SqlColumns { columns: vec![column("n"), column("what")] }),
            v1::sql_response::Part::Rows(v1::SqlRows { rows: (0..limit).map(|n| to_list(vec![json!(n), json!("x")])).collect() }),
            v1::sql_response::Part::Stats(v1::QueryStats { rows: limit.unsigned_abs(), truncated: limit < 3, ..v1::QueryStats::default() }),
        ];
        Ok(Response::new(streamed(parts.into_iter().map(|part| v1::SqlResponse { part: Some(part) }).collect())))
    }

    async fn columns(&self, request: Request<v1::ColumnsRequest>) -> Answer<v1::ColumnsResponse> {
        self.called(&request, "Columns".to_owned())?;
        let column = v1::ColumnView { name: "file_path".to_owned(), r#type: "text".to_owned(), ocsf_path: "file.path".to_owned() };
        Ok(Response::new(v1::ColumnsResponse { columns: vec![column] }))
    }
}

#[tonic::async_trait]
impl tokens_server::Tokens for Api {
    async fn create(&self, request: Request<v1::CreateTokenRequest>) -> Answer<v1::CreateTokenResponse> {
        self.called(&request, format!("Tokens/Create {} {}", request.get_ref().ttl_s, request.get_ref().label))?;
        Ok(Response::new(v1::CreateTokenResponse { token: "pe1.t1.secret.pin".to_owned(), id: "t1".to_owned(), expires_at: None }))
    }

    async fn list(&self, request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        self.called(&request, "Tokens/List".to_owned())?;
        let token = v1::TokenView {
            id: "t1".to_owned(),
            label: "rack 7".to_owned(),
            state: v1::token_view::State::Used.into(),
            device_uid: "0199-device".to_owned(),
            ..v1::TokenView::default()
        };
        Ok(Response::new(v1::ListTokensResponse { tokens: vec![token] }))
    }

    async fn revoke(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::RevokeTokenResponse> {
        self.called(&request, format!("Tokens/Revoke {}", request.get_ref().id))?;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }
}

#[tonic::async_trait]
impl server_server::Server for Api {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.called(&request, "Status".to_owned())?;
        let version = self.0.version.lock().unwrap().clone();
        Ok(Response::new(v1::StatusResponse {
            version,
            events_stored: 1_000,
            lake_bytes: 40_000,
            lake_files: 3,
            agents_connected: 1,
            ..v1::StatusResponse::default()
        }))
    }

    async fn audit(&self, request: Request<v1::AuditRequest>) -> Answer<v1::AuditResponse> {
        self.called(&request, format!("Audit {}", request.get_ref().limit))?;
        let entry = v1::AuditEntry {
            user: "admin".to_owned(),
            method: "Hosts/Revoke".to_owned(),
            target: "gpu01".to_owned(),
            outcome: "ok".to_owned(),
            ..v1::AuditEntry::default()
        };
        Ok(Response::new(v1::AuditResponse { entries: vec![entry] }))
    }
}
