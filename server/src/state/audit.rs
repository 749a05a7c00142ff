//! The audit log: who called what on what, and how it ended.

use picket_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRow {
    /// When it began.
    pub at: Timestamp,
    /// Who; empty where nobody was proven.
    pub user: String,
    /// As `picket.v1.Hosts/Revoke`.
    pub method: String,
    /// What it was about.
    pub target: String,
    /// `ok`, a gRPC code's name, or `begun` while it runs.
    pub outcome: String,
    /// Without the port.
    pub peer_address: String,
}

impl State {
    /// Writes new rows in one transaction. Answers the row ids in order.
    pub async fn insert_audit(&self, rows: &[AuditRow]) -> Result<Vec<i64>, StateError> {
        let mut ids = Vec::with_capacity(rows.len());
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for row in rows {
            let inserted = sqlx::query(include_str!("sql/audit_insert.sql"))
                .bind(row.at.0)
                .bind(&row.user)
                .bind(&row.method)
                .bind(&row.target)
                .bind(&row.outcome)
                .bind(&row.peer_address)
                .fetch_one(&mut *transaction)
                .await?;
            ids.push(inserted.try_get(0)?);
        }
        transaction.commit().await?;
        Ok(ids)
    }

    /// Says how calls ended whose rows were written when they began.
    pub async fn finish_audit(&self, rows: &[(i64, AuditRow)]) -> Result<(), StateError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for (id, row) in rows {
            let update = sqlx::query(include_str!("sql/audit_outcome.sql"));
            update.bind(&row.user).bind(&row.target).bind(&row.outcome).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Newest first.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditRow>, StateError> {
        let rows = sqlx::query(include_str!("sql/audit_list.sql")).bind(limit).fetch_all(&self.reader).await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    at: Timestamp(row.try_get(0)?),
                    user: row.try_get(1)?,
                    method: row.try_get(2)?,
                    target: row.try_get(3)?,
                    outcome: row.try_get(4)?,
                    peer_address: row.try_get(5)?,
                })
            })
            .collect()
    }
}
