//! A running server.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use picket_event::SpoolUid;
use picket_lake::{Lake, LakeConfig, QueryLimits, Retention};
use picket_proto::v1::{agent_gateway_server::AgentGatewayServer, enrolment_server::EnrolmentServer};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tracing::{error, info, warn};

use super::{Deployment, ServeError, background, metrics_port};
use crate::{
    api::{Api, Audit, Callers},
    clock,
    config::{LakeSection, ServerConfig},
    gateway::{Directory, EnrolmentService, Fleet, Gateway, GatewayService},
    ingest::Ingest,
    metrics::Metrics,
    pki::{HandshakeConfig, ServerCertificate},
    refusal::Refusals,
    sensor_health::{self, SensorHealth},
    state::{Instance, InstanceLock, State},
    transport::{Attempts, Port, PortConfig},
};

/// A whole batch and its envelope.
const AGENT_MESSAGE_BYTES_MAX: usize = picket_event::limits::BATCH_WIRE_BYTES_MAX + 64 * 1024;
/// A connection to the agent port without a certificate can only enrol.
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(30);
const FAILED_SIGN_INS_PER_SECOND_PER_ADDRESS: u32 = 2;
const SIGN_INS_PER_SECOND: u32 = 10;
/// Sessions have their own, shorter limit.
const SESSIONS_TIMEOUT: Duration = Duration::from_secs(7);

/// A server that answers on its ports until it is stopped.
pub struct Running {
    agents: SocketAddr,
    api: SocketAddr,
    metrics: Option<SocketAddr>,
    stop: CancellationToken,
    late_stop: CancellationToken,
    sessions: TaskTracker,
    ports: Vec<JoinHandle<()>>,
    writers: Vec<JoinHandle<()>>,
    fleet: Arc<Fleet>,
    lake: Lake,
    state: State,
    _lock: InstanceLock,
}

struct Listeners {
    agents: TcpListener,
    api: TcpListener,
    metrics: Option<TcpListener>,
}

/// What both planes are built from.
struct Rooms {
    deployment: Deployment,
    lake: Lake,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    directory: Arc<Directory>,
    fleet: Arc<Fleet>,
    sensor_health: Arc<SensorHealth>,
    own_spool: SpoolUid,
    certificate: Arc<ServerCertificate>,
}

impl Running {
    /// Opens everything and starts to answer.
    pub async fn start(config: &ServerConfig) -> Result<Self, ServeError> {
        let deployment = Deployment::open(config).await?;
        let lock = Instance::lock(&config.state_dir)?;
        // Bound before the lake is opened: a port that is taken is told at once, not after a long recovery.
        let listeners = Listeners::bind(config).await?;
        let addresses = listeners.addresses(config);
        let rooms = Rooms::open(config, deployment).await?;
        let (stop, late_stop) = (CancellationToken::new(), CancellationToken::new());
        let sessions = TaskTracker::new();
        let (audit, audit_writer) = Audit::new(rooms.deployment.state.clone());
        let writers = vec![
            tokio::spawn(audit_writer.run(late_stop.clone())),
            tokio::spawn(Arc::clone(&rooms.refusals).run(late_stop.clone())),
            tokio::spawn(Arc::clone(&rooms.fleet).run(late_stop.clone())),
            // Sessions that this server ends are nobody's silence.
            tokio::spawn(Arc::clone(&rooms.sensor_health).run(stop.clone())),
            tokio::spawn(background::renew_certificate(Arc::clone(&rooms.certificate), late_stop.clone())),
            tokio::spawn(background::prune_certificates(rooms.deployment.state.clone(), late_stop.clone())),
            tokio::spawn(background::watchdog(late_stop.clone())),
        ];
        let agent_port = rooms.agent_port(config, &stop, &sessions)?;
        let api_port = rooms.api_port(config, audit).await?;
        let mut ports = vec![tokio::spawn(agent_port.run(listeners.agents, stop.clone())), tokio::spawn(api_port.run(listeners.api, stop.clone()))];
        if let Some(listener) = listeners.metrics {
            ports.push(tokio::spawn(metrics_port::run(listener, Arc::clone(&rooms.metrics), rooms.lake.clone(), late_stop.clone())));
        }
        let (agents, api, metrics) = addresses;
        let running = Self {
            agents,
            api,
            metrics,
            stop,
            late_stop,
            sessions,
            ports,
            writers,
            fleet: rooms.fleet,
            lake: rooms.lake,
            state: rooms.deployment.state,
            _lock: lock,
        };
        running.announce(&config.state_dir)?;
        Ok(running)
    }

