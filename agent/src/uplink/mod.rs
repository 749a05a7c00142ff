//! The one connection to the server: what the spool holds goes up, commands come down.
//!
//! Back-pressure is the spool: while the server is slow or away, frames stay on disk. Nothing is sent that is not fsynced.

mod backoff;
mod commands;
mod renewal;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod window;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use picket_proto::v1;
use picket_spool::Spool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use status::LinkStatus;

use self::{backoff::Backoff, commands::Commands, session::End};
use crate::{
    boot::wall_now,
    config::Config,
    dial::{dial, with_sources},
    identity::{Identity, IdentityStore},
    loss::LossLedger,
};

/// How often a host that is not enrolled looks whether it is now.
const ENROLLED_EVERY: Duration = Duration::from_secs(2);
/// For the server to hear that the agent ends in order.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// A renewed certificate that cannot be used this often, while the old one can, is thrown away.
const NEXT_FAILURES_MAX: u32 = 3;

/// What the agent says of itself and its host; asked when it is sent.
pub(crate) trait Reports: Send + Sync + 'static {
    fn host(&self) -> v1::Host;
    fn capabilities(&self) -> v1::CapabilityReport;
    fn heartbeat(&self) -> v1::Heartbeat;
    /// A session begins.
    fn connected(&self);
    /// Notified where a heartbeat should not wait for its turn.
    fn news(&self) -> Arc<Notify>;
    /// Takes up a scan that the server asked for, or says why not.
    fn scan(&self, command: &str, paths: &[String]) -> Result<(), String>;
}

/// See the module.
pub(crate) struct Uplink<R> {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) spool: Spool,
    pub(crate) synced: watch::Receiver<u64>,
    pub(crate) ledger: Arc<LossLedger>,
    pub(crate) reports: Arc<R>,
    pub(crate) status: LinkStatus,
    pub(crate) heartbeat_every: Duration,
    pub(crate) stop: CancellationToken,
}

impl<R: Reports> Uplink<R> {
    /// Connects again and again until `stop`.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            // A session ends with a goodbye; anything else is dropped where it stands.
            () = async {
                stop.cancelled().await;
                tokio::time::sleep(GOODBYE_MAX).await;
            } => {}
            () = self.connect_for_ever() => {}
        }
    }

    async fn connect_for_ever(self) {
        let store = IdentityStore::new(&self.config.load().state_dir);
        let (mut backoff, mut commands, mut attempts) = (Backoff::default(), Commands::default(), Attempts::default());
        loop {
            let (identity, is_next) = self.identity(&store, &attempts).await;
            self.status.connecting(&identity);
            let end = self.once(&identity, is_next, &store, &mut commands).await;
            attempts.note(is_next, &end, &store);
            match &end {
                End::Stopped => return,
                End::Renewed | End::NewLife => {
                    backoff.reset();
                    continue;
                }
                End::Failed { progress, reason, .. } => {
                    if *progress {
                        backoff.reset();
                    }
                    let wait = backoff.wait();
                    tracing::warn!(reason, wait_ms = wait.as_millis(), "not connected to the server");
                    self.status.failed(reason, &identity);
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Waits until the host is enrolled.
    async fn identity(&self, store: &IdentityStore, attempts: &Attempts) -> (Identity, bool) {
        let mut told = String::new();
        loop {
            let read = || -> Result<Option<(Identity, bool)>, crate::identity::IdentityError> {
                let next = if attempts.prefer_current() { None } else { store.next()?.map(|identity| (identity, true)) };
                Ok(match next {
                    Some(next) => Some(next),
                    None => store.current()?.map(|identity| (identity, false)),
                })
            };
            let problem = match read() {
                Ok(Some(found)) => return found,
                Ok(None) => "this host is not enrolled: run `picket-agent enroll`; events wait in the spool".to_owned(),
                Err(error) => with_sources(&error),
            };
            if problem != told {
                tracing::warn!("{problem}");
                self.status.not_enrolled(&problem);
                told = problem;
            }
            tokio::time::sleep(ENROLLED_EVERY).await;
        }
    }

    async fn once(&self, identity: &Identity, is_next: bool, store: &IdentityStore, commands: &mut Commands) -> End {
        let failed = |reason: String| End::Failed { progress: false, welcomed: false, reason };
        let tls = match identity.tls() {
            Ok(tls) => tls,
            Err(error) => return failed(with_sources(&error)),
        };
        let url = self.config.load().server.url.clone().unwrap_or_else(|| identity.server_url.clone());
        let end = match dial(&url, tls).await {
            Ok(channel) => self.session(channel, identity, is_next.then_some(store), store, commands).await,
            Err(error) => failed(error.to_string()),
        };
        match end {
            // TLS 1.3 refuses a client after its handshake: the server's reason is all there is to see.
            End::Failed { welcomed: false, reason, .. } if identity.validity().is_ok_and(|validity| validity.not_after < wall_now().0 / 1_000_000_000) => {
                failed(format!("{reason} (the certificate has expired: enrol this host again)"))
            }
            end => end,
        }
    }
}

/// Which of two certificates to try while a renewed one has not proved itself.
#[derive(Debug, Default)]
struct Attempts {
    next_failures: u32,
    last_was_next: bool,
}

impl Attempts {
    const fn prefer_current(&self) -> bool {
        self.next_failures > 0 && self.last_was_next
    }

    fn note(&mut self, is_next: bool, end: &End, store: &IdentityStore) {
        let welcomed = !matches!(end, End::Failed { welcomed: false, .. });
        self.last_was_next = is_next;
        if is_next {
            self.next_failures = if welcomed { 0 } else { self.next_failures + 1 };
        } else if welcomed && self.next_failures >= NEXT_FAILURES_MAX {
            // The network is fine and the old certificate works.
            tracing::error!("the renewed certificate does not work and is thrown away");
            self.next_failures = 0;
            if let Err(error) = store.discard_next() {
                tracing::error!(error = with_sources(&error), "the renewed certificate could not be thrown away");
            }
        }
    }
}
