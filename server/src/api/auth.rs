//! `picket.v1.Auth`.

use std::{sync::Arc, time::Instant};

use picket_proto::{
    ServiceError,
    v1::{SignInRequest, SignInResponse, SignOutRequest, SignOutResponse, WhoAmIRequest, WhoAmIResponse, auth_server::Auth},
};
use tonic::{Request, Response, Status};
use tracing::info;

use super::{Api, call::Call, errors};
use crate::{
    clock,
    credential::{self, CredentialKind, Issued},
    refusal::{RefusalReason, sanitise},
    state::ApiTokenRow,
};

const LABEL_CHARS_MAX: usize = 128;
/// The one user so far.
const ADMIN: &str = "admin";

pub(super) struct AuthService(pub(super) Arc<Api>);

#[tonic::async_trait]
impl Auth for AuthService {
    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let call = Call::of(&request)?;
        let api = &self.0;
        let request = request.into_inner();
        let refused = || {
            api.sign_ins.failed(call.peer, Instant::now());
            api.refusals.record(call.peer, RefusalReason::BadToken, None, "sign-in code unknown, used or expired");
            Status::from(ServiceError::Unauthenticated("the code is unknown, used or expired: `picket-server sign-in` prints a new one".to_owned()))
        };
        let presented = credential::parse(CredentialKind::SignIn, &request.code).ok_or_else(refused)?;
        call.about(format!("code {}", presented.id));
        let token = Issued::generate(CredentialKind::Api).map_err(|error| errors::internal(&error))?;
        let now = clock::now();
        let expires_at = clock::after(now, api.config.token_lifetime_s);
        let label = sanitise(&request.label, LABEL_CHARS_MAX);
        if !api.state.redeem_sign_in_code(&presented, &token, &label, now, expires_at).await.map_err(errors::state)? {
            return Err(refused());
        }
        api.callers.add(ApiTokenRow { id: token.id.clone(), hash: token.hash, user: ADMIN.to_owned(), role: ADMIN.to_owned(), expires_at });
        call.by(ADMIN);
        info!(user = ADMIN, token = token.id, label, peer = %call.peer, "signed in");
        Ok(Response::new(SignInResponse { token: token.text().to_owned(), expires_at: Some(clock::to_proto(expires_at)), user: ADMIN.to_owned() }))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let call = Call::of(&request)?;
        let token_id = &call.caller()?.token_id;
        call.about(format!("token {token_id}"));
        self.0.callers.remove(token_id);
        self.0.state.revoke_api_token(token_id, clock::now()).await.map_err(errors::state)?;
        Ok(Response::new(SignOutResponse {}))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let call = Call::of(&request)?;
        let caller = call.caller()?;
        let server_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(WhoAmIResponse { user: caller.user.clone(), role: caller.role.clone(), server_version }))
    }
}
