//! The one door to every gRPC method: nothing behind it runs without admission, and the answer's end ends the call.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, Response},
    middleware::Next,
    response::IntoResponse as _,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tonic::{Code, Status};

use super::{Api, REQUEST_BYTES_MAX, call::OpenCall, permissions};
use crate::{clock, transport::Peer};

/// A caller who has not signed in sends a code or nothing.
pub(super) const UNKNOWN_BYTES_MAX: usize = 16 * 1024;
/// A request is small; one that trickles holds a place that others need.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Middleware over every service.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response<Body> {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else { return failure(Status::internal("no peer")) };
    let method = permissions::find(request.uri().path());
    let (mut parts, body) = request.into_parts();
    let bytes_max = if api.callers.identify(&parts.headers, clock::now()).is_ok() { REQUEST_BYTES_MAX } else { UNKNOWN_BYTES_MAX };
    // Read before anything else: every method takes one message, and a place is only for calls that have come in whole. An answer before the
    // request's end would also reset its stream, and HTTP/2 takes some dozen of those for an attack on all calls of the connection.
    let body = read(body, bytes_max).await;
    let (call, open) = match api.admit(method, &parts.headers, &peer).await {
        Ok(admitted) => admitted,
        Err(refused) => return failure(refused.into()),
    };
    let body = match body {
        Ok(body) => body,
        Err(status) => {
            open.finish(status.code());
            return failure(status);
        }
    };
    parts.extensions.insert(call);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await.into_response();
    let (parts, body) = response.into_parts();
    // A call that failed at once has its status in the headers.
    match code(&parts.headers) {
        Some(code) => {
            open.finish(code);
            Response::from_parts(parts, body)
        }
        None => Response::from_parts(parts, Body::new(Guarded { body, open: Some(open) })),
    }
}

fn failure(status: Status) -> Response<Body> {
    status.into_http::<tonic::body::Body>().map(Body::new)
}

/// The whole body of a request, within a size and a time.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Status> {
    let too_large = || Status::resource_exhausted(format!("the request is larger than {bytes_max} bytes, or broke off"));
    if body.size_hint().lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(READ_TIMEOUT, axum::body::to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Status::deadline_exceeded("the request did not come in time")),
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// An answer on its way: its trailers tell how the call ended.
struct Guarded {
    body: Body,
    open: Option<OpenCall>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().map(|trailers| code(trailers).unwrap_or(Code::Unknown)),
            Poll::Ready(Some(Err(_))) => Some(Code::Internal),
            Poll::Ready(None) => Some(Code::Unknown),
            Poll::Pending => None,
        };
        if let Some(code) = ended
            && let Some(open) = self.open.take()
        {
            open.finish(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
