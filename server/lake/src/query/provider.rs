//! The table `events` for one query: the files that statistics cannot rule out, and the tail, of one view.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use datafusion::{
    arrow::{
        array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array},
        datatypes::{Schema, SchemaRef},
    },
    catalog::{Session, TableProvider},
    common::{Column, DataFusionError, Result, ScalarValue, ToDFSchema, pruning::PruningStatistics},
    datasource::{
        listing::PartitionedFile,
        memory::MemorySourceConfig,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource, parquet::CachedParquetFileReaderFactory},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::{ExecutionPlan, empty::EmptyExec, union::UnionExec},
};
use object_store::ObjectStore;
use picket_event::columns::PARTITION;

use super::needles;
use crate::{
    contents::{DayRows, View},
    schema::{FILE_SCHEMA, TABLE_SCHEMA, partition_field, utc},
    table::FileMeta,
};

/// Bytes from a file's end that are read at once: most footers with their page index.
const FOOTER_BYTES: usize = 128 * 1024;

/// How many files a query's scans read and ruled out.
#[derive(Debug, Default)]
pub(crate) struct ScanCount {
    pub(crate) scanned: AtomicU64,
    pub(crate) pruned: AtomicU64,
}

/// The table as one query sees it.
#[derive(Debug)]
pub(crate) struct Events {
    files: Vec<Arc<FileMeta>>,
    tail: Vec<DayRows>,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
    count: Arc<ScanCount>,
}

impl Events {
    pub(crate) fn new(view: View, store: Arc<dyn ObjectStore>, url: ObjectStoreUrl, count: Arc<ScanCount>) -> Self {
        // Newest first: a query for the last rows fills its heap at once and the rest is ruled out by it.
        let mut files: Vec<_> = view.files.iter().cloned().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.stats.time.map_or(i64::MAX, |(_, high)| high)));
        Self { files, tail: view.tail, store, url, count }
    }

    /// Only some of the files, and no tail.
    pub(crate) fn of_files(files: Vec<Arc<FileMeta>>, store: Arc<dyn ObjectStore>, url: ObjectStoreUrl) -> Self {
        Self { files, tail: Vec::new(), store, url, count: Arc::default() }
    }

    /// Files that a filter cannot be shown to exclude.
    fn prune(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<Arc<FileMeta>>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(self.files.clone()) };
        let schema = Arc::clone(&TABLE_SCHEMA);
        let predicate = state.create_physical_expr(filter, &schema.as_ref().clone().to_dfschema()?)?;
        let Some(predicate) = PruningPredicateBuilder::new().with_file_schema(schema).build(predicate) else { return Ok(self.files.clone()) };
        let keep = predicate.prune(&Statistics(&self.files))?;
        Ok(self.files.iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| Arc::clone(file)).collect())
    }

    fn scan_files(&self, state: &dyn Session, files: &[Arc<FileMeta>], projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions().max(1);
        let mut groups = vec![Vec::new(); partitions.min(files.len()).max(1)];
        let groups_len = groups.len();
        for (index, file) in files.iter().enumerate() {
            let day = ScalarValue::Utf8View(Some(file.day.to_string()));
            let file = PartitionedFile::new(file.path.clone(), file.bytes).with_partition_values(vec![day]);
            if let Some(group) = groups.get_mut(index % groups_len) {
                group.push(file);
            }
        }
        let schema = TableSchema::builder(Arc::clone(&FILE_SCHEMA)).with_table_partition_cols(vec![partition_field()]).build();
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(schema)
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_pushdown_filters(true)
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(Arc::clone(&self.store), cache)));
        let config = FileScanConfigBuilder::new(self.url.clone(), Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn scan_tail(&self, projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema: SchemaRef = match projection {
            Some(projection) => Arc::new(TABLE_SCHEMA.project(projection)?),
            None => Arc::clone(&TABLE_SCHEMA),
        };
        let batches = self.tail.iter().map(|rows| with_day(rows, &schema)).collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?)
    }
}

/// The columns of a tail batch that a schema names, the day among them.
pub(crate) fn with_day(rows: &DayRows, schema: &Arc<Schema>) -> Result<RecordBatch> {
    let count = rows.batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            if field.name() == PARTITION {
                let day = rows.day.to_string();
                return Ok(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(day, count))) as ArrayRef);
            }
            rows.batch.column_by_name(field.name()).cloned().ok_or_else(|| DataFusionError::Internal(format!("the tail has no column {}", field.name())))
        })
        .collect::<Result<Vec<_>>>()?;
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&TABLE_SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Inexact: the planner keeps the filter, and its physical optimizer moves it into the Parquet reader where that can evaluate it.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(&self, state: &dyn Session, projection: Option<&Vec<usize>>, filters: &[Expr], _limit: Option<usize>) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.prune(state, filters)?;
        self.count.scanned.fetch_add(files.len() as u64, Ordering::Relaxed);
        self.count.pruned.fetch_add((self.files.len() - files.len()) as u64, Ordering::Relaxed);
        let mut inputs = Vec::new();
        if !self.tail.is_empty() {
            inputs.push(self.scan_tail(projection)?);
        }
        if !files.is_empty() {
            match filters.iter().find_map(needles::alternatives) {
                Some(alternatives) => {
                    for alternative in alternatives {
                        inputs.push(needles::of(state, alternative, self.scan_files(state, &files, projection)?)?);
                    }
                }
                None => inputs.push(self.scan_files(state, &files, projection)?),
            }
        }
        match inputs.len() {
            0 => {
                let schema = projection.map_or_else(|| Ok(Arc::clone(&TABLE_SCHEMA)), |projection| TABLE_SCHEMA.project(projection).map(Arc::new))?;
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }
}

/// What the add actions tell of each file, for pruning.
struct Statistics<'a>(&'a [Arc<FileMeta>]);

impl Statistics<'_> {
    fn bound(&self, column: &Column, high: bool) -> Option<ArrayRef> {
        match column.name() {
            "time" => {
                let times = self.0.iter().map(|file| file.stats.time.map(|(low, top)| if high { top } else { low }));
                Some(Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone(utc())))
            }
            "device_uid" => {
                let devices = self.0.iter().map(|file| file.stats.device.as_ref().map(|(low, top)| if high { top.as_str() } else { low.as_str() }));
                Some(Arc::new(devices.collect::<StringViewArray>()))
            }
            PARTITION => Some(Arc::new(StringViewArray::from_iter_values(self.0.iter().map(|file| file.day.to_string())))),
            _ => None,
        }
    }
}

impl PruningStatistics for Statistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, true)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        matches!(column.name(), "time" | "device_uid" | PARTITION).then(|| Arc::new(UInt64Array::from(vec![0; self.0.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.0.iter().map(|file| file.rows))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
