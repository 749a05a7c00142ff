//! `picket.v1.Server`.

use std::sync::Arc;

use picket_proto::v1::{AuditEntry, AuditRequest, AuditResponse, StatusRequest, StatusResponse, server_server::Server};
use tonic::{Request, Response, Status};

use super::{Api, errors};
use crate::clock;

const AUDIT_DEFAULT: u32 = 100;
const AUDIT_MAX: u32 = 10_000;

pub(super) struct ServerService(pub(super) Arc<Api>);

#[tonic::async_trait]
impl Server for ServerService {
    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let stats = self.0.lake.stats();
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            events_stored: stats.events_stored,
            lake_bytes: stats.bytes,
            lake_files: stats.files,
            tail_events: stats.tail_events,
            log_bytes: stats.wal_bytes,
            agents_connected: u32::try_from(self.0.fleet.connected()).unwrap_or(u32::MAX),
            started_at: Some(clock::to_proto(self.0.started_at)),
        }))
    }

    async fn audit(&self, request: Request<AuditRequest>) -> Result<Response<AuditResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => AUDIT_DEFAULT,
            limit => limit.min(AUDIT_MAX),
        };
        let rows = self.0.state.audit(limit).await.map_err(errors::state)?;
        let entries = rows.into_iter().map(|row| AuditEntry {
            at: Some(clock::to_proto(row.at)),
            user: row.user,
            method: row.method,
            target: row.target,
            outcome: row.outcome,
            peer_address: row.peer_address,
        });
        Ok(Response::new(AuditResponse { entries: entries.collect() }))
    }
}
