//! One session, message by message.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use picket_proto::v1::{
    AgentMessage, CapabilityReport, Hello, Host, Probe, ServerMessage, Welcome, agent_gateway_client::AgentGatewayClient, agent_message, server_message,
};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::connect;

/// Longest wait for one message of the server.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// An open session.
#[derive(Debug)]
pub struct Link {
    up: mpsc::Sender<AgentMessage>,
    down: Streaming<ServerMessage>,
}

impl Link {
    /// Connects and opens the stream with `first` as its first message, without waiting for an answer.
    ///
    /// The outer error is the network's or the handshake's, the inner one the server's.
    pub async fn open(address: SocketAddr, tls: ClientConfig, first: agent_message::Message) -> Result<Result<Self, Status>> {
        let channel = connect(address, tls).await?;
        Ok(Self::over(channel, first).await)
    }

    /// The same over a channel that is up.
    pub async fn over(channel: Channel, first: agent_message::Message) -> Result<Self, Status> {
        let (up, queue) = mpsc::channel(64);
        up.try_send(AgentMessage { message: Some(first) }).map_err(|_| Status::internal("the queue is new"))?;
        let mut client = AgentGatewayClient::new(channel).max_encoding_message_size(64 << 20);
        let down = client.session(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { up, down })
    }

    /// Opens and expects a Welcome.
    pub async fn welcomed(address: SocketAddr, tls: ClientConfig, hello: Hello) -> Result<(Self, Welcome)> {
        let mut link = Self::open(address, tls, agent_message::Message::Hello(hello)).await??;
        match link.next().await? {
            server_message::Message::Welcome(welcome) => Ok((link, welcome)),
            other => bail!("expected Welcome, got {other:?}"),
        }
    }

    /// Sends one message; an error means that the server ended the call.
    pub async fn send(&self, message: agent_message::Message) -> Result<()> {
        self.up.send(AgentMessage { message: Some(message) }).await.map_err(|_| anyhow!("the session has ended"))
    }

    /// Sends a message without any content, which the contract does not know.
    pub async fn send_empty(&self) -> Result<()> {
        self.up.send(AgentMessage { message: None }).await.map_err(|_| anyhow!("the session has ended"))
    }

    /// The next message of the server, within 20 s.
    pub async fn next(&mut self) -> Result<server_message::Message> {
        self.receive().await?.context("the server closed the stream")?.message.context("an empty message")
    }

    /// The next answer with the call's end made visible: `Err(status)` where the server refused, `None` at a plain end.
    pub async fn receive(&mut self) -> Result<Option<ServerMessage>> {
        let answer = tokio::time::timeout(ANSWER_MAX, self.down.message()).await.context("no answer of the server in 20 s")?;
        Ok(answer?)
    }

    /// Reads until the call ends and gives the status it ended with; fails where it is still up after 20 s.
    pub async fn ends_with(mut self) -> Result<Status> {
        let end = async {
            loop {
                match self.down.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok("the stream ended"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(ANSWER_MAX, end).await.context("the server let the session live for 20 s")
    }

    /// The two halves, for a sender and a receiver that run at once.
    #[must_use]
    pub fn split(self) -> (mpsc::Sender<AgentMessage>, Streaming<ServerMessage>) {
        (self.up, self.down)
    }
}

/// A Hello with plausible labels.
#[must_use]
pub fn hello(device_uid: &str, spool_uid: &str, hostname: &str) -> Hello {
    Hello {
        agent_version: "0.1.0-sim".to_owned(),
        protocol: 1,
        device_uid: device_uid.to_owned(),
        spool_uid: spool_uid.to_owned(),
        first_seq: 0,
        last_seq: 0,
        host: Some(host(hostname)),
        capabilities: Some(capabilities()),
    }
}

/// The host of a simulated agent.
#[must_use]
pub fn host(hostname: &str) -> Host {
    Host {
        hostname: hostname.to_owned(),
        os_name: "Debian GNU/Linux".to_owned(),
        os_version: "12".to_owned(),
        kernel: "6.1.0-sim".to_owned(),
        arch: "x86_64".to_owned(),
        cpus: 2,
        memory_bytes: 8 << 30,
        boot_id: uuid::Uuid::new_v4().to_string(),
        ..Host::default()
    }
}

/// A capability report with one probe that is attached and one that is not.
#[must_use]
pub fn capabilities() -> CapabilityReport {
    let probe = |name: &str, hook: &str, attached, reason: &str| Probe { name: name.to_owned(), hook: hook.to_owned(), attached, reason: reason.to_owned() };
    CapabilityReport {
        probes: vec![
            probe("process_exec", "tp_btf/sched_process_exec", true, ""),
            probe("file_rename", "fentry/vfs_rename", false, "the kernel has no fentry"),
        ],
        btf: true,
        ring_bytes: 8 << 20,
        ..CapabilityReport::default()
    }
}
