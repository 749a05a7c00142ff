//! `picket.v1.AgentGateway`: identity first, then the session or the renewal.

use std::{net::IpAddr, sync::Arc, time::Instant};

use parking_lot::Mutex;
use picket_event::{DeviceUid, SpoolUid};
use picket_proto::v1::{AgentMessage, RenewRequest, RenewResponse, ServerMessage, agent_gateway_server::AgentGateway};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};
use tracing::{error, info};

use super::{DeviceProblem, Directory, Fleet, session::Session};
use crate::{
    clock,
    ingest::{Ingest, TokenBucket},
    pki::{Authority, DeviceIdentity, PkiError},
    refusal::{RefusalReason, Refusals},
    state::{Enrolled, State},
    transport::Peer,
};

/// Messages waiting for an agent that does not read; beyond it the session waits with it.
const OUTBOUND_MAX: usize = 64;

/// What the agent plane works with.
pub struct Gateway {
    /// Signs certificates.
    pub authority: Arc<Authority>,
    /// State store.
    pub state: State,
    /// Who may connect.
    pub directory: Arc<Directory>,
    /// Who is connected.
    pub fleet: Arc<Fleet>,
    /// Where batches go.
    pub ingest: Arc<Ingest>,
    /// Where refusals go.
    pub refusals: Arc<Refusals>,
    /// Life of a device certificate.
    pub certificate_lifetime_s: u64,
    /// Numbers the server's own events about devices; no agent may claim it.
    pub own_spool: SpoolUid,
    /// Window of a session.
    pub batches_in_flight_max: u32,
    /// A session without any message for so long is ended.
    pub silence_max_s: u64,
    /// Sessions drain when this is cancelled.
    pub stop: CancellationToken,
    /// Every session's task.
    pub sessions: TaskTracker,
}

impl Gateway {
    /// The device that makes a call, checked against the certificate, its expiry and the revocations, and the device's rate limit.
    fn admit<T>(&self, request: &Request<T>) -> Result<(Peer, DeviceIdentity, Arc<Mutex<TokenBucket>>), Status> {
        let peer = request.extensions().get::<Peer>().cloned().ok_or_else(|| Status::internal("no peer"))?;
        let address = peer.address.ip();
        let Some(identity) = peer.identity.clone() else {
            self.refusals.record(address, RefusalReason::NoCertificate, None, "an agent call without a client certificate");
            return Err(Status::unauthenticated("a client certificate is needed: enrol first"));
        };
        if identity.not_after <= clock::now() {
            self.refusals.record(address, RefusalReason::Expired, Some(identity.device), "the certificate expired while its connection was up");
            return Err(Status::unauthenticated("the certificate has expired"));
        }
        match self.directory.admit(identity.device) {
            Ok(rate) => Ok((peer, identity, rate)),
            Err(DeviceProblem::Revoked) => {
                self.refusals.record(address, RefusalReason::Revoked, Some(identity.device), "a call of a revoked device");
                Err(Status::permission_denied("this device was revoked"))
            }
            Err(DeviceProblem::Unknown) => {
                self.refusals.record(
                    address,
                    RefusalReason::IdentityMismatch,
                    Some(identity.device),
                    "the certificate names a device that this server does not know",
                );
                Err(Status::permission_denied("this server does not know this device: enrol again"))
            }
        }
    }

    async fn renewed(&self, address: IpAddr, device: DeviceUid, request: &RenewRequest) -> Result<RenewResponse, Status> {
        let certificate = match self.authority.issue_device(&request.csr_der, device, self.certificate_lifetime_s) {
            Ok(certificate) => certificate,
            Err(PkiError::Request(problem)) => {
                self.refusals.record(address, RefusalReason::Malformed, Some(device), &format!("renewal: {problem}"));
                return Err(Status::invalid_argument(format!("certificate request refused: {problem}")));
            }
            Err(error) => {
                error!(%device, error = &error as &dyn std::error::Error, "cannot renew a certificate");
                return Err(Status::internal("the certificate could not be made"));
            }
        };
        match self.state.renew(device, &certificate, clock::now()).await {
            Ok(Enrolled::Yes) => {}
            Ok(_) => return Err(Status::invalid_argument("a new certificate needs a new key")),
            Err(error) => {
                error!(%device, error = &error as &dyn std::error::Error, "cannot store a renewed certificate");
                return Err(Status::unavailable("the server cannot store now"));
            }
        }
        info!(%device, serial = certificate.serial, not_after = %clock::text(certificate.not_after), "certificate renewed");
        let chain = certificate.chain.iter().map(|der| der.to_vec()).collect();
        Ok(RenewResponse { certificate_chain_der: chain, trust_der: vec![self.authority.root().to_vec()] })
    }
}

/// The gRPC face of [`Gateway`].
#[derive(Clone)]
pub struct GatewayService(pub Arc<Gateway>);

#[tonic::async_trait]
impl AgentGateway for GatewayService {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let (peer, identity, rate) = self.0.admit(&request)?;
        // A renewal costs a signature and an fsync: it is paid from the device's own allowance, as a thousand events.
        if rate.lock().take(1_000, Instant::now()).is_err() {
            return Err(Status::resource_exhausted("too many calls of this device"));
        }
        self.0.renewed(peer.address.ip(), identity.device, request.get_ref()).await.map(Response::new)
    }

    type SessionStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn session(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        let (peer, identity, rate) = self.0.admit(&request)?;
        if self.0.stop.is_cancelled() {
            return Err(Status::unavailable("the server is stopping"));
        }
        let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
        let session = Session { gateway: Arc::clone(&self.0), identity, rate, address: peer.address, inbound: request.into_inner(), outbound };
        self.0.sessions.spawn(session.run());
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
