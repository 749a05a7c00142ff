//! One call from its admission to its end: who, may they, is there room, is it in the audit log.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::http::HeaderMap;
use parking_lot::Mutex;
use picket_proto::ServiceError;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Request, Status};

use super::{
    Api,
    audit::Reserved,
    callers::Caller,
    permissions::{Access, Effect, Method},
};
use crate::{clock, metrics::CallLabels, refusal::RefusalReason, state::AuditRow, transport::Peer};

/// What a handler may know and tell of the call it serves. In the extensions of every admitted request.
#[derive(Clone)]
pub struct Call {
    /// Who calls; nobody where the method is public.
    pub caller: Option<Caller>,
    /// From where.
    pub peer: IpAddr,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    target: String,
    user: String,
}

/// A call that runs. When it is dropped without [`OpenCall::finish`], its caller went away.
pub struct OpenCall {
    api: Arc<Api>,
    method: &'static Method,
    row: AuditRow,
    told: Arc<Mutex<Told>>,
    started: Instant,
    reserved: Option<Reserved>,
    _room: OwnedSemaphorePermit,
}

impl Call {
    /// The call that a request belongs to.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| Status::internal("a call that was never admitted"))
    }

    /// What the call is about, for the audit log.
    pub fn about(&self, target: impl Into<String>) {
        self.told.lock().target = target.into();
    }

    /// Who the caller turned out to be, where nobody was known before.
    pub fn by(&self, user: &str) {
        self.told.lock().user = user.to_owned();
    }

    /// The caller, who is there for every method that is not public.
    pub fn caller(&self) -> Result<&Caller, Status> {
        self.caller.as_ref().ok_or_else(|| Status::internal("a call without a caller"))
    }
}

impl Api {
    /// Admits a call, or says why not. What is denied is recorded here.
    pub async fn admit(self: &Arc<Self>, method: &'static Method, headers: &HeaderMap, peer: &Peer) -> Result<(Call, OpenCall), ServiceError> {
        let started = Instant::now();
        let peer = peer.address.ip();
        let mut row = AuditRow { at: clock::now(), method: method.name.to_owned(), peer_address: peer.to_string(), ..AuditRow::default() };
        let admitted = self.may(method, headers, peer);
        if let Ok(Some(caller)) = &admitted {
            row.user.clone_from(&caller.user);
        }
        let room = Arc::clone(&self.calls).try_acquire_owned();
        let refused = match (&admitted, &room) {
            (Err(refused), _) => Some(refused.clone()),
            (Ok(_), Err(_)) => Some(ServiceError::ResourceExhausted("too many calls at once; try again".to_owned())),
            (Ok(_), Ok(_)) => None,
        };
        let (caller, room) = match (admitted, room, refused) {
            (Ok(caller), Ok(room), None) => (caller, room),
            (_, _, refused) => {
                let refused = refused.unwrap_or(ServiceError::Cancelled);
                refused.code_text().clone_into(&mut row.outcome);
                self.count(method, refused.code_text(), started);
                self.audit.denied(row).await;
                return Err(refused);
            }
        };
        let reserved = match method.effect {
            Effect::Read => self.audit.reserve().await?,
            Effect::Change => self.audit.begin(row.clone()).await?,
        };
        let told = Arc::new(Mutex::new(Told { target: String::new(), user: row.user.clone() }));
        let call = Call { caller, peer, told: Arc::clone(&told) };
        Ok((call, OpenCall { api: Arc::clone(self), method, row, told, started, reserved: Some(reserved), _room: room }))
    }

    fn may(&self, method: &Method, headers: &HeaderMap, peer: IpAddr) -> Result<Option<Caller>, ServiceError> {
        if method.access == Access::Public {
            // Before anything is written for someone who has shown nothing.
            if self.sign_ins.admit(peer, Instant::now()) {
                return Ok(None);
            }
            self.refusals.record(peer, RefusalReason::RateLimited, None, "too many sign-in attempts");
            return Err(ServiceError::ResourceExhausted("too many attempts; try again in a few seconds".to_owned()));
        }
        let caller = self.callers.identify(headers, clock::now()).map_err(|problem| ServiceError::Unauthenticated(problem.text().to_owned()))?;
        // One role so far; whatever is not that role may do nothing.
        if caller.role != "admin" {
            return Err(ServiceError::PermissionDenied("this token's role does not allow that".to_owned()));
        }
        Ok(Some(caller))
    }

    fn count(&self, method: &Method, code: &'static str, started: Instant) {
        self.metrics.calls.get_or_create(&CallLabels { method: method.name, code }).inc();
        self.metrics.call_seconds.observe(started.elapsed().as_secs_f64());
    }
}

impl OpenCall {
    /// The call has ended with that code.
    pub fn finish(mut self, code: Code) {
        self.end(code);
    }

    fn end(&mut self, code: Code) {
        let Some(reserved) = self.reserved.take() else { return };
        let outcome = if code == Code::Ok { "ok" } else { picket_proto::error::code_text(code) };
        self.api.count(self.method, outcome, self.started);
        let told = self.told.lock();
        let row = AuditRow { target: told.target.clone(), user: told.user.clone(), outcome: outcome.to_owned(), ..self.row.clone() };
        reserved.finish(row);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
