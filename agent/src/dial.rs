//! One way to a server: TCP, TLS 1.3, HTTP/2.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// To be connected and greeted by TLS.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// A peer that answers no ping in this time is gone, although TCP has not noticed.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 9_443;

/// Why there is no connection, with every cause.
#[derive(Debug, thiserror::Error)]
#[error("connect to {address}: {reason}")]
pub(crate) struct DialError {
    address: String,
    reason: String,
}

pub(crate) async fn dial(url: &url::Url, tls: ClientConfig) -> Result<Channel, DialError> {
    let address = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(DEFAULT_PORT));
    let failed = |reason: String| DialError { address: address.clone(), reason };
    // Brackets belong to the URL, not to the name.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| failed(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(tls));
    let target = address.clone();
    let connect = tower::service_fn(move |_| {
        let (connector, name, target) = (connector.clone(), name.clone(), target.clone());
        async move {
            let tcp = TcpStream::connect(target).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    // The scheme is plain because the connector does TLS; the authority is what HTTP/2 names.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed(error.to_string()))?;
    let endpoint = endpoint.connect_timeout(CONNECT_MAX).http2_keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_ANSWER_MAX).keep_alive_while_idle(true);
    match tokio::time::timeout(CONNECT_MAX, endpoint.connect_with_connector(connect)).await {
        Err(_) => Err(failed(format!("no answer in {} s", CONNECT_MAX.as_secs()))),
        Ok(Err(error)) => Err(failed(with_sources(&error))),
        Ok(Ok(channel)) => Ok(channel),
    }
}

/// An error with what caused it, each said once.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
