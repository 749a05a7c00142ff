//! Devices and their certificates.

use picket_event::{DeviceUid, Timestamp};
use sqlx::Row as _;

use super::{State, StateError};
use crate::pki::IssuedCertificate;

/// A device as stored.
#[derive(Clone, Debug, Default)]
pub struct DeviceRow {
    /// Identity, text form.
    pub uid: String,
    /// Last reported name.
    pub hostname: String,
    /// Last reported version.
    pub agent_version: String,
    /// When its token was used.
    pub enrolled_at: Timestamp,
    /// Of the newest certificate.
    pub certificate_expires_at: Timestamp,
    /// Last message of any session.
    pub last_seen_at: Option<Timestamp>,
    /// Device clock minus server clock.
    pub clock_skew_ms: i64,
    /// Encoded `Host`.
    pub host: Option<Vec<u8>>,
    /// Encoded `CapabilityReport`.
    pub capabilities: Option<Vec<u8>>,
    /// Encoded `Heartbeat`.
    pub heartbeat: Option<Vec<u8>>,
    /// From then on its certificates are refused.
    pub revoked_at: Option<Timestamp>,
}

/// What a session knows of its device, written now and then and when the session ends.
#[derive(Clone, Debug, Default)]
pub struct DeviceSnapshot {
    /// Which device.
    pub uid: String,
    /// Reported name.
    pub hostname: String,
    /// Reported version.
    pub agent_version: String,
    /// Last message.
    pub last_seen_at: Timestamp,
    /// Device clock minus server clock.
    pub clock_skew_ms: i64,
    /// Encoded `Host`.
    pub host: Option<Vec<u8>>,
    /// Encoded `CapabilityReport`.
    pub capabilities: Option<Vec<u8>>,
    /// Encoded `Heartbeat`.
    pub heartbeat: Option<Vec<u8>>,
}

/// A new device about to be written.
#[derive(Debug)]
pub struct Enrolment<'a> {
    /// The token that is burned by it.
    pub token_id: &'a str,
    /// Its identity from now on.
    pub device: DeviceUid,
    /// Reported name.
    pub hostname: &'a str,
    /// Reported version.
    pub agent_version: &'a str,
    /// Its first certificate.
    pub certificate: &'a IssuedCertificate,
    /// Now.
    pub at: Timestamp,
}

/// How an enrolment or renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// Written and durable.
    Yes,
    /// The token was used, expired or revoked in the meantime.
    TokenGone,
    /// Some certificate already has that key: every certificate needs a key of its own.
    KeyReused,
}

impl State {
    /// Burns the token and writes device and certificate, all or nothing.
    pub async fn enrol(&self, enrolment: &Enrolment<'_>) -> Result<Enrolled, StateError> {
        let uid = enrolment.device.to_string();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let burned = sqlx::query(include_str!("sql/enrol_token_burn.sql"))
            .bind(enrolment.at.0)
            .bind(&uid)
            .bind(enrolment.token_id)
            .bind(enrolment.at.0)
            .execute(&mut *transaction)
            .await?;
        if burned.rows_affected() != 1 {
            return Ok(Enrolled::TokenGone);
        }
        sqlx::query(include_str!("sql/device_insert.sql"))
            .bind(&uid)
            .bind(enrolment.hostname)
            .bind(enrolment.agent_version)
            .bind(enrolment.at.0)
            .bind(enrolment.token_id)
            .bind(enrolment.certificate.not_after.0)
            .execute(&mut *transaction)
            .await?;
        if !insert_certificate(&mut transaction, &uid, enrolment.certificate, enrolment.at).await? {
            return Ok(Enrolled::KeyReused);
        }
        transaction.commit().await?;
        Ok(Enrolled::Yes)
    }

    /// Writes a renewed certificate.
    pub async fn renew(&self, device: DeviceUid, certificate: &IssuedCertificate, at: Timestamp) -> Result<Enrolled, StateError> {
        let uid = device.to_string();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        if !insert_certificate(&mut transaction, &uid, certificate, at).await? {
            return Ok(Enrolled::KeyReused);
        }
        sqlx::query(include_str!("sql/device_certificate.sql")).bind(certificate.not_after.0).bind(&uid).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Enrolled::Yes)
    }

    /// Every device, by name.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, StateError> {
        let rows = sqlx::query(include_str!("sql/device_list.sql")).fetch_all(&self.reader).await?;
        rows.iter()
            .map(|row| {
                Ok(DeviceRow {
                    uid: row.try_get(0)?,
                    hostname: row.try_get(1)?,
                    agent_version: row.try_get(2)?,
                    enrolled_at: Timestamp(row.try_get(3)?),
                    certificate_expires_at: Timestamp(row.try_get(4)?),
                    last_seen_at: row.try_get::<Option<i64>, _>(5)?.map(Timestamp),
                    clock_skew_ms: row.try_get(6)?,
                    host: row.try_get(7)?,
                    capabilities: row.try_get(8)?,
                    heartbeat: row.try_get(9)?,
                    revoked_at: row.try_get::<Option<i64>, _>(10)?.map(Timestamp),
                })
            })
            .collect()
    }

    /// Revokes a device; false when it is unknown or already revoked.
    pub async fn revoke_device(&self, device: DeviceUid, reason: &str, at: Timestamp) -> Result<bool, StateError> {
        let query = sqlx::query(include_str!("sql/device_revoke.sql")).bind(at.0).bind(reason).bind(device.to_string());
        Ok(query.execute(&self.writer).await?.rows_affected() == 1)
    }

    /// Writes what sessions learned, in one transaction: one write a fleet and interval instead of one a heartbeat.
    pub async fn save_snapshots(&self, snapshots: &[DeviceSnapshot]) -> Result<(), StateError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for snapshot in snapshots {
            sqlx::query(include_str!("sql/device_snapshot.sql"))
                .bind(&snapshot.hostname)
                .bind(&snapshot.agent_version)
                .bind(snapshot.last_seen_at.0)
                .bind(snapshot.clock_skew_ms)
                .bind(&snapshot.host)
                .bind(&snapshot.capabilities)
                .bind(&snapshot.heartbeat)
                .bind(&snapshot.uid)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets certificates that have expired before `before`; they are refused by their date.
    pub async fn prune_certificates(&self, before: Timestamp) -> Result<u64, StateError> {
        Ok(sqlx::query(include_str!("sql/certificate_prune.sql")).bind(before.0).execute(&self.writer).await?.rows_affected())
    }
}

/// False when the key is already in another certificate.
async fn insert_certificate(transaction: &mut sqlx::SqliteConnection, uid: &str, certificate: &IssuedCertificate, at: Timestamp) -> Result<bool, StateError> {
    let inserted = sqlx::query(include_str!("sql/certificate_insert.sql"))
        .bind(&certificate.serial)
        .bind(uid)
        .bind(certificate.spki_sha256.as_slice())
        .bind(at.0)
        .bind(certificate.not_after.0)
        .execute(transaction)
        .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