    /// Address of the agent port.
    #[must_use]
    pub fn agents(&self) -> SocketAddr {
        self.agents
    }

    /// Address of the API port.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Address of the metrics port.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Stops: no new connections, batches on their way are stored and acknowledged, everything is flushed and closed.
    pub async fn stop(self) {
        info!("stopping");
        self.stop.cancel();
        self.sessions.close();
        if timeout(SESSIONS_TIMEOUT, self.sessions.wait()).await.is_err() {
            warn!(sessions = self.sessions.len(), "sessions did not end in time; their agents keep what was not acknowledged");
        }
        let late_stop = self.late_stop;
        let mut ports = self.ports.into_iter();
        for port in ports.by_ref().take(2) {
            ended(port, "port").await;
        }
        late_stop.cancel();
        for task in ports.chain(self.writers) {
            ended(task, "writer").await;
        }
        if let Err(error) = self.fleet.flush().await {
            error!(error = &error as &dyn std::error::Error, "device state could not be written");
        }
        self.lake.shutdown().await;
        self.state.close().await;
        info!("stopped");
    }

    /// Tells scripts where the ports are: with port 0 in the configuration nobody else knows.
    fn announce(&self, state_dir: &Path) -> Result<(), ServeError> {
        let path = state_dir.join("listening.json");
        let addresses = json!({ "agents": self.agents, "api": self.api, "metrics": self.metrics });
        crate::pki::write_private(&path, addresses.to_string().as_bytes()).map_err(|source| ServeError::Announce { path, source })?;
        info!(agents = %self.agents, api = %self.api, metrics = ?self.metrics, "listening");
        Ok(())
    }
}

async fn ended(task: JoinHandle<()>, what: &'static str) {
    if let Err(error) = task.await {
        error!(%error, "{what} task failed");
    }
}

impl Listeners {
    async fn bind(config: &ServerConfig) -> Result<Self, ServeError> {
        let agents = bind("agents", config.agents.listen).await?;
        let api = bind("api", config.api.listen).await?;
        let metrics = if config.metrics.enabled { Some(bind("metrics", config.metrics.listen).await?) } else { None };
        Ok(Self { agents, api, metrics })
    }

    fn addresses(&self, config: &ServerConfig) -> (SocketAddr, SocketAddr, Option<SocketAddr>) {
        let bound = |listener: &TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
        let metrics = self.metrics.as_ref().map(|listener| bound(listener, config.metrics.listen));
        (bound(&self.agents, config.agents.listen), bound(&self.api, config.api.listen), metrics)
    }
}

async fn bind(port: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { port, address, source })
}

impl Rooms {
    async fn open(config: &ServerConfig, deployment: Deployment) -> Result<Self, ServeError> {
        let state = deployment.state.clone();
        let metrics = Arc::new(Metrics::new());
        let lake = Lake::open(lake_config(&config.lake, &config.state_dir, &deployment))?;
        let refusals = Arc::new(Refusals::new(state.clone(), Arc::clone(&metrics)));
        let directory = Arc::new(Directory::load(&state, config.agents.events_per_second_max).await?);
        let fleet = Arc::new(Fleet::new(state.clone(), Arc::clone(&metrics)));
        let own_spool = SpoolUid(deployment.instance.deployment);
        let health = sensor_health::Rooms {
            state,
            lake: lake.clone(),
            own_spool,
            fleet: Arc::clone(&fleet),
            directory: Arc::clone(&directory),
            metrics: Arc::clone(&metrics),
        };
        let sensor_health = Arc::new(SensorHealth::load(health, &config.agents).await?);
        let certificate = ServerCertificate::new(Arc::clone(&deployment.authority), &config.tls.names, config.tls.certificate_lifetime_s)?;
        let certificate = Arc::new(certificate);
        Ok(Self { deployment, lake, metrics, refusals, directory, fleet, sensor_health, own_spool, certificate })
    }

