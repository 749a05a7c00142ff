//! Trust in a server: by the hash of the CA's public key at the first sign-in, by the CA certificate ever after. Never on first use.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use picket_pin::Pin;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::error::CtlError;

/// A one-time sign-in code as the server prints it: `ps1.<id>.<secret>.<pin>`.
pub(crate) struct SignInCode {
    /// What is sent: the code without the pin.
    pub(crate) secret: String,
    /// SHA-256 of the CA's public key.
    pub(crate) pin: Pin,
}

impl SignInCode {
    /// Splits the pin off.
    pub(crate) fn parse(text: &str) -> Result<Self, CtlError> {
        let wrong = || CtlError::Usage("this is no sign-in code: it looks like ps1.<id>.<secret>.<pin> and is printed by `picket-server sign-in`".to_owned());
        let (secret, pin) = text.trim().rsplit_once('.').ok_or_else(wrong)?;
        let parts: Vec<&str> = secret.split('.').collect();
        if parts.len() != 3 || parts.first() != Some(&"ps1") || parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        Ok(Self { secret: secret.to_owned(), pin: Pin::parse(pin).ok_or_else(wrong)? })
    }
}

/// A certificate as the context file keeps it.
pub(crate) fn certificate_text(certificate: &CertificateDer<'_>) -> String {
    STANDARD.encode(certificate)
}

/// TLS 1.3 with the CA that the first sign-in found.
pub(crate) fn trusted_tls(ca_certificate: &str) -> Result<ClientConfig, CtlError> {
    let wrong = |reason: String| CtlError::Usage(format!("the context's CA certificate cannot be used ({reason}); sign in again: picketctl login"));
    let der = STANDARD.decode(ca_certificate).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(der)).map_err(|error| wrong(error.to_string()))?;
    let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]).with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

    #[test]
    fn a_code_splits_into_secret_and_pin() {
        let code = SignInCode::parse(&format!(" ps1.abc.s3cret.{PIN}\n")).unwrap();
        assert_eq!(code.secret, "ps1.abc.s3cret");
        assert_eq!(code.pin.to_string(), PIN);
    }

    #[test]
    fn anything_else_is_no_code() {
        let pin = PIN;
        for text in [
            "".to_owned(),
            "ps1.a.b".to_owned(),
            format!("pe1.a.b.{pin}"),
            format!("ps1..b.{pin}"),
            format!("ps1.a.b.c.{pin}"),
            "ps1.a.b.c2hvcnQ".to_owned(),
            format!("ps1.a.b.{pin}="),
        ] {
            assert!(SignInCode::parse(&text).is_err(), "{text}");
        }
    }
}
