//! Versions of the table: opening, committing, and making a commit survive a power cut.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use deltalake_core::{
    DeltaTable, DeltaTableBuilder, TableProperty,
    kernel::{
        Action, Add, Remove, Transaction,
        transaction::{CommitBuilder, CommitProperties},
    },
    logstore::LogStoreRef,
    protocol::{DeltaOperation, SaveMode},
    table::state::DeltaTableState,
};
use futures::StreamExt;
use picket_event::columns::PARTITION;

use super::files::{FileMeta, FileSet, SORTED_TAG};
use crate::{LakeError, schema, wal::fsync_dir};

/// Versions between two checkpoints of the log, so that opening the table reads one file and at most that many entries.
const CHECKPOINT_INTERVAL: u64 = 100;
/// Files that stay in a merged or expired day's place; a log entry keeps what it needs for time travel no longer than this.
const LOG_RETENTION: &str = "interval 1 days";
/// A name that marks a checkpoint being written: `object_store` does not fsync, so after a power cut it may be anything.
const CHECKPOINT_MARKER: &str = "checkpoint.unfinished";

/// One change of the table.
pub(crate) struct Change {
    pub(crate) add: Vec<FileMeta>,
    pub(crate) remove: Vec<Arc<FileMeta>>,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// New rows: the segment of the log with this number.
    Flush(u64),
    /// The same rows in other files.
    Rewrite,
    /// Rows that are not kept any longer.
    Expire,
}

impl Change {
    pub(crate) fn flush(segment: u64, add: Vec<FileMeta>) -> Self {
        Self { add, remove: Vec::new(), kind: ChangeKind::Flush(segment) }
    }

    pub(crate) fn rewrite(add: Vec<FileMeta>, remove: Vec<Arc<FileMeta>>) -> Self {
        Self { add, remove, kind: ChangeKind::Rewrite }
    }

    pub(crate) fn expire(remove: Vec<Arc<FileMeta>>) -> Self {
        Self { add: Vec::new(), remove, kind: ChangeKind::Expire }
    }
}

/// The table as its one writer in this process holds it.
pub(crate) struct Table {
    dir: PathBuf,
    application: String,
    log_store: LogStoreRef,
    state: DeltaTableState,
    files: FileSet,
}

