//! Single-use enrolment tokens.

use picket_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};
use crate::credential::{Issued, Presented, SecretHash};

/// A token as listed; its secret is not stored.
#[derive(Clone, Debug)]
pub struct EnrolTokenRow {
    /// Public part.
    pub id: String,
    /// For people.
    pub label: String,
    /// When.
    pub created_at: Timestamp,
    /// Worthless from then on.
    pub expires_at: Timestamp,
    /// When a device used it.
    pub used_at: Option<Timestamp>,
    /// That device.
    pub device_uid: Option<String>,
    /// When an admin took it back.
    pub revoked_at: Option<Timestamp>,
}

/// Why a token is not good. For the refusal log; the caller gets one text for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// Nobody issued it, or the secret is wrong.
    Unknown,
    /// A device has used it.
    Used,
    /// Too late.
    Expired,
    /// An admin took it back.
    Revoked,
}

impl TokenProblem {
    /// For the refusal log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown token or wrong secret",
            Self::Used => "token already used",
            Self::Expired => "token expired",
            Self::Revoked => "token revoked",
        }
    }
}

impl State {
    /// Writes a new token.
    pub async fn insert_enrol_token(&self, issued: &Issued, label: &str, created_by: &str, at: Timestamp, expires_at: Timestamp) -> Result<(), StateError> {
        sqlx::query(include_str!("sql/enrol_token_insert.sql"))
            .bind(&issued.id)
            .bind(issued.hash.as_bytes())
            .bind(label)
            .bind(at.0)
            .bind(created_by)
            .bind(expires_at.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// `None` when the token may be used now. It is burned later, with the device, in one transaction.
    pub async fn check_enrol_token(&self, presented: &Presented, at: Timestamp) -> Result<Option<TokenProblem>, StateError> {
        let row = sqlx::query(include_str!("sql/enrol_token_find.sql")).bind(&presented.id).fetch_optional(&self.reader).await?;
        let Some(row) = row else { return Ok(Some(TokenProblem::Unknown)) };
        let stored = SecretHash::from_slice(row.try_get(0)?).ok_or(StateError::Corrupt("token secret"))?;
        let expires_at: i64 = row.try_get(1)?;
        let used_at: Option<i64> = row.try_get(2)?;
        let revoked_at: Option<i64> = row.try_get(3)?;
        Ok(if !stored.matches(&presented.hash) {
            Some(TokenProblem::Unknown)
        } else if used_at.is_some() {
            Some(TokenProblem::Used)
        } else if revoked_at.is_some() {
            Some(TokenProblem::Revoked)
        } else if expires_at <= at.0 {
            Some(TokenProblem::Expired)
        } else {
            None
        })
    }

    /// Newest first.
    pub async fn enrol_tokens(&self) -> Result<Vec<EnrolTokenRow>, StateError> {
        let rows = sqlx::query(include_str!("sql/enrol_token_list.sql")).fetch_all(&self.reader).await?;
        rows.iter()
            .map(|row| {
                Ok(EnrolTokenRow {
                    id: row.try_get(0)?,
                    label: row.try_get(1)?,
                    created_at: Timestamp(row.try_get(2)?),
                    expires_at: Timestamp(row.try_get(3)?),
                    used_at: row.try_get::<Option<i64>, _>(4)?.map(Timestamp),
                    device_uid: row.try_get(5)?,
                    revoked_at: row.try_get::<Option<i64>, _>(6)?.map(Timestamp),
                })
            })
            .collect()
    }

    /// Takes an open token back; false when there is none of that id that is still open.
    pub async fn revoke_enrol_token(&self, id: &str, at: Timestamp) -> Result<bool, StateError> {
        let query = sqlx::query(include_str!("sql/enrol_token_revoke.sql")).bind(at.0).bind(id);
        Ok(query.execute(&self.writer).await?.rows_affected() == 1)
    }
}