    fn agent_port(&self, config: &ServerConfig, stop: &CancellationToken, sessions: &TaskTracker) -> Result<Port, ServeError> {
        let gateway = Arc::new(Gateway {
            authority: Arc::clone(&self.deployment.authority),
            state: self.deployment.state.clone(),
            directory: Arc::clone(&self.directory),
            fleet: Arc::clone(&self.fleet),
            ingest: Arc::new(Ingest::new(self.lake.clone(), Arc::clone(&self.metrics), Arc::clone(&self.refusals))),
            refusals: Arc::clone(&self.refusals),
            certificate_lifetime_s: config.enrolment.certificate_lifetime_s,
            own_spool: self.own_spool,
            batches_in_flight_max: config.agents.batches_in_flight_max,
            silence_max_s: config.agents.silence_max_s,
            stop: stop.clone(),
            sessions: sessions.clone(),
        });
        let limits = &config.enrolment;
        let enrolment = EnrolmentService::new(Arc::clone(&gateway), limits.attempts_per_second_per_address, limits.attempts_per_second);
        let routes = Routes::new(EnrolmentServer::new(enrolment).max_decoding_message_size(64 * 1024))
            .add_service(AgentGatewayServer::new(GatewayService(gateway)).max_decoding_message_size(AGENT_MESSAGE_BYTES_MAX))
            .prepare();
        let limits = PortConfig {
            name: "agents",
            connections_max: config.agents.connections_max,
            connections_per_address_max: config.agents.connections_per_address_max,
            handshake_timeout: Duration::from_millis(config.agents.handshake_timeout_ms),
            // A session and a renewal, and some that have not ended.
            streams_max: 8,
            anonymous_lifetime: Some(ENROLMENT_LIFETIME),
        };
        let handshake = HandshakeConfig::agents(&self.deployment.authority, Arc::clone(&self.certificate))?;
        Ok(self.port(limits, handshake, routes.into_axum_router()))
    }

    async fn api_port(&self, config: &ServerConfig, audit: Audit) -> Result<Port, ServeError> {
        let callers = Callers::load(&self.deployment.state).await?;
        if callers.is_empty() {
            info!("nobody is signed in: `picket-server sign-in` prints a one-time code");
        }
        let api = Arc::new(Api {
            state: self.deployment.state.clone(),
            lake: self.lake.clone(),
            fleet: Arc::clone(&self.fleet),
            sensor_health: Arc::clone(&self.sensor_health),
            directory: Arc::clone(&self.directory),
            refusals: Arc::clone(&self.refusals),
            metrics: Arc::clone(&self.metrics),
            authority: Arc::clone(&self.deployment.authority),
            callers,
            audit,
            calls: Arc::new(Semaphore::new(config.api.calls_max)),
            sign_ins: Attempts::new(FAILED_SIGN_INS_PER_SECOND_PER_ADDRESS, SIGN_INS_PER_SECOND),
            config: config.api.clone(),
            started_at: clock::now(),
            readiness: Default::default(),
        });
        let limits = PortConfig {
            name: "api",
            connections_max: config.api.connections_max,
            connections_per_address_max: config.api.connections_per_address_max,
            handshake_timeout: Duration::from_millis(config.api.handshake_timeout_ms),
            streams_max: 100,
            anonymous_lifetime: None,
        };
        Ok(self.port(limits, HandshakeConfig::api(Arc::clone(&self.certificate)), api.router()))
    }

    fn port(&self, config: PortConfig, handshake: HandshakeConfig, router: axum::Router) -> Port {
        let (refusals, metrics) = (Arc::clone(&self.refusals), Arc::clone(&self.metrics));
        Port { config, handshake, deployment: self.deployment.instance.deployment, router, refusals, metrics }
    }
}

fn lake_config(section: &LakeSection, state_dir: &Path, deployment: &Deployment) -> LakeConfig {
    LakeConfig {
        dir: state_dir.join("lake"),
        server_uid: deployment.instance.deployment.to_string(),
        segment_bytes: section.segment_bytes,
        flush_interval: Duration::from_secs(section.flush_interval_s),
        tail_rows_max: section.tail_rows_max,
        retention: Retention { days: Some(section.retention_days).filter(|days| *days > 0), bytes: Some(section.retention_bytes).filter(|bytes| *bytes > 0) },
        query: QueryLimits {
            memory_bytes: section.query_memory_bytes,
            timeout: Duration::from_secs(section.query_timeout_s),
            rows_max: section.query_rows_max,
            concurrent_max: section.queries_max,
        },
        compaction: section.compaction,
        disk_free_bytes_min: section.disk_free_bytes_min,
    }
}
