//! `GET /export/events.ndjson?query=&since=&until=&limit=`: every event that matches, newest first, one OCSF object a line, for tools that pull.
//!
//! Streams page by page: memory is one page, and a caller who goes away ends it. When it fails half way the last line says so, so that a short file
//! never passes for a whole one.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    http::{header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{Stream, stream};
use picket_event::{Timestamp, ocsf};
use picket_lake::SearchQuery;
use picket_proto::ServiceError;
use serde::Deserialize;
use serde_json::json;
use tonic::{Code, Status};

use super::{Api, bridge, call::OpenCall, errors, permissions};
use crate::transport::Peer;

const PAGE: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Selection {
    query: String,
    since: Option<String>,
    until: Option<String>,
    limit: Option<u64>,
}

struct Export {
    api: Arc<Api>,
    open: OpenCall,
    query: SearchQuery,
    left: u64,
}

pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new().route("/export/events.ndjson", get(export)).with_state(api)
}

async fn export(State(api): State<Arc<Api>>, request: Request) -> Response {
    // The body, which an export has not, is not to be held while waiting.
    let (parts, _) = request.into_parts();
    match begin(api, parts).await {
        Ok(export) => ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages(export))).into_response(),
        Err(error) => bridge::failure(&Status::from(error)),
    }
}

async fn begin(api: Arc<Api>, request: Parts) -> Result<Export, ServiceError> {
    let peer = request.extensions.get::<Peer>().cloned().ok_or_else(|| ServiceError::FailedPrecondition("no peer".to_owned()))?;
    let (call, open) = api.admit(&permissions::EXPORT, &request.headers, &peer).await?;
    let selected = Query::<Selection>::try_from_uri(&request.uri)
        .map_err(|error| ServiceError::InvalidArgument(error.body_text()))
        .and_then(|Query(selection)| Ok((search(&selection)?, selection.limit.unwrap_or(u64::MAX))));
    let (query, left) = match selected {
        Ok(selected) => selected,
        Err(error) => {
            open.finish(Code::InvalidArgument);
            return Err(error);
        }
    };
    call.about(query.query.clone());
    Ok(Export { api, open, query, left })
}

fn search(selection: &Selection) -> Result<SearchQuery, ServiceError> {
    let time = |text: &Option<String>| text.as_deref().map(time).transpose();
    Ok(SearchQuery { query: selection.query.clone(), since: time(&selection.since)?, until: time(&selection.until)?, limit: PAGE, cursor: None })
}

fn time(text: &str) -> Result<Timestamp, ServiceError> {
    let parsed: jiff::Timestamp =
        text.parse().map_err(|_| ServiceError::InvalidArgument("since and until are RFC 3339 times, as 2026-01-31T12:00:00Z".to_owned()))?;
    i64::try_from(parsed.as_nanosecond()).map(Timestamp).map_err(|_| ServiceError::InvalidArgument("a time out of range".to_owned()))
}

fn pages(export: Export) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        export.query.limit = usize::try_from(export.left).unwrap_or(PAGE).min(PAGE);
        match export.api.lake.search(export.query.clone()).await {
            Ok(page) => {
                let mut text = Vec::new();
                for event in &page.events {
                    text.extend_from_slice(ocsf::to_json(event).to_string().as_bytes());
                    text.push(b'\n');
                }
                export.left = export.left.saturating_sub(u64::try_from(page.events.len()).unwrap_or(0));
                let more = page.cursor.is_some() && export.left > 0;
                export.query.cursor = page.cursor;
                if more {
                    return Some((Ok(Bytes::from(text)), Some(export)));
                }
                export.open.finish(Code::Ok);
                Some((Ok(Bytes::from(text)), None))
            }
            Err(error) => {
                let error = errors::lake(error);
                let line = json!({ "error": { "code": error.code_text(), "message": error.to_string() } });
                export.open.finish(error.code());
                Some((Ok(Bytes::from(format!("{line}\n"))), None))
            }
        }
    })
}
