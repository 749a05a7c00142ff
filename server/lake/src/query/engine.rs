//! What all queries share (store, footer cache, permits) and what each one gets of its own (view, memory, time).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use datafusion::{
    catalog::CatalogProvider,
    common::DataFusionError,
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, GreedyMemoryPool},
        object_store::ObjectStoreUrl,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SessionConfig, SessionContext},
};
use object_store::{ObjectStore, local::LocalFileSystem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    bounds::{Bound, BoundJoins, REFUSED_FUNCTIONS, YieldingJoins},
    provider::{Events, ScanCount},
    tables::Catalog,
};
use crate::{LakeError, QueryLimits, contents::View, table::FileMeta};

/// Footers and page indexes kept in memory: most of what a needle costs.
const FOOTER_CACHE_BYTES: usize = 1024 * 1024 * 1024;
/// Memory of one merge; beyond it, it spills to the lake's own folder.
const MERGE_MEMORY_BYTES: usize = 768 * 1024 * 1024;
/// Rows of one batch of a merge. A row is wide, and the last step holds a batch of every spilled run at once.
const MERGE_BATCH_ROWS: usize = 1_024;
/// Disk of one merge's spill.
const MERGE_SPILL_BYTES: u64 = 64 * 1024 * 1024 * 1024;

pub(crate) struct Engine {
    pub(crate) limits: QueryLimits,
    shared: Arc<RuntimeEnv>,
    merge: Arc<RuntimeEnv>,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
    permits: Arc<Semaphore>,
    running: Arc<AtomicU64>,
    config: SessionConfig,
}

/// A query's turn: its session, and its count among the running ones.
pub(crate) struct Turn {
    pub(crate) context: SessionContext,
    pub(crate) count: Arc<ScanCount>,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Cancelled when the caller goes: what runs between two batches looks at it.
    pub(crate) cancelled: CancellationToken,
    running: Arc<AtomicU64>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Engine {
    pub(crate) fn new(table_dir: &Path, spill_dir: &Path, limits: QueryLimits) -> Result<Self, LakeError> {
        let action = "starting";
        let store: Arc<dyn ObjectStore> =
            Arc::new(LocalFileSystem::new_with_prefix(table_dir).map_err(|error| LakeError::Engine { action, source: Box::new(error) })?);
        let url = ObjectStoreUrl::parse("picket-lake://events").map_err(LakeError::engine(action))?;
        let shared = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
            .with_object_list_cache_limit(0)
            .build_arc()
            .map_err(LakeError::engine(action))?;
        shared.register_object_store(url.as_ref(), Arc::clone(&store));
        let merge = RuntimeEnvBuilder::from_runtime_env(&shared)
            .with_memory_pool(Arc::new(FairSpillPool::new(MERGE_MEMORY_BYTES)))
            .with_disk_manager_builder(
                DiskManagerBuilder::default()
                    .with_mode(DiskManagerMode::Directories(vec![spill_dir.to_owned()]))
                    .with_max_temp_directory_size(MERGE_SPILL_BYTES),
            )
            .build_arc()
            .map_err(LakeError::engine(action))?;
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_default_catalog_and_schema("picket", "public")
            .with_create_default_catalog_and_schema(false);
        let options = config.options_mut();
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        options.execution.collect_statistics = false;
        options.sql_parser.enable_ident_normalization = true;
        Ok(Self { permits: Arc::new(Semaphore::new(limits.concurrent_max.max(1))), limits, shared, merge, store, url, running: Arc::default(), config })
    }

    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Waits for a permit, no longer than the query may take, and sets up a session over the view.
    pub(crate) async fn turn(&self, view: View, timeout: Duration) -> Result<Turn, LakeError> {
        let started = Instant::now();
        let permit = tokio::time::timeout(timeout, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| LakeError::LimitExceeded(format!("{} queries are running already; try again later", self.limits.concurrent_max)))?
            .map_err(|_| LakeError::Cancelled)?;
        self.running.fetch_add(1, Ordering::Relaxed);
        let count = Arc::new(ScanCount::default());
        let bound = Bound { cancelled: CancellationToken::new(), deadline: started + timeout };
        let turn = Turn {
            context: self.context(view, Arc::clone(&count), &bound)?,
            count,
            started,
            deadline: bound.deadline,
            cancelled: bound.cancelled,
            running: Arc::clone(&self.running),
            _permit: permit,
        };
        Ok(turn)
    }

    fn context(&self, view: View, count: Arc<ScanCount>, bound: &Bound) -> Result<SessionContext, LakeError> {
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.shared)
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(self.limits.memory_bytes)))
            .build_arc()
            .map_err(LakeError::engine("bounding a query"))?;
        let state = self.state(runtime).with_optimizer_rule(Arc::new(BoundJoins(bound.clone()))).with_physical_optimizer_rule(Arc::new(YieldingJoins)).build();
        let context = SessionContext::new_with_state(state);
        for function in REFUSED_FUNCTIONS {
            context.deregister_udf(function);
        }
        let events = Arc::new(self.events(view, count));
        context.register_catalog("picket", Arc::new(Catalog::new(events)) as Arc<dyn CatalogProvider>);
        Ok(context)
    }

    /// A session for merging files: its own memory, spilling to disk, one thread beside ingest and queries.
    pub(crate) fn merge_context(&self) -> SessionContext {
        let config = self.config.clone().with_target_partitions(1).with_batch_size(MERGE_BATCH_ROWS);
        SessionContext::new_with_state(self.state(Arc::clone(&self.merge)).with_config(config).build())
    }

    fn state(&self, runtime: Arc<RuntimeEnv>) -> SessionStateBuilder {
        SessionStateBuilder::new().with_config(self.config.clone()).with_runtime_env(runtime).with_default_features()
    }

    pub(crate) fn events(&self, view: View, count: Arc<ScanCount>) -> Events {
        Events::new(view, Arc::clone(&self.store), self.url.clone(), count)
    }

    pub(crate) fn events_of(&self, files: Vec<Arc<FileMeta>>) -> Events {
        Events::of_files(files, Arc::clone(&self.store), self.url.clone())
    }
}

/// What a failed query means to its author.
pub(crate) fn classify(error: DataFusionError) -> LakeError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            LakeError::LimitExceeded("the query needs more memory than one query may use; narrow its time range, or select fewer columns or groups".into())
        }
        DataFusionError::SQL(parser, _) => LakeError::BadQuery { message: parser.to_string(), position: None },
        DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) | DataFusionError::Execution(message) => {
            LakeError::BadQuery { message: message.clone(), position: None }
        }
        DataFusionError::SchemaError(schema, _) => LakeError::BadQuery { message: schema.to_string(), position: None },
        // Division by zero, a cast that does not fit: the query's own doing.
        DataFusionError::ArrowError(arrow, _) => LakeError::BadQuery { message: arrow.to_string(), position: None },
        _ => LakeError::Engine { action: "running a query", source: Box::new(error) },
    }
}
