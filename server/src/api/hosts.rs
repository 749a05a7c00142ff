//! `picket.v1.Hosts`.

use std::{sync::Arc, time::Duration};

use picket_event::{DeviceUid, Timestamp};
use picket_proto::{
    ServiceError,
    v1::{
        HostView, ListHostsRequest, ListHostsResponse, RefreshHostRequest, Refusal, RefusalsRequest, RefusalsResponse, RevokeHostRequest, RevokeHostResponse,
        ScanHostRequest, ScanHostResponse, ScanPaths, ShowHostRequest, command::Action, command_result, host_view::State, hosts_server::Hosts,
    },
};
use prost::Message;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{Api, call::Call, errors};
use crate::{
    clock,
    gateway::{CommandError, EndReason},
    refusal::sanitise,
    sensor_health::Condition,
    state::{DeviceRow, RefusalRow},
};

const REFRESH_TIMEOUT: Duration = Duration::from_secs(10);
const REASON_CHARS_MAX: usize = 256;
const SCAN_PATHS_MAX: usize = 32;
const SCAN_PATH_BYTES_MAX: usize = 4_096;
const REFUSALS_DEFAULT: u32 = 100;
const REFUSALS_MAX: u32 = 10_000;

pub(super) struct HostsService(pub(super) Arc<Api>);

#[tonic::async_trait]
impl Hosts for HostsService {
    async fn list(&self, _request: Request<ListHostsRequest>) -> Result<Response<ListHostsResponse>, Status> {
        let rows = self.0.device_rows().await?;
        let hosts = rows.into_iter().map(|row| self.0.host_view(row)).collect::<Result<_, _>>()?;
        Ok(Response::new(ListHostsResponse { hosts }))
    }

    async fn show(&self, request: Request<ShowHostRequest>) -> Result<Response<HostView>, Status> {
        let call = Call::of(&request)?;
        let row = self.0.device_row(&request.into_inner().host, &call).await?;
        Ok(Response::new(self.0.host_view(row)?))
    }

    async fn revoke(&self, request: Request<RevokeHostRequest>) -> Result<Response<RevokeHostResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let row = self.0.device_row(&request.host, &call).await?;
        let device = parse_uid(&row)?;
        let reason = sanitise(&request.reason, REASON_CHARS_MAX);
        if !self.0.state.revoke_device(device, &reason, clock::now()).await.map_err(errors::state)? {
            return Err(ServiceError::FailedPrecondition("this host was revoked before".to_owned()).into());
        }
        // In this order: a session that begins between the two is refused, one that is up is ended.
        self.0.directory.revoke(device);
        self.0.fleet.end(device, EndReason::Revoked);
        info!(%device, hostname = row.hostname, reason, by = call.caller()?.user, "device revoked");
        Ok(Response::new(RevokeHostResponse {}))
    }

    async fn refresh(&self, request: Request<RefreshHostRequest>) -> Result<Response<HostView>, Status> {
        let call = Call::of(&request)?;
        let row = self.0.device_row(&request.into_inner().host, &call).await?;
        let device = parse_uid(&row)?;
        self.0.fleet.refresh(device, REFRESH_TIMEOUT).await.map_err(unanswered)?;
        let row = self.0.device_row(&row.uid, &call).await?;
        Ok(Response::new(self.0.host_view(row)?))
    }

    async fn scan(&self, request: Request<ScanHostRequest>) -> Result<Response<ScanHostResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        if !(1..=SCAN_PATHS_MAX).contains(&request.paths.len()) {
            return Err(ServiceError::InvalidArgument(format!("a scan takes 1 to {SCAN_PATHS_MAX} paths")).into());
        }
        if let Some(path) = request.paths.iter().find(|path| !path.starts_with('/') || path.len() > SCAN_PATH_BYTES_MAX) {
            return Err(ServiceError::InvalidArgument(format!("{} is no absolute path", sanitise(path, 64))).into());
        }
        let row = self.0.device_row(&request.host, &call).await?;
        let device = parse_uid(&row)?;
        let shown: Vec<String> = request.paths.iter().map(|path| sanitise(path, 64)).collect();
        info!(%device, hostname = row.hostname, paths = shown.join(" "), by = call.caller()?.user, "scan asked for");
        let action = Action::ScanPaths(ScanPaths { paths: request.paths });
        let answer = self.0.fleet.ask(device, action, REFRESH_TIMEOUT).await.map_err(unanswered)?;
        if answer.state != command_result::State::Done {
            return Err(ServiceError::FailedPrecondition(format!("the host refuses: {}", sanitise(&answer.detail, REASON_CHARS_MAX))).into());
        }
        Ok(Response::new(ScanHostResponse { command_uid: answer.command }))
    }

    async fn refusals(&self, request: Request<RefusalsRequest>) -> Result<Response<RefusalsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => REFUSALS_DEFAULT,
            limit => limit.min(REFUSALS_MAX),
        };
        self.0.refusals.flush().await.map_err(errors::state)?;
        let rows = self.0.state.refusals(limit).await.map_err(errors::state)?;
        Ok(Response::new(RefusalsResponse { refusals: rows.into_iter().map(refusal).collect() }))
    }
}

