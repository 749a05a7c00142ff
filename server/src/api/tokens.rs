//! `picket.v1.Tokens`: enrolment tokens.

use std::sync::Arc;

use picket_event::Timestamp;
use picket_proto::{
    ServiceError,
    v1::{
        CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest, RevokeTokenResponse, TokenView, token_view::State,
        tokens_server::Tokens,
    },
};
use tonic::{Request, Response, Status};

use super::{Api, call::Call, errors};
use crate::{
    clock,
    credential::{CredentialKind, Issued},
    refusal::sanitise,
    state::EnrolTokenRow,
};

const TTL_DEFAULT_S: u32 = 3_600;
const TTL_MAX_S: u32 = 24 * 3_600;
const LABEL_CHARS_MAX: usize = 128;

pub(super) struct TokensService(pub(super) Arc<Api>);

#[tonic::async_trait]
impl Tokens for TokensService {
    async fn create(&self, request: Request<CreateTokenRequest>) -> Result<Response<CreateTokenResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let ttl_s = match request.ttl_s {
            0 => TTL_DEFAULT_S,
            ttl_s if ttl_s <= TTL_MAX_S => ttl_s,
            _ => return Err(ServiceError::InvalidArgument(format!("ttl_s is at most {TTL_MAX_S}")).into()),
        };
        let issued = Issued::generate(CredentialKind::Enrolment).map_err(|error| errors::internal(&error))?;
        let label = sanitise(&request.label, LABEL_CHARS_MAX);
        call.about(format!("token {} {label}", issued.id));
        let now = clock::now();
        let expires_at = clock::after(now, u64::from(ttl_s));
        self.0.state.insert_enrol_token(&issued, &label, &call.caller()?.user, now, expires_at).await.map_err(errors::state)?;
        let token = issued.text_with_pin(self.0.authority.spki_sha256());
        Ok(Response::new(CreateTokenResponse { token, id: issued.id, expires_at: Some(clock::to_proto(expires_at)) }))
    }

    async fn list(&self, _request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let now = clock::now();
        let rows = self.0.state.enrol_tokens().await.map_err(errors::state)?;
        Ok(Response::new(ListTokensResponse { tokens: rows.into_iter().map(|row| view(row, now)).collect() }))
    }

    async fn revoke(&self, request: Request<RevokeTokenRequest>) -> Result<Response<RevokeTokenResponse>, Status> {
        let call = Call::of(&request)?;
        let id = request.into_inner().id;
        call.about(format!("token {id}"));
        if !self.0.state.revoke_enrol_token(&id, clock::now()).await.map_err(errors::state)? {
            return Err(ServiceError::NotFound("no open token has that id".to_owned()).into());
        }
        Ok(Response::new(RevokeTokenResponse {}))
    }
}

fn view(row: EnrolTokenRow, now: Timestamp) -> TokenView {
    let state = if row.used_at.is_some() {
        State::Used
    } else if row.revoked_at.is_some() {
        State::Revoked
    } else if row.expires_at <= now {
        State::Expired
    } else {
        State::Open
    };
    TokenView {
        id: row.id,
        label: row.label,
        state: state.into(),
        created_at: Some(clock::to_proto(row.created_at)),
        expires_at: Some(clock::to_proto(row.expires_at)),
        device_uid: row.device_uid.unwrap_or_default(),
    }
}
