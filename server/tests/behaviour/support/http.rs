//! HTTP/1.1 as curl speaks it, over TLS, one request a connection.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{PATIENCE, TestServer};

pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn lines(&self) -> Vec<serde_json::Value> {
        self.body.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl TestServer {
    pub async fn post(&self, path: &str, token: Option<&str>, body: &str) -> Answer {
        self.request(&format!("POST {path}"), token, &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()), body).await
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.request(&format!("GET {path}"), token, "", "").await
    }

    pub async fn request(&self, line: &str, token: Option<&str>, headers: &str, body: &str) -> Answer {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let text = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{token}{headers}\r\n{body}");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem().as_bytes()).expect("the root")).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tcp = TcpStream::connect(self.running().api()).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake");
        tls.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        timeout(PATIENCE, tls.read_to_end(&mut answer)).await.expect("an answer in time").expect("an answer");
        parse(&answer)
    }

    pub async fn metrics(&self) -> String {
        let mut tcp = TcpStream::connect(self.running().metrics().expect("a metrics port")).await.expect("a connection");
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.expect("an answer in time").expect("an answer");
        parse(&answer).body
    }
}

fn parse(answer: &[u8]) -> Answer {
    let head_len = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
    let head = String::from_utf8_lossy(&answer[..head_len]).into_owned();
    let (line, headers) = head.split_once("\r\n").expect("headers");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let headers = headers.to_ascii_lowercase();
    let body = &answer[head_len + 4..];
    let body = if headers.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_vec() };
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).expect("ascii"), 16).expect("a chunk's length");
        let start = end + 2;
        whole.extend_from_slice(&body[start..start + length]);
        body = &body[start + length + 2..];
        if length == 0 {
            break;
        }
    }
    whole
}
