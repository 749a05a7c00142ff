//! `/metrics` on loopback: plain HTTP, its own listener, so that scraping needs no token and the API port tells nothing without one.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use picket_lake::Lake;
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// A scraper opens one or two; more is somebody else.
const CONNECTIONS_MAX: usize = 16;
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Figures {
    metrics: Arc<Metrics>,
    lake: Lake,
}

pub(super) async fn run(listener: TcpListener, metrics: Arc<Metrics>, lake: Lake, stop: CancellationToken) {
    let router = Router::new().route("/metrics", get(figures)).with_state(Figures { metrics, lake });
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                warn!(%error, "cannot accept on the metrics port");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
            let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
            builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            tokio::select! {
                ended = builder.serve_connection(TokioIo::new(tcp), service) => if let Err(error) = ended {
                    debug!(error = &*error, "metrics connection ended");
                },
                () = sleep(CONNECTION_LIFETIME) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn figures(State(figures): State<Figures>) -> Response {
    let text = figures.metrics.encode(&figures.lake.stats());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
