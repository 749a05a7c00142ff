//! What is known of each host's sensor, and the event about it that is on its way to the lake.

use picket_event::Timestamp;
use sqlx::Row as _;

use super::{State, StateError};

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SensorHealthRow {
    /// Which.
    pub device_uid: String,
    /// reporting, stopped, silent, blinded
    pub condition: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// What the sensor does not see, as JSON.
    pub problems: String,
    /// What it saw when it saw most, as JSON.
    pub baseline: String,
    /// The finding that is open about it; empty where none is.
    pub finding_uid: String,
    /// The frame of an event that may not be in the lake yet, and its sequence number.
    pub pending: Option<(Vec<u8>, u64)>,
}

impl State {
    /// Every device that was ever heard.
    pub async fn sensor_health(&self) -> Result<Vec<SensorHealthRow>, StateError> {
        let rows = sqlx::query(include_str!("sql/sensor_health_list.sql")).fetch_all(&self.reader).await?;
        rows.iter()
            .map(|row| {
                let seq = u64::try_from(row.try_get::<i64, _>(8)?).map_err(|_| StateError::Corrupt("sequence of a sensor's finding"))?;
                Ok(SensorHealthRow {
                    device_uid: row.try_get(0)?,
                    condition: row.try_get(1)?,
                    since: Timestamp(row.try_get(2)?),
                    reason: row.try_get(3)?,
                    problems: row.try_get(4)?,
                    baseline: row.try_get(5)?,
                    finding_uid: row.try_get(6)?,
                    pending: row.try_get::<Option<Vec<u8>>, _>(7)?.map(|frame| (frame, seq)),
                })
            })
            .collect()
    }

    /// Writes what changed, in one transaction.
    pub async fn save_sensor_health(&self, rows: &[SensorHealthRow]) -> Result<(), StateError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for row in rows {
            let (frame, seq) = row.pending.as_ref().map_or((None, 0), |(frame, seq)| (Some(frame), *seq));
            sqlx::query(include_str!("sql/sensor_health_save.sql"))
                .bind(&row.device_uid)
                .bind(&row.condition)
                .bind(row.since.0)
                .bind(&row.reason)
                .bind(&row.problems)
                .bind(&row.baseline)
                .bind(&row.finding_uid)
                .bind(frame)
                .bind(i64::try_from(seq).unwrap_or(i64::MAX))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
