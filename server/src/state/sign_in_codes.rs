//! One-time sign-in codes.

use picket_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};
use crate::credential::{Issued, Presented, SecretHash};

impl State {
    /// Writes a new code.
    pub async fn insert_sign_in_code(&self, issued: &Issued, at: Timestamp, expires_at: Timestamp) -> Result<(), StateError> {
        sqlx::query(include_str!("sql/sign_in_code_insert.sql"))
            .bind(&issued.id)
            .bind(issued.hash.as_bytes())
            .bind(at.0)
            .bind(expires_at.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Burns a code and writes the API token it buys, all or nothing; false when the code is unknown, wrong, used or expired.
    pub async fn redeem_sign_in_code(
        &self,
        presented: &Presented,
        token: &Issued,
        label: &str,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StateError> {
        let row = sqlx::query(include_str!("sql/sign_in_code_find.sql")).bind(&presented.id).fetch_optional(&self.reader).await?;
        let Some(row) = row else { return Ok(false) };
        let stored = SecretHash::from_slice(row.try_get(0)?).ok_or(StateError::Corrupt("sign-in code"))?;
        if !stored.matches(&presented.hash) {
            return Ok(false);
        }
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let burned = sqlx::query(include_str!("sql/sign_in_code_burn.sql")).bind(at.0).bind(&presented.id).bind(at.0).execute(&mut *transaction).await?;
        if burned.rows_affected() != 1 {
            return Ok(false);
        }
        sqlx::query(include_str!("sql/api_token_insert.sql"))
            .bind(&token.id)
            .bind(token.hash.as_bytes())
            .bind("admin")
            .bind("admin")
            .bind(label)
            .bind(at.0)
            .bind(expires_at.0)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }
}
