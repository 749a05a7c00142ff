//! Tokens that call the API.

use picket_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};
use crate::credential::SecretHash;

/// A token that may still be used.
#[derive(Clone)]
pub struct ApiTokenRow {
    /// Public part.
    pub id: String,
    /// SHA-256 of the secret part.
    pub hash: SecretHash,
    /// Whose.
    pub user: String,
    /// What it may do.
    pub role: String,
    /// Worthless from then on.
    pub expires_at: Timestamp,
}

impl State {
    /// Every token that is neither revoked nor expired.
    pub async fn api_tokens(&self, at: Timestamp) -> Result<Vec<ApiTokenRow>, StateError> {
        let rows = sqlx::query(include_str!("sql/api_token_list.sql")).bind(at.0).fetch_all(&self.reader).await?;
        rows.iter()
            .map(|row| {
                Ok(ApiTokenRow {
                    id: row.try_get(0)?,
                    hash: SecretHash::from_slice(row.try_get(1)?).ok_or(StateError::Corrupt("api token"))?,
                    user: row.try_get(2)?,
                    role: row.try_get(3)?,
                    expires_at: Timestamp(row.try_get(4)?),
                })
            })
            .collect()
    }

    /// Ends a token.
    pub async fn revoke_api_token(&self, id: &str, at: Timestamp) -> Result<bool, StateError> {
        let query = sqlx::query(include_str!("sql/api_token_revoke.sql")).bind(at.0).bind(id);
        Ok(query.execute(&self.writer).await?.rows_affected() == 1)
    }
}
