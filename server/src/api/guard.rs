//! The one door to every gRPC method: nothing behind it runs without admission, and the answer's end ends the call.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
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

use super::{Api, call::OpenCall, permissions};
use crate::transport::Peer;

/// Middleware over every service.
pub(super) async fn guard(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response<Body> {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else { return Status::internal("no peer").into_http::<tonic::body::Body>().map(Body::new) };
    let method = permissions::find(request.uri().path());
    match api.admit(method, request.headers(), &peer).await {
        Err(refused) => Status::from(refused).into_http::<tonic::body::Body>().map(Body::new),
        Ok((call, open)) => {
            request.extensions_mut().insert(call);
            let response = next.run(request).await.into_response();
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
