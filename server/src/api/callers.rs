//! Who a bearer token belongs to. All in memory: a flood of wrong tokens costs a hash each and no I/O.

use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use parking_lot::RwLock;
use picket_event::Timestamp;

use crate::{
    clock,
    credential::{self, CredentialKind},
    state::{ApiTokenRow, State, StateError},
};

/// Tokens that may be used.
#[derive(Default)]
pub struct Callers {
    tokens: RwLock<HashMap<String, ApiTokenRow>>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose token.
    pub user: String,
    /// What it may do.
    pub role: String,
    /// Which token.
    pub token_id: String,
}

/// Why a call carries no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCaller {
    /// No token at all.
    Missing,
    /// Unknown, wrong, or signed out.
    Invalid,
    /// Too old.
    Expired,
}

impl NoCaller {
    /// For the caller.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => "no token: sign in first",
            Self::Invalid => "the token is not valid: sign in again",
            Self::Expired => "the token has expired: sign in again",
        }
    }
}

impl Callers {
    /// Reads every token.
    pub async fn load(state: &State) -> Result<Self, StateError> {
        let rows = state.api_tokens(clock::now()).await?;
        Ok(Self { tokens: RwLock::new(rows.into_iter().map(|row| (row.id.clone(), row)).collect()) })
    }

    /// True when nobody can call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.read().is_empty()
    }

    /// A token just issued.
    pub fn add(&self, row: ApiTokenRow) {
        let now = clock::now();
        let mut tokens = self.tokens.write();
        tokens.retain(|_, row| row.expires_at > now);
        tokens.insert(row.id.clone(), row);
    }

    /// A token that is worthless from now on.
    pub fn remove(&self, id: &str) {
        self.tokens.write().remove(id);
    }

    /// The caller of a request.
    pub fn identify(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, NoCaller> {
        let value = headers.get(header::AUTHORIZATION).ok_or(NoCaller::Missing)?;
        let text = value.to_str().ok().and_then(bearer).ok_or(NoCaller::Invalid)?;
        let presented = credential::parse(CredentialKind::Api, text).ok_or(NoCaller::Invalid)?;
        let tokens = self.tokens.read();
        let row = tokens.get(&presented.id).filter(|row| row.hash.matches(&presented.hash)).ok_or(NoCaller::Invalid)?;
        if row.expires_at <= now {
            return Err(NoCaller::Expired);
        }
        Ok(Caller { user: row.user.clone(), role: row.role.clone(), token_id: row.id.clone() })
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Issued;

    #[test]
    fn only_the_whole_and_current_token_is_its_owner() {
        let callers = Callers::default();
        let issued = Issued::generate(CredentialKind::Api).unwrap();
        let expires_at = clock::after(clock::now(), 60);
        callers.add(ApiTokenRow { id: issued.id.clone(), hash: issued.hash, user: "admin".into(), role: "admin".into(), expires_at });
        let identify = |value: &str, at| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            callers.identify(&headers, at)
        };
        let good = format!("Bearer {}", issued.text());
        assert_eq!(identify(&good, clock::now()).unwrap().user, "admin");
        assert_eq!(identify(&good, expires_at), Err(NoCaller::Expired));
        assert_eq!(identify(issued.text(), clock::now()), Err(NoCaller::Invalid));
        assert_eq!(identify(&format!("{good}x"), clock::now()), Err(NoCaller::Invalid));
        assert_eq!(identify(&good.replace("pk1", "pe1"), clock::now()), Err(NoCaller::Invalid));
        assert_eq!(callers.identify(&HeaderMap::new(), clock::now()), Err(NoCaller::Missing));
        callers.remove(&issued.id);
        assert_eq!(identify(&good, clock::now()), Err(NoCaller::Invalid));
    }
}
