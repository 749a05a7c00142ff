//! What must survive a restart besides events: devices, certificates, tokens, refusals, the audit log. SQLite in WAL mode with
//! `synchronous = FULL`, one writer; the command line works beside a running server through the same file.
//!
//! One `.sql` file a statement, one Rust file an entity. Times are nanoseconds since 1970.

mod api_tokens;
mod audit;
mod devices;
mod enrol_tokens;
mod instance;
mod refusals;
mod sensor_health;
mod sign_in_codes;

pub use api_tokens::ApiTokenRow;
pub use audit::AuditRow;
pub use devices::{DeviceRow, DeviceSnapshot, Enrolled, Enrolment};
pub use enrol_tokens::{EnrolTokenRow, TokenProblem};
pub use instance::{Instance, InstanceError, InstanceLock, OpenedInstance};
pub use refusals::RefusalRow;
pub use sensor_health::SensorHealthRow;

use std::{path::Path, time::Duration};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;

/// A writer of another process (the command line) holds the file for milliseconds; whoever waits longer than this has a sick disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// Why state could not be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// SQLite said no.
    #[error("state database")]
    Database(#[from] sqlx::Error),
    /// The database was written by a newer server.
    #[error("the state database has version {found}, this server knows {known}: use the newer server, or restore a backup of before the upgrade")]
    Newer {
        /// In the file.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A stored value is not what was written.
    #[error("stored {0} cannot be read")]
    Corrupt(&'static str),
}

/// The state store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    writer: SqlitePool,
    reader: SqlitePool,
}

/// One file a schema version, in order; each ends by setting `user_version`.
const MIGRATIONS: [&str; 2] = [include_str!("sql/0001_initial.sql"), include_str!("sql/0002_sensor_health.sql")];

impl State {
    /// Opens `<state_dir>/state.sqlite`, making or migrating it where needed.
    pub async fn open(state_dir: &Path) -> Result<Self, StateError> {
        let path = state_dir.join("state.sqlite");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        let reader = pool(READERS).connect_lazy_with(options.create_if_missing(false));
        let state = Self { writer, reader };
        state.migrate().await?;
        Ok(state)
    }

    async fn migrate(&self) -> Result<(), StateError> {
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        // Immediate, so that two processes that start together migrate one after the other.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let (found,): (i64,) = sqlx::query_as("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or(StateError::Newer { found, known })?;
        for migration in MIGRATIONS.into_iter().skip(done) {
            sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// True when the database answers.
    pub async fn is_ready(&self) -> bool {
        sqlx::query("SELECT 1").fetch_one(&self.reader).await.is_ok()
    }

    /// Ends all connections; the write-ahead log is folded into the database.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// A pool whose connections stay. One that closes idle ones has a task that may spin for ever, from a count of them that fell below zero while a connection
/// came back (sqlx 0.9.0, issue 3645); a connection to a file is not worth closing.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(BUSY_TIMEOUT).idle_timeout(None).max_lifetime(None)
}

#[cfg(test)]
mod tests {
    /// With these three the library makes no task that sweeps the connections.
    #[test]
    fn no_pool_sweeps_its_connections() {
        let pool = super::pool(2);
        assert_eq!((pool.get_idle_timeout(), pool.get_max_lifetime(), pool.get_min_connections()), (None, None, 0));
    }
}
