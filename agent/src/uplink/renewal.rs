//! A new certificate for a new key at half of the old one's life.

use std::time::Duration;

use picket_proto::v1::{RenewRequest, agent_gateway_client::AgentGatewayClient};
use rand::RngExt;
use tonic::transport::Channel;

use crate::{
    boot::wall_now,
    dial::with_sources,
    identity::{Identity, IdentityStore, NewKey, Validity},
};

/// Of the lifetime: a fleet that was enrolled at once does not renew at once.
const JITTER: f64 = 0.1;
const RENEW_MAX: Duration = Duration::from_secs(30);

/// Until the certificate should be renewed.
pub(super) fn due_in(validity: Validity, now_s: f64) -> Duration {
    wait(validity, now_s, rand::rng().random_range(-JITTER..=JITTER))
}

fn wait(validity: Validity, now_s: f64, jitter: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double's 53 bits")]
    let (begin, end) = (validity.not_before as f64, validity.not_after as f64);
    let lifetime = (end - begin).max(1.0);
    // Never at once: whatever the clocks say, a certificate is used before it is replaced.
    Duration::try_from_secs_f64((begin + lifetime * (0.5 + jitter) - now_s).max(1.0)).unwrap_or_default()
}

/// After a failure: a twentieth of the lifetime, between a second and an hour.
pub(super) fn retry_in(validity: Validity) -> Duration {
    let lifetime = u64::try_from(validity.not_after.saturating_sub(validity.not_before)).unwrap_or(0);
    Duration::from_secs((lifetime / 20).clamp(1, 3_600))
}

pub(super) fn now_s() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a second's precision is enough")]
    let now = wall_now().0 as f64;
    now / 1e9
}

/// Asks for the certificate over the session's connection and stores it beside the old one.
pub(super) async fn renew(channel: Channel, identity: Identity, store: IdentityStore) -> Result<(), String> {
    let key = NewKey::generate().map_err(|error| with_sources(&error))?;
    let request = RenewRequest { csr_der: key.csr_der.clone() };
    let mut client = AgentGatewayClient::new(channel);
    let answer = match tokio::time::timeout(RENEW_MAX, client.renew(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(format!("{} ({:?})", status.message(), status.code())),
        Err(_) => return Err(format!("no answer in {} s", RENEW_MAX.as_secs())),
    };
    let renewed = identity.renewed(&key, answer.certificate_chain_der, answer.trust_der).map_err(|error| with_sources(&error))?;
    store.store_next(&renewed).map_err(|error| with_sources(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_half_life_give_or_take_a_tenth() {
        let validity = Validity { not_before: 1_000, not_after: 2_000 };
        assert_eq!(wait(validity, 1_000.0, 0.0), Duration::from_secs(500));
        assert_eq!(wait(validity, 1_000.0, -0.1), Duration::from_secs(400));
        assert_eq!(wait(validity, 1_900.0, 0.1), Duration::from_secs(1));
        for _ in 0..100 {
            let due = due_in(validity, 1_000.0).as_secs();
            assert!((400..=600).contains(&due), "{due}");
        }
        assert_eq!(retry_in(validity), Duration::from_secs(50));
        assert_eq!(retry_in(Validity { not_before: 0, not_after: 2 }), Duration::from_secs(1));
    }
}