fn unanswered(problem: CommandError) -> ServiceError {
    match problem {
        CommandError::NotConnected => ServiceError::Unavailable("the host is not connected".to_owned()),
        CommandError::NoAnswer => ServiceError::DeadlineExceeded("the host did not answer within 10 s".to_owned()),
        CommandError::Busy => ServiceError::ResourceExhausted("too many commands wait for this host".to_owned()),
    }
}

impl Api {
    /// Every device, with what its session has told up to now.
    async fn device_rows(&self) -> Result<Vec<DeviceRow>, ServiceError> {
        self.fleet.flush().await.map_err(errors::state)?;
        self.state.devices().await.map_err(errors::state)
    }

    /// The device of a uid, or the only one of a host name.
    async fn device_row(&self, host: &str, call: &Call) -> Result<DeviceRow, ServiceError> {
        call.about(format!("host {host}"));
        let mut found = self.device_rows().await?.into_iter().filter(|row| row.uid == host || row.hostname == host);
        let row = found.next().ok_or_else(|| ServiceError::NotFound(format!("no host has the uid or name {}", sanitise(host, 64))))?;
        if found.next().is_some() {
            return Err(ServiceError::FailedPrecondition("several hosts have that name: give the uid".to_owned()));
        }
        call.about(format!("host {} {}", row.uid, row.hostname));
        Ok(row)
    }

    fn host_view(&self, row: DeviceRow) -> Result<HostView, ServiceError> {
        let device = parse_uid(&row)?;
        let live = self.fleet.view(device);
        let health = self.sensor_health.view(device).filter(|_| row.revoked_at.is_none());
        let last_seen_at = live.map(|live| live.last_message_at).max(row.last_seen_at);
        let state = match (row.revoked_at, health.as_ref().map(|health| health.condition), live, last_seen_at) {
            (Some(_), ..) => State::Revoked,
            (None, Some(Condition::Silent), ..) => State::Silent,
            (None, Some(Condition::Blinded), ..) => State::Blinded,
            (None, _, Some(_), _) => State::Connected,
            (None, Some(Condition::Stopped), None, _) => State::Stopped,
            (None, _, None, Some(_)) => State::Disconnected,
            (None, _, None, None) => State::Enrolled,
        };
        let (state_since, state_reason, problems) =
            health.map_or_else(Default::default, |health| (Some(clock::to_proto(health.since)), health.reason, health.problems));
        Ok(HostView {
            device_uid: row.uid,
            hostname: row.hostname,
            state: state.into(),
            host: decode(row.host)?,
            capabilities: decode(row.capabilities)?,
            heartbeat: decode(row.heartbeat)?,
            agent_version: row.agent_version,
            enrolled_at: Some(clock::to_proto(row.enrolled_at)),
            last_seen_at: last_seen_at.map(clock::to_proto),
            certificate_expires_at: Some(clock::to_proto(row.certificate_expires_at)),
            events_stored: self.lake.events_stored(device),
            clock_skew_ms: row.clock_skew_ms,
            state_reason,
            state_since,
            problems,
        })
    }
}

fn parse_uid(row: &DeviceRow) -> Result<DeviceUid, ServiceError> {
    row.uid.parse().map_err(|error: uuid::Error| errors::internal(&error))
}

fn decode<M: Message + Default>(stored: Option<Vec<u8>>) -> Result<Option<M>, ServiceError> {
    stored.map(|bytes| M::decode(bytes.as_slice())).transpose().map_err(|error| errors::internal(&error))
}

fn refusal(row: RefusalRow) -> Refusal {
    Refusal {
        at: Some(clock::to_proto(Timestamp(row.last_at.0))),
        peer_address: row.peer_address,
        reason: row.reason,
        device_uid: row.device_uid,
        detail: row.detail,
        count: u64::try_from(row.count).unwrap_or(0),
    }
}
