//! One port: accepts, shakes hands, serves HTTP, ends in order.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::slots::Slots;
use crate::{
    metrics::{Metrics, PortLabels},
    pki::{DeviceIdentity, HandshakeConfig, classify, refused_device},
    refusal::{RefusalReason, Refusals},
};

/// A connection on which nothing was asked by then is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a connection to end by itself once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// Larger than the 64 KiB default, so that an agent far away can fill its line: a batch is up to 2 MiB.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Streams that a client may open and reset without reading ("rapid reset").
const RESETS_MAX: usize = 20;
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Who is at the other end of a connection. In the extensions of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Socket address; forwarded headers are never believed.
    pub address: SocketAddr,
    /// From the verified client certificate, where one was shown.
    pub identity: Option<DeviceIdentity>,
}

/// Limits of a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// For metrics and logs.
    pub name: &'static str,
    /// In all.
    pub connections_max: usize,
    /// From one address.
    pub connections_per_address_max: usize,
    /// Until the handshake must be done.
    pub handshake_timeout: Duration,
    /// Concurrent requests of one connection.
    pub streams_max: u32,
    /// A connection without a client certificate is ended after that, where one is expected.
    pub anonymous_lifetime: Option<Duration>,
}

/// A port that has not started yet.
pub struct Port {
    /// Limits.
    pub config: PortConfig,
    /// TLS.
    pub handshake: HandshakeConfig,
    /// Which deployment's certificates are believed.
    pub deployment: Uuid,
    /// What is served.
    pub router: Router,
    /// Where refused handshakes go.
    pub refusals: Arc<Refusals>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Port {
    /// Accepts until `stop`, then lets connections end by themselves for a while.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let slots = Slots::new(self.config.connections_max, self.config.connections_per_address_max);
        let port = Arc::new(self);
        let labels = PortLabels { port: port.config.name };
        let tracker = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors or memory: wait for some to come back instead of spinning.
                    warn!(port = port.config.name, %error, "cannot accept");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            let Some(slot) = slots.take(address.ip()) else {
                port.metrics.connections_rejected.get_or_create(&labels).inc();
                port.refusals.record(address.ip(), RefusalReason::RateLimited, None, "too many connections");
                continue;
            };
            let (port, stop, labels) = (Arc::clone(&port), stop.clone(), labels.clone());
            tracker.spawn(async move {
                port.metrics.connections.get_or_create(&labels).inc();
                port.serve(tcp, address, stop).await;
                port.metrics.connections.get_or_create(&labels).dec();
                drop(slot);
            });
        }
        drop(listener);
        tracker.close();
        if timeout(DRAIN_TIMEOUT + Duration::from_secs(1), tracker.wait()).await.is_err() {
            warn!(port = port.config.name, connections = tracker.len(), "connections did not end in time");
        }
    }

    async fn serve(&self, tcp: TcpStream, address: SocketAddr, stop: CancellationToken) {
        let shaken = tokio::select! {
            () = stop.cancelled() => return,
            shaken = timeout(self.config.handshake_timeout, self.shake(tcp, address)) => shaken,
        };
        match shaken {
            Ok(Some((tls, peer))) => self.serve_http(tls, peer, stop).await,
            Ok(None) => {}
            Err(_) => debug!(port = self.config.name, %address, "no handshake in time"),
        }
    }

    async fn shake(&self, tcp: TcpStream, address: SocketAddr) -> Option<(TlsStream<TcpStream>, Peer)> {
        // Answers are small and waited for.
        tcp.set_nodelay(true).ok()?;
        let (config, record) = match self.handshake.connection() {
            Ok(made) => made,
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "cannot make a tls configuration");
                return None;
            }
        };
        let tls = match TlsAcceptor::from(config).accept(tcp).await {
            Ok(tls) => tls,
            Err(error) => {
                match classify(&error) {
                    Some((reason, detail)) => self.refusals.record(address.ip(), reason, refused_device(&record), &detail),
                    None => debug!(port = self.config.name, %address, %error, "handshake failed"),
                }
                return None;
            }
        };
        let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = match shown.map(|leaf| DeviceIdentity::from_certificate(leaf, self.deployment)).transpose() {
            Ok(identity) => identity,
            Err(error) => {
                self.refusals.record(address.ip(), RefusalReason::IdentityMismatch, refused_device(&record), &error.to_string());
                return None;
            }
        };
        Some((tls, Peer { address, identity }))
    }

    async fn serve_http(&self, tls: TlsStream<TcpStream>, peer: Peer, stop: CancellationToken) {
        let is_http2 = tls.get_ref().1.alpn_protocol().is_some_and(|protocol| protocol == b"h2");
        let lifetime = self.config.anonymous_lifetime.filter(|_| peer.identity.is_none());
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (router, asked) = (self.router.clone(), Arc::clone(&asked));
            service_fn(move |request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer.clone());
                router.clone().oneshot(request)
            })
        };
        let builder = self.http(is_http2);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(tls), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stop.cancelled() => None,
            () = never_asked(&asked) => return,
            () = sleep(lifetime.unwrap_or_default()), if lifetime.is_some() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN_TIMEOUT, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            debug!(port = self.config.name, error = &*error, "connection ended");
        }
    }

    fn http(&self, is_http2: bool) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(FIRST_REQUEST_TIMEOUT).max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(self.config.streams_max)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        builder
    }
}

/// Ends when the first request is overdue, never when there was one.
async fn never_asked(asked: &AtomicBool) {
    sleep(FIRST_REQUEST_TIMEOUT).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