impl Table {
    /// Opens the table in `dir`, making it when there is none.
    pub(crate) async fn open(dir: &Path, server_uid: &str) -> Result<Self, LakeError> {
        fs::create_dir_all(dir.join("_delta_log")).map_err(LakeError::io("making the table's folder", dir))?;
        drop_torn_tail(dir)?;
        let url = url::Url::from_directory_path(dir).map_err(|()| LakeError::Misuse("the lake's folder must be an absolute path"))?;
        let mut table = DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build).map_err(LakeError::table("opening"))?;
        if table.verify_deltatable_existence().await.map_err(LakeError::table("looking for"))? {
            table.load().await.map_err(LakeError::table("loading"))?;
            table = with_new_columns(table, dir).await?;
        } else {
            table = create(table).await?;
            sync_entry(dir, 0)?;
        }
        let state = table.snapshot().map_err(LakeError::table("reading"))?.clone();
        let log_store = table.log_store();
        let files = list(&state, &log_store).await?;
        Ok(Self { dir: dir.to_owned(), application: format!("ingest/{server_uid}"), log_store, state, files })
    }

    pub(crate) fn files(&self) -> &FileSet {
        &self.files
    }

    /// The highest segment of the log whose events are in the table; 0 before the first.
    pub(crate) async fn recorded_segment(&self) -> Result<u64, LakeError> {
        let version =
            self.state.transaction_version(self.log_store.as_ref(), &self.application).await.map_err(LakeError::table("reading the transactions of"))?;
        Ok(version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0))
    }

    /// Makes one change, durable when this returns, and gives the files of the new version. A flush that is in the table already changes nothing.
    pub(crate) async fn commit(&mut self, change: &Change) -> Result<FileSet, LakeError> {
        match self.try_commit(change).await {
            Ok(()) => {}
            Err(error) => {
                // The entry may have been written all the same, or another writer may have changed the table: look.
                self.reload().await?;
                let done = matches!(change.kind, ChangeKind::Flush(segment) if self.recorded_segment().await? >= segment);
                if !done {
                    return Err(error);
                }
                sync_entry(&self.dir, self.state.version())?;
            }
        }
        Ok(self.files.clone())
    }

    async fn try_commit(&mut self, change: &Change) -> Result<(), LakeError> {
        if let ChangeKind::Flush(segment) = change.kind
            && self.recorded_segment().await? >= segment
        {
            return sync_entry(&self.dir, self.state.version());
        }
        let data_change = change.kind != ChangeKind::Rewrite;
        let now = jiff::Timestamp::now().as_millisecond();
        let mut actions: Vec<Action> = change.add.iter().map(|file| Action::Add(add_action(file, now, data_change))).collect();
        actions.extend(change.remove.iter().map(|file| Action::Remove(remove_action(file, now, data_change))));
        let mut properties = CommitProperties::default().with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
        let operation = match change.kind {
            ChangeKind::Flush(segment) => {
                let version = i64::try_from(segment).unwrap_or(i64::MAX);
                properties = properties.with_application_transaction(Transaction::new_with_last_update(&self.application, version, Some(now)));
                DeltaOperation::Write { mode: SaveMode::Append, partition_by: Some(vec![PARTITION.to_owned()]), predicate: None }
            }
            ChangeKind::Rewrite => DeltaOperation::Optimize { predicate: None, target_size: 0 },
            ChangeKind::Expire => DeltaOperation::Delete { predicate: None },
        };
        let before = self.state.version();
        let finalized = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&self.state), Arc::clone(&self.log_store), operation)
            .await
            .map_err(LakeError::table("committing to"))?;
        sync_entry(&self.dir, finalized.version())?;
        self.state = finalized.snapshot();
        if finalized.version() == before + 1 {
            for file in &change.remove {
                self.files.remove(file);
            }
            for file in &change.add {
                self.files.add(file.clone());
            }
            self.files.version = finalized.version();
        } else {
            self.files = list(&self.state, &self.log_store).await?;
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), LakeError> {
        self.state = DeltaTableState::try_new(self.log_store.as_ref(), None).await.map_err(LakeError::table("reloading"))?;
        self.files = list(&self.state, &self.log_store).await?;
        Ok(())
    }

    /// Writes a checkpoint of the log when it is due, and drops old entries.
    pub(crate) async fn checkpoint(&self) -> Result<bool, LakeError> {
        let version = self.state.version();
        if version == 0 || !version.is_multiple_of(CHECKPOINT_INTERVAL) {
            return Ok(false);
        }
        let log = self.dir.join("_delta_log");
        let (marker, staged) = (log.join(CHECKPOINT_MARKER), log.join("checkpoint.unfinished.tmp"));
        let mark = || {
            fs::write(&staged, version.to_string())?;
            File::open(&staged)?.sync_all()?;
            fs::rename(&staged, &marker)?;
            fsync_dir(&log)
        };
        mark().map_err(LakeError::io("marking a checkpoint in", &log))?;
        let mut table = DeltaTable::new(Arc::clone(&self.log_store));
        table.load_version(version).await.map_err(LakeError::table("reading"))?;
        deltalake_core::checkpoints::create_checkpoint(&table, None).await.map_err(LakeError::table("checkpointing"))?;
        let unmark = || {
            for path in checkpoint_files(&log, version)? {
                File::open(path)?.sync_all()?;
            }
            fsync_dir(&log)?;
            fs::remove_file(&marker)?;
            fsync_dir(&log)
        };
        unmark().map_err(LakeError::io("syncing the checkpoint in", &log))?;
        deltalake_core::checkpoints::cleanup_metadata(&table, None).await.map_err(LakeError::table("dropping old log entries of"))?;
        Ok(true)
    }
}

async fn create(table: DeltaTable) -> Result<DeltaTable, LakeError> {
    deltalake_core::operations::create::CreateBuilder::new()
        .with_log_store(table.log_store())
        .with_table_name("events")
        .with_comment("What Picket's agents saw, as OCSF columns")
        .with_columns(schema::delta_columns())
        .with_partition_columns([PARTITION])
        .with_configuration_property(TableProperty::DataSkippingStatsColumns, Some("time,device_uid"))
        .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_INTERVAL.to_string()))
        .with_configuration_property(TableProperty::LogRetentionDuration, Some(LOG_RETENTION))
        .await
        .map_err(LakeError::table("creating"))
}

