//! The API over gRPC with a token of its own, for what a command line would be too slow for: a thousand enrolment tokens.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use picket_proto::v1::{
    CreateTokenRequest, SearchRequest, SearchResponse, SignInRequest, SqlRequest, StatusRequest, StatusResponse, TailRequest, TailResponse,
    auth_client::AuthClient, events_client::EventsClient, server_client::ServerClient, sql_response, tokens_client::TokensClient,
};
use tonic::{Request, Streaming, metadata::AsciiMetadataValue, transport::Channel};

use crate::agent_sim::{connect, pinned_tls};

/// A signed-in caller.
#[derive(Clone, Debug)]
pub struct Admin {
    channel: Channel,
    bearer: AsciiMetadataValue,
}

impl Admin {
    /// Exchanges a one-time code `ps1.<id>.<secret>.<pin>`, as `picket-server sign-in` prints it.
    pub async fn sign_in(api: SocketAddr, code: &str) -> Result<Self> {
        let (code, pin) = code.trim().rsplit_once('.').context("a sign-in code ends in its pin")?;
        let channel = connect(api, pinned_tls(pin, b"h2")?).await?;
        let request = SignInRequest { code: code.to_owned(), label: "picket-tests".to_owned() };
        let answer = AuthClient::new(channel.clone()).sign_in(request).await.context("sign in")?.into_inner();
        let bearer = format!("Bearer {}", answer.token).parse().context("a token is ASCII")?;
        Ok(Self { channel, bearer })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }

    /// A new enrolment token.
    pub async fn enrol_token(&self) -> Result<String> {
        let request = self.request(CreateTokenRequest { ttl_s: 3600, label: "load".to_owned() });
        Ok(TokensClient::new(self.channel.clone()).create(request).await.context("create a token")?.into_inner().token)
    }

    /// Figures of the server.
    pub async fn status(&self) -> Result<StatusResponse> {
        Ok(ServerClient::new(self.channel.clone()).status(self.request(StatusRequest {})).await.context("status")?.into_inner())
    }

    /// Follows new events that match, beginning with the `last` newest stored ones.
    pub async fn tail(&self, query: &str, last: u32) -> Result<Streaming<TailResponse>> {
        let request = self.request(TailRequest { query: query.to_owned(), last });
        Ok(EventsClient::new(self.channel.clone()).tail(request).await.context("tail")?.into_inner())
    }

    /// Runs a query to its end; gives its rows.
    pub async fn sql(&self, sql: &str) -> Result<Vec<Vec<serde_json::Value>>> {
        let request = self.request(SqlRequest { sql: sql.to_owned(), row_limit: 100_000, timeout_s: 300 });
        let mut parts = EventsClient::new(self.channel.clone()).sql(request).await.with_context(|| sql.to_owned())?.into_inner();
        let mut rows = Vec::new();
        while let Some(part) = parts.message().await.with_context(|| sql.to_owned())? {
            if let Some(sql_response::Part::Rows(more)) = part.part {
                rows.extend(more.rows.into_iter().map(picket_proto::values::from_list));
            }
        }
        Ok(rows)
    }

    /// The newest events that match.
    pub async fn search(&self, query: &str, limit: u32) -> Result<SearchResponse> {
        let request = self.request(SearchRequest { query: query.to_owned(), limit, ..SearchRequest::default() });
        Ok(EventsClient::new(self.channel.clone()).search(request).await.with_context(|| query.to_owned())?.into_inner())
    }
}
