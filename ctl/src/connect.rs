//! A connection to the API: TLS 1.3 to one pinned CA, gRPC over it, the context's token on every call.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use picket_proto::v1;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use url::Url;

use crate::context::{Context, Contexts};
use crate::error::CtlError;
use crate::pin::trusted_tls;

/// Longest wait for TCP and TLS. A server on another continent answers in one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer: 10,000 events of a few KiB each. The server is trusted to be ours, not to be free of bugs.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Puts the token on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Signed = InterceptedService<Channel, Bearer>;

/// A signed-in connection.
pub(crate) struct Session {
    /// For messages.
    pub(crate) url: String,
    channel: Signed,
}

impl Session {
    /// With the context of that name, else the current one.
    pub(crate) async fn open(name: Option<&str>) -> Result<Self, CtlError> {
        let contexts = Contexts::load()?;
        let (_, context) = contexts.pick(name)?;
        Self::of(context).await
    }

    /// With that context.
    pub(crate) async fn of(context: &Context) -> Result<Self, CtlError> {
        let url = context.url.clone();
        let token = context.token.as_deref().ok_or_else(|| CtlError::SignedOut { url: url.clone() })?;
        let bearer = format!("Bearer {token}").parse().map_err(|_| CtlError::SignedOut { url: url.clone() })?;
        let channel = channel(&parse_url(&url)?, trusted_tls(&context.ca_certificate)?).await?;
        Ok(Self { url, channel: InterceptedService::new(channel, Bearer(bearer)) })
    }

    /// Names the server in an error that it answered.
    pub(crate) fn failed(&self, status: Status) -> CtlError {
        answer(&self.url, status)
    }

    pub(crate) fn auth(&self) -> v1::auth_client::AuthClient<Signed> {
        v1::auth_client::AuthClient::new(self.channel.clone())
    }

    pub(crate) fn hosts(&self) -> v1::hosts_client::HostsClient<Signed> {
        v1::hosts_client::HostsClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn tokens(&self) -> v1::tokens_client::TokensClient<Signed> {
        v1::tokens_client::TokensClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn events(&self) -> v1::events_client::EventsClient<Signed> {
        v1::events_client::EventsClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn server(&self) -> v1::server_client::ServerClient<Signed> {
        v1::server_client::ServerClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// An error that the server at `url` answered.
pub(crate) fn answer(url: &str, status: Status) -> CtlError {
    CtlError::Answer { url: url.to_owned(), status: Box::new(status) }
}

/// `https://host[:8443]`, nothing behind it.
pub(crate) fn parse_url(text: &str) -> Result<Url, CtlError> {
    let wrong = |reason: &str| CtlError::Usage(format!("`{text}`: {reason}; write it as https://HOST:8443"));
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "https" {
        return Err(wrong("the API speaks https only"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err(wrong("only a host and a port belong here"));
    }
    if !text.trim_end_matches('/').ends_with(":443") && url.port().is_none() {
        url.set_port(Some(8443)).map_err(|()| wrong("no host"))?;
    }
    Ok(url)
}

/// Connects, handshakes and is ready for calls.
pub(crate) async fn channel(url: &Url, tls: ClientConfig) -> Result<Channel, CtlError> {
    let shown = url.as_str().trim_end_matches('/').to_owned();
    let unreachable = |error: &dyn std::error::Error| {
        let reason = root_cause(error);
        let hint = hint(&reason);
        CtlError::Unreachable { url: shown.clone(), reason, hint }
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(8443);
    let name = ServerName::try_from(host.clone()).map_err(|error| unreachable(&error))?;
    let connector = tower::service_fn(move |_: Uri| {
        let (host, name, tls) = (host.clone(), name.clone(), TlsConnector::from(Arc::new(tls.clone())));
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    // TLS is the connector's: tonic would refuse an https address without TLS of its own.
    let authority = url.authority();
    let origin: Uri = format!("https://{authority}").parse().map_err(|error: tonic::codegen::http::uri::InvalidUri| unreachable(&error))?;
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|error| unreachable(&error))?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("picketctl/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| unreachable(&error))?
        // A tail that hears nothing must notice that its server is gone.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    endpoint.connect_with_connector(connector).await.map_err(|error| unreachable(&error))
}

/// The innermost message: what the network or TLS said, without the layers around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn hint(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    if reason.contains("refused") {
        "; is the server running? start it with `picket-server run` or `make up`, or choose another one: picketctl contexts"
    } else if reason.contains("not valid for") || reason.contains("notvalidforname") {
        "; add this name to [tls] names of the server's configuration, or use one that its certificate has"
    } else if reason.contains("certificate") || reason.contains("issuer") {
        "; its certificate is not of the deployment that this sign-in belongs to: wrong address, another server, or someone in between"
    } else if reason.contains("lookup") || reason.contains("resolve") || reason.contains("name or service") {
        "; is the host name right?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_completed() {
        assert_eq!(parse_url("https://soc.example").unwrap().as_str(), "https://soc.example:8443/");
        assert_eq!(parse_url("https://soc.example:443/").unwrap().port_or_known_default(), Some(443));
        assert_eq!(parse_url("https://[::1]:9000").unwrap().port(), Some(9000));
        for text in ["soc.example", "http://soc.example", "https://a:b@c", "https://c/path", "https://c?x=1", "https://"] {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }
}
