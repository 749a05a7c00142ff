//! `picket-agent enroll`: a single-use token becomes a key that never leaves the host and a certificate for it.

use std::path::Path;

use anyhow::{Context, bail};
use picket_pin::Pin;
use picket_proto::v1::{EnrolRequest, enrolment_client::EnrolmentClient};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    dial::dial,
    identity::{Identity, IdentityStore, NewKey, pinned_tls},
};

const TOKEN_BYTES_MAX: u64 = 4_096;

/// A token in its parts.
struct Token {
    /// `pe1.<id>.<secret>`.
    sent: Zeroizing<String>,
    pin: Pin,
}

impl Token {
    /// From `pe1.<id>.<secret>.<pin>`. The text is a secret: no error repeats a part of it.
    fn parse(text: &str) -> Option<Self> {
        let (sent, pin) = text.trim().rsplit_once('.')?;
        let mut parts = sent.split('.');
        let shape = parts.next() == Some("pe1") && parts.clone().count() == 2 && parts.all(|part| !part.is_empty());
        shape.then_some(())?;
        Some(Self { sent: Zeroizing::new(sent.to_owned()), pin: Pin::parse(pin)? })
    }
}

pub(crate) async fn enrol(config: &Config, server: &url::Url, token_file: &Path, again: bool) -> anyhow::Result<Identity> {
    let store = IdentityStore::new(&config.state_dir);
    if !again && let Some(identity) = store.current()? {
        bail!("this host is enrolled already, as device {}; --again enrols it as a new device", identity.device_uid);
    }
    let token = read_token(token_file)?;
    let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let key = NewKey::generate()?;
    let channel = dial(server, pinned_tls(token.pin)?).await?;
    let request = EnrolRequest { token: token.sent.to_string(), csr_der: key.csr_der.clone(), hostname, agent_version: env!("CARGO_PKG_VERSION").to_owned() };
    let answer = match EnrolmentClient::new(channel).enrol(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => bail!("the server refused: {} ({:?}); its refusal log tells the admin why", status.message(), status.code()),
    };
    let device_uid = answer.device_uid.parse().context("the server gave no device uid")?;
    let identity =
        Identity::new(device_uid, server.clone(), &key, answer.certificate_chain_der, answer.trust_der).context("the server gave no usable certificate")?;
    store.store(&identity)?;
    Ok(identity)
}

fn read_token(path: &Path) -> anyhow::Result<Token> {
    let length = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?.len();
    if length > TOKEN_BYTES_MAX {
        bail!("{} is no token: it has {length} bytes", path.display());
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?);
    Token::parse(&text).with_context(|| format!("{} holds no enrolment token (pe1.<id>.<secret>.<pin>)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_split_and_only_a_whole_one_is_taken() {
        let pin = "A".repeat(43);
        let token = Token::parse(&format!("pe1.abc.secret.{pin}\n")).unwrap();
        assert_eq!(token.sent.as_str(), "pe1.abc.secret");
        for broken in ["", "pe1.abc.secret", "pe2.abc.secret.PIN", "pe1.abc.PIN", "pe1..secret.PIN", "pe1.a.b.c.PIN", "pe1.abc.secret.short"] {
            assert!(Token::parse(&broken.replace("PIN", &pin)).is_none(), "{broken}");
        }
    }
}
