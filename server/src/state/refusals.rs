//! Attempts that were refused.

use picket_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};

/// Newest rows kept. A flood by one peer is one row a minute, so that this is years of ordinary operation.
const ROWS_MAX: i64 = 100_000;

/// Same refusals of the same peer within a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    /// Row, where it has been written before.
    pub id: Option<i64>,
    /// First one.
    pub first_at: Timestamp,
    /// Last one.
    pub last_at: Timestamp,
    /// Without the port.
    pub peer_address: String,
    /// `refusal::RefusalReason` name.
    pub reason: String,
    /// Proven or claimed; empty where neither.
    pub device_uid: String,
    /// Of the last one.
    pub detail: String,
    /// How many.
    pub count: i64,
}

impl State {
    /// Writes new rows and brings known ones up to date, in one transaction. Answers the row ids in order.
    pub async fn save_refusals(&self, refusals: &[RefusalRow]) -> Result<Vec<i64>, StateError> {
        let mut ids = Vec::with_capacity(refusals.len());
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for refusal in refusals {
            if let Some(id) = refusal.id {
                let update = sqlx::query(include_str!("sql/refusal_update.sql"));
                update.bind(refusal.last_at.0).bind(&refusal.detail).bind(refusal.count).bind(id).execute(&mut *transaction).await?;
                ids.push(id);
                continue;
            }
            let row = sqlx::query(include_str!("sql/refusal_insert.sql"))
                .bind(refusal.first_at.0)
                .bind(refusal.last_at.0)
                .bind(&refusal.peer_address)
                .bind(&refusal.reason)
                .bind(&refusal.device_uid)
                .bind(&refusal.detail)
                .bind(refusal.count)
                .fetch_one(&mut *transaction)
                .await?;
            ids.push(row.try_get(0)?);
        }
        sqlx::query(include_str!("sql/refusal_prune.sql")).bind(ROWS_MAX).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(ids)
    }

    /// Newest first.
    pub async fn refusals(&self, limit: u32) -> Result<Vec<RefusalRow>, StateError> {
        let rows = sqlx::query(include_str!("sql/refusal_list.sql")).bind(limit).fetch_all(&self.reader).await?;
        rows.iter()
            .map(|row| {
                let last_at = Timestamp(row.try_get(0)?);
                Ok(RefusalRow {
                    id: None,
                    first_at: last_at,
                    last_at,
                    peer_address: row.try_get(1)?,
                    reason: row.try_get(2)?,
                    device_uid: row.try_get(3)?,
                    detail: row.try_get(4)?,
                    count: row.try_get(5)?,
                })
            })
            .collect()
    }
}
