//! `picket.v1.Enrolment`: a token and a key in, an identity and a certificate out. The one service for peers without a certificate.

use std::{net::IpAddr, sync::Arc, time::Instant};

use picket_event::DeviceUid;
use picket_proto::v1::{EnrolRequest, EnrolResponse, enrolment_server::Enrolment};
use tonic::{Request, Response, Status};
use tracing::{error, info};
use uuid::Uuid;

use super::{Gateway, hello};
use crate::{
    clock, credential,
    credential::CredentialKind,
    pki::PkiError,
    refusal::{RefusalReason, Refusals},
    state::{self, Enrolled, TokenProblem},
    transport::{Attempts, Peer},
};

/// One text for every token that is not good, so that a guesser learns nothing.
const REFUSED: &str = "enrolment refused: the token is unknown, used, expired or revoked; ask for a new one";

/// The gRPC service.
pub struct EnrolmentService {
    gateway: Arc<Gateway>,
    attempts: Attempts,
}

impl EnrolmentService {
    /// With limits in failures a second of one address and attempts a second of all.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, per_address: u32, total: u32) -> Self {
        Self { gateway, attempts: Attempts::new(per_address, total) }
    }

    fn refusals(&self) -> &Refusals {
        &self.gateway.refusals
    }

    fn bad_token(&self, peer: IpAddr, problem: TokenProblem) -> Status {
        self.refusals().record(peer, RefusalReason::BadToken, None, problem.text());
        Status::permission_denied(REFUSED)
    }

    async fn enrolled(&self, peer: IpAddr, request: &EnrolRequest) -> Result<EnrolResponse, Status> {
        let state = &self.gateway.state;
        let now = clock::now();
        let presented = credential::parse(CredentialKind::Enrolment, &request.token).ok_or_else(|| self.bad_token(peer, TokenProblem::Unknown))?;
        if let Some(problem) = state.check_enrol_token(&presented, now).await.map_err(|error| unavailable(&error))? {
            return Err(self.bad_token(peer, problem));
        }
        let device = DeviceUid(Uuid::now_v7());
        let certificate = match self.gateway.authority.issue_device(&request.csr_der, device, self.gateway.certificate_lifetime_s) {
            Ok(certificate) => certificate,
            Err(PkiError::Request(problem)) => {
                self.refusals().record(peer, RefusalReason::Malformed, None, &format!("enrolment: {problem}"));
                return Err(Status::invalid_argument(format!("certificate request refused: {problem}")));
            }
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "cannot make a device certificate");
                return Err(Status::internal("the certificate could not be made"));
            }
        };
        let (hostname, agent_version) = (hello::hostname(&request.hostname), hello::version(&request.agent_version));
        let enrolment =
            state::Enrolment { token_id: &presented.id, device, hostname: &hostname, agent_version: &agent_version, certificate: &certificate, at: now };
        match state.enrol(&enrolment).await.map_err(|error| unavailable(&error))? {
            Enrolled::Yes => {}
            Enrolled::TokenGone => return Err(self.bad_token(peer, TokenProblem::Used)),
            Enrolled::KeyReused => return Err(Status::invalid_argument("every enrolment needs a new key")),
        }
        self.gateway.directory.add(device, false);
        info!(%device, hostname, %peer, token = presented.id, "device enrolled");
        Ok(EnrolResponse {
            device_uid: device.to_string(),
            certificate_chain_der: certificate.chain.iter().map(|der| der.to_vec()).collect(),
            trust_der: vec![self.gateway.authority.root().to_vec()],
        })
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip()).ok_or_else(|| Status::internal("no peer"))?;
        if !self.attempts.admit(peer, Instant::now()) {
            self.refusals().record(peer, RefusalReason::RateLimited, None, "too many failed enrolments, or too many at once");
            return Err(Status::resource_exhausted("too many attempts; try again in a few seconds"));
        }
        let enrolled = self.enrolled(peer, request.get_ref()).await;
        if enrolled.is_err() {
            self.attempts.failed(peer, Instant::now());
        }
        enrolled.map(Response::new)
    }
}

fn unavailable(error: &state::StateError) -> Status {
    error!(error = error as &dyn std::error::Error, "state store");
    Status::unavailable("the server cannot read its state now; try again")
}
