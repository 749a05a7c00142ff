//! The API that people and tools use: gRPC, gRPC-Web, and JSON over the same descriptors, behind one door that authenticates,
//! authorises and audits every call.

mod audit;
mod auth;
mod bridge;
mod call;
mod callers;
mod errors;
mod events;
mod export;
mod guard;
mod health;
mod hosts;
mod permissions;
mod server;
mod tokens;

pub use audit::{Audit, AuditWriter};
pub use callers::Callers;
pub use permissions::{Access, METHODS, Method};

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, header},
    middleware,
};
use picket_event::Timestamp;
use picket_lake::Lake;
use picket_proto::v1::{
    auth_server::AuthServer, events_server::EventsServer, hosts_server::HostsServer, server_server::ServerServer, tokens_server::TokensServer,
};
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::{
    config::ApiConfig,
    gateway::{Directory, Fleet},
    metrics::Metrics,
    pki::Authority,
    refusal::Refusals,
    sensor_health::SensorHealth,
    state::State,
    transport::Attempts,
};

/// A request has at most a query or some names in it.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// An answer may carry 10,000 events.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// What the API works with.
pub struct Api {
    /// State store.
    pub state: State,
    /// Events.
    pub lake: Lake,
    /// Sessions.
    pub fleet: Arc<Fleet>,
    /// How each host's sensor is.
    pub sensor_health: Arc<SensorHealth>,
    /// Devices.
    pub directory: Arc<Directory>,
    /// Refused attempts.
    pub refusals: Arc<Refusals>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The CA, for pins.
    pub authority: Arc<Authority>,
    /// Tokens.
    pub callers: Callers,
    /// Audit log.
    pub audit: Audit,
    /// Room for calls.
    pub calls: Arc<Semaphore>,
    /// Sign-in attempts by address.
    pub sign_ins: Attempts,
    /// Limits.
    pub config: ApiConfig,
    /// When the server started.
    pub started_at: Timestamp,
    /// When the last readiness check was, and what it said.
    pub readiness: health::Readiness,
}

impl Api {
    /// Everything that the API port serves.
    pub fn router(self: &Arc<Self>) -> Router {
        let services = self.services();
        let web = GrpcWebLayer::new().layer(services.clone());
        Router::new()
            .merge(bridge::router(Arc::clone(self), services))
            .merge(export::router(Arc::clone(self)))
            .merge(health::router(Arc::clone(self)))
            .fallback_service(
                web.map_request(|request: axum::extract::Request| request.map(tonic::body::Body::new)).map_response(|response| response.map(Body::new)),
            )
            // Answers are data for one caller: no cache keeps them, no browser guesses their type.
            .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
            .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
    }

    /// The gRPC services, each behind the guard.
    fn services(self: &Arc<Self>) -> Routes {
        macro_rules! service {
            ($server:ident, $face:expr) => {
                $server::new($face).max_decoding_message_size(REQUEST_BYTES_MAX).max_encoding_message_size(RESPONSE_BYTES_MAX)
            };
        }
        let router = Routes::new(service!(AuthServer, auth::AuthService(Arc::clone(self))))
            .add_service(service!(HostsServer, hosts::HostsService(Arc::clone(self))))
            .add_service(service!(TokensServer, tokens::TokensService(Arc::clone(self))))
            .add_service(service!(EventsServer, events::EventsService(Arc::clone(self))))
            .add_service(service!(ServerServer, server::ServerService(Arc::clone(self))))
            .into_axum_router()
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard::guard));
        Routes::from(router).prepare()
    }
}
