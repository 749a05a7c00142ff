//! JSON over HTTP: `POST /api/<service>/<method>`, made from the descriptors, so that there is one contract. The call goes through the same
//! services and the same guard as gRPC. Unknown fields are refused with their position. A streaming method answers NDJSON, one message a line; an
//! error after the first line is the last line, `{"error": {"code": …, "message": …}}`.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header, uri::PathAndQuery},
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use picket_proto::error::{code_text, http_status};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::json;
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    service::Routes,
};

use super::{
    Api, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, guard,
    permissions::{self, Access},
};
use crate::{clock, transport::Peer};

#[derive(Clone)]
struct Bridge {
    api: Arc<Api>,
    services: Routes,
    pool: DescriptorPool,
}

/// The routes below `/api`.
pub(super) fn router(api: Arc<Api>, services: Routes) -> Router {
    // The descriptors are compiled in; the permission test decodes the same bytes.
    let pool = DescriptorPool::decode(picket_proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
    Router::new().route("/api/{service}/{method}", post(call)).with_state(Bridge { api, services, pool })
}

async fn call(State(bridge): State<Bridge>, Path((service, method)): Path<(String, String)>, request: Request) -> Response {
    let path = format!("/{service}/{method}");
    let listed = permissions::find(&path);
    let descriptor = bridge.pool.get_service_by_name(&service).and_then(|service| service.methods().find(|known| known.name() == method));
    let Some(descriptor) = descriptor.filter(|_| listed != &permissions::UNKNOWN) else {
        return failure(&Status::unimplemented("no such method"));
    };
    let (parts, body) = request.into_parts();
    let Some(peer) = parts.extensions.get::<Peer>().cloned() else { return failure(&Status::internal("no peer")) };
    // Nothing is read for a caller who will be turned away; the guard does that, and records it.
    let known = bridge.api.callers.identify(&parts.headers, clock::now()).is_ok();
    let bytes_max = if known { REQUEST_BYTES_MAX } else { guard::UNKNOWN_BYTES_MAX };
    let message = if known || listed.access == Access::Public {
        read(&parts.headers, body, bytes_max, descriptor.input()).await
    } else {
        Ok(DynamicMessage::new(descriptor.input()))
    };
    match message {
        Ok(message) => match forward(&bridge, &descriptor, &path, message, &parts.headers, peer).await {
            Ok(response) => response,
            Err(status) => failure(&status),
        },
        Err(status) => failure(&status),
    }
}

async fn read(headers: &HeaderMap, body: Body, bytes_max: usize, input: MessageDescriptor) -> Result<DynamicMessage, Status> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    // Any other type is one that a foreign page could send without asking.
    if content_type.split(';').next().unwrap_or("").trim() != "application/json" {
        return Err(Status::invalid_argument("content-type must be application/json"));
    }
    let bytes = guard::read(body, bytes_max).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let mut json = serde_json::Deserializer::from_slice(text);
    let invalid = |error: serde_json::Error| Status::invalid_argument(error.to_string());
    let message = DynamicMessage::deserialize(input, &mut json).map_err(invalid)?;
    json.end().map_err(invalid)?;
    Ok(message)
}

async fn forward(bridge: &Bridge, method: &MethodDescriptor, path: &str, message: DynamicMessage, headers: &HeaderMap, peer: Peer) -> Result<Response, Status> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(peer);
    if let Some(token) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok()) {
        request.metadata_mut().insert("authorization", token);
    }
    let path: PathAndQuery = path.parse().map_err(|_| Status::unimplemented("no such method"))?;
    let codec = DynamicCodec { output: method.output() };
    let mut services = Grpc::new(bridge.services.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX).max_encoding_message_size(REQUEST_BYTES_MAX);
    services.ready().await.map_err(|_| Status::unavailable("the server is stopping"))?;
    if method.is_server_streaming() {
        let messages = services.server_streaming(request, path, codec).await?.into_inner();
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines(messages))).into_response());
    }
    let message = services.unary(request, path, codec).await?.into_inner();
    let text = serde_json::to_vec(&message).map_err(|_| Status::internal("the answer has no JSON form"))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn lines(messages: Streaming<DynamicMessage>) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    messages.map(|message| {
        let mut line = match message {
            Ok(message) => serde_json::to_vec(&message).unwrap_or_default(),
            Err(status) => json!({ "error": error_body(&status) }).to_string().into_bytes(),
        };
        line.push(b'\n');
        Ok(Bytes::from(line))
    })
}

fn error_body(status: &Status) -> serde_json::Value {
    json!({ "code": code_text(status.code()), "message": status.message() })
}

/// An answer that is no result, as Connect writes it.
pub(super) fn failure(status: &Status) -> Response {
    let http = match status.code() {
        // A method that is not there is a page that is not there.
        Code::Unimplemented => StatusCode::NOT_FOUND,
        code => StatusCode::from_u16(http_status(code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    (http, Json(error_body(status))).into_response()
}

/// Messages known only by their descriptor.
struct DynamicCodec {
    output: MessageDescriptor,
}

struct DynamicEncoder;

struct DynamicDecoder {
    output: MessageDescriptor,
}

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicDecoder {
        DynamicDecoder { output: self.output.clone() }
    }
}

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(buffer).map_err(|_| Status::internal("the message does not fit"))
    }
}

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        DynamicMessage::decode(self.output.clone(), bytes).map(Some).map_err(|_| Status::internal("the answer cannot be read"))
    }
}