/// Adds the columns that an older version of the table lacks; its rows read null there. Columns that this version does not know stay.
async fn with_new_columns(table: DeltaTable, dir: &Path) -> Result<DeltaTable, LakeError> {
    let known = table.snapshot().map_err(LakeError::table("reading"))?.schema();
    let missing: Vec<_> = schema::delta_columns().into_iter().filter(|column| known.field(column.name()).is_none()).collect();
    if missing.is_empty() {
        return Ok(table);
    }
    tracing::info!(columns = missing.len(), "adding columns to the table of an older version");
    let table = table.add_columns().with_fields(missing).await.map_err(LakeError::table("adding columns to"))?;
    sync_entry(dir, table.version().unwrap_or_default())?;
    Ok(table)
}

/// All files of a state.
async fn list(state: &DeltaTableState, log_store: &LogStoreRef) -> Result<FileSet, LakeError> {
    let mut files = FileSet { version: state.version(), ..FileSet::default() };
    let mut views = state.snapshot().file_views(log_store.as_ref(), None);
    while let Some(view) = views.next().await {
        let view = view.map_err(LakeError::table("listing the files of"))?;
        let partitions = view.partition_values_map();
        let partition = partitions.get(PARTITION).and_then(Option::as_deref);
        let path = view.path();
        match FileMeta::from_add(&path, view.size(), partition, view.stats().as_deref()) {
            Some(file) => files.add(file),
            None => tracing::warn!(path = %path, "a file of the table is not one that this server can read; it is left out"),
        }
    }
    Ok(files)
}

fn add_action(file: &FileMeta, now: i64, data_change: bool) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: file.partition_values(),
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: now,
        data_change,
        stats: Some(file.stats_json()),
        tags: file.is_sorted().then(|| [(SORTED_TAG.to_owned(), Some("device_uid,time".to_owned()))].into()),
        ..Add::default()
    }
}

fn remove_action(file: &FileMeta, now: i64, data_change: bool) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(now),
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition_values()),
        size: i64::try_from(file.bytes).ok(),
        ..Remove::default()
    }
}

fn entry_path(dir: &Path, version: u64) -> PathBuf {
    dir.join("_delta_log").join(format!("{version:020}.json"))
}

/// Makes a log entry durable with its name: the library's store does not.
fn sync_entry(dir: &Path, version: u64) -> Result<(), LakeError> {
    let path = entry_path(dir, version);
    let sync = || {
        File::open(&path)?.sync_all()?;
        fsync_dir(&dir.join("_delta_log"))
    };
    sync().map_err(LakeError::io("syncing", &path))
}

fn checkpoint_files(log: &Path, version: u64) -> std::io::Result<Vec<PathBuf>> {
    let prefix = format!("{version:020}.checkpoint");
    let mut paths = Vec::new();
    for entry in fs::read_dir(log)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(&prefix) || name == "_last_checkpoint") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// A power cut may leave the newest entry or checkpoint cut off, since the library's store does not fsync and we can only do so afterwards. Nothing that
/// depends on such a one has been deleted yet, so it is put aside and its segment of the log is flushed again.
fn drop_torn_tail(dir: &Path) -> Result<(), LakeError> {
    let log = dir.join("_delta_log");
    let tidy = || {
        let marker = log.join(CHECKPOINT_MARKER);
        if let Ok(version) = fs::read_to_string(&marker) {
            if let Ok(version) = version.trim().parse() {
                for path in checkpoint_files(&log, version)? {
                    tracing::warn!(path = %path.display(), "dropping a checkpoint that was not finished");
                    fs::remove_file(path)?;
                }
            }
            fs::remove_file(&marker)?;
        }
        let newest = fs::read_dir(&log)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok()).max();
        if let Some(newest) = newest {
            let path = entry_path(dir, newest);
            let content = fs::read(&path)?;
            let whole = !content.is_empty() && content.split(|byte| *byte == b'\n').all(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok());
            if !whole {
                tracing::error!(path = %path.display(), "the newest entry of the table's log is cut off; putting it aside");
                fs::rename(&path, path.with_extension("json.torn"))?;
                fsync_dir(&log)?;
            }
        }
        Ok(())
    };
    tidy().map_err(LakeError::io("tidying", &log))
}
