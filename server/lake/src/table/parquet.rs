//! Writing Parquet: the encodings, the filters, and durability.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        compute::{max, max_string_view, min, min_string_view},
        datatypes::TimestampMicrosecondType,
    },
    parquet::{
        arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
        basic::{Compression, Encoding, ZstdLevel},
        file::{
            metadata::SortingColumn,
            properties::{EnabledStatistics, WriterProperties},
        },
        schema::types::ColumnPath,
    },
};
use picket_event::columns::{COLUMNS, ColumnType, PARTITION};

use super::files::{FRESH, FileMeta, FileStats, SORTED, WHOLE_DAY};
use crate::{
    LakeError,
    schema::{Day, FILE_SCHEMA},
    wal::fsync_dir,
};

const ROW_GROUP_ROWS: usize = 131_072;
const PAGE_ROWS: usize = 8_192;
/// Share of lookups that a filter sends to a row group in vain.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// Whether a file is fresh or the result of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// From the log, in the order received: written once, read until the day is merged.
    Fresh,
    /// Sorted by device and time.
    Sorted,
    /// So, and all of a day that is over: read for as long as it is kept.
    WholeDay,
}

fn properties(finish: Finish) -> Result<WriterProperties, LakeError> {
    let level = if finish == Finish::Fresh { 1 } else { 3 };
    let level = ZstdLevel::try_new(level).map_err(parquet("choosing the compression of"))?;
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("picket ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page);
    for column in COLUMNS {
        let path = || {
            if column.kind == ColumnType::TextList { ColumnPath::new(vec![column.name.into(), "list".into(), "element".into()]) } else { column.name.into() }
        };
        if column.needle {
            properties = properties
                .set_column_bloom_filter_enabled(path(), true)
                .set_column_bloom_filter_fpp(path(), BLOOM_FALSE_POSITIVES)
                // The writer folds a filter down to what it needed.
                .set_column_bloom_filter_max_ndv(path(), ROW_GROUP_ROWS as u64);
        }
        if matches!(column.name, "time" | "received_time" | "metadata_sequence") {
            properties = properties.set_column_dictionary_enabled(path(), false).set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
        if matches!(column.name, "rest" | "message") {
            // Nobody compares them: statistics would only make the footer larger.
            properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
        }
    }
    if finish != Finish::Fresh {
        properties = properties.set_sorting_columns(Some(sorting_columns()));
    }
    Ok(properties.build())
}

fn sorting_columns() -> Vec<SortingColumn> {
    ["device_uid", "time"]
        .iter()
        .filter_map(|name| COLUMNS.iter().position(|column| column.name == *name))
        .filter_map(|index| i32::try_from(index).ok())
        .map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true })
        .collect()
}

fn parquet(action: &'static str) -> impl FnOnce(datafusion::parquet::errors::ParquetError) -> LakeError {
    move |source| LakeError::Table { action, source: Box::new(source) }
}

/// The vacuum removes a day's folder while it is empty: between making the folder and the file in it, say.
const FOLDER_TRIES: usize = 10;

/// Makes a new file in the folder of a day, and the folder where it is not there.
fn create_in_folder(table_dir: &Path, day: Day, name: &str) -> Result<(PathBuf, File), LakeError> {
    let folder = table_dir.join(format!("{PARTITION}={day}"));
    let path = folder.join(name);
    let mut tries = FOLDER_TRIES;
    loop {
        match std::fs::create_dir(&folder) {
            Ok(()) => fsync_dir(table_dir).map_err(LakeError::io("syncing", table_dir))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(LakeError::io("making the folder", folder)(error)),
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries > 0 => tries -= 1,
            Err(error) => return Err(LakeError::io("creating", path)(error)),
        }
    }
}

/// One file being written. Dropped before [`FileWriter::finish`], it deletes what it wrote.
pub(crate) struct FileWriter {
    writer: Option<ArrowWriter<File>>,
    path: PathBuf,
    meta: FileMeta,
}

impl FileWriter {
    /// Begins a file of one day's folder.
    pub(crate) fn create(table_dir: &Path, day: Day, finish: Finish) -> Result<Self, LakeError> {
        let stem = match finish {
            Finish::Fresh => FRESH,
            Finish::Sorted => SORTED,
            Finish::WholeDay => WHOLE_DAY,
        };
        let name = format!("{stem}-{}.parquet", uuid::Uuid::new_v4());
        let (path, file) = create_in_folder(table_dir, day, &name)?;
        let options = ArrowWriterOptions::new().with_properties(properties(finish)?);
        let writer = ArrowWriter::try_new_with_options(file, Arc::clone(&FILE_SCHEMA), options).map_err(parquet("beginning a file of"))?;
        let meta = FileMeta { path: format!("{PARTITION}={day}/{name}"), bytes: 0, rows: 0, day, stats: FileStats::default() };
        Ok(Self { writer: Some(writer), path, meta })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.meta.rows
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let Some(writer) = &mut self.writer else { return Err(LakeError::Misuse("the file is finished")) };
        writer.write(batch).map_err(parquet("writing a file of"))?;
        self.meta.rows += batch.num_rows() as u64;
        self.meta.stats.widen(batch);
        Ok(())
    }

    /// Ends the file; it is durable with its name when this returns.
    pub(crate) fn finish(mut self) -> Result<FileMeta, LakeError> {
        let Some(writer) = self.writer.take() else { return Err(LakeError::Misuse("the file is finished")) };
        let file = writer.into_inner().map_err(parquet("finishing a file of"));
        let sync = |file: &File| -> std::io::Result<u64> {
            file.sync_all()?;
            if let Some(folder) = self.path.parent() {
                fsync_dir(folder)?;
            }
            Ok(file.metadata()?.len())
        };
        let bytes = file.and_then(|file| sync(&file).map_err(LakeError::io("syncing", &self.path)));
        if bytes.is_err() {
            let _ = std::fs::remove_file(&self.path);
        }
        self.meta.bytes = bytes?;
        Ok(self.meta.clone())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Left behind it would be an orphan that the next vacuum finds.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl FileStats {
    fn widen(&mut self, batch: &RecordBatch) {
        if let Some(times) = batch.column_by_name("time").and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
            && let (Some(low), Some(high)) = (min(times), max(times))
        {
            let (own_low, own_high) = self.time.unwrap_or((low, high));
            self.time = Some((own_low.min(low), own_high.max(high)));
        }
        if let Some(devices) = batch.column_by_name("device_uid").and_then(|devices| devices.as_string_view_opt())
            && devices.null_count() == 0
            && let (Some(low), Some(high)) = (min_string_view(devices), max_string_view(devices))
        {
            match &mut self.device {
                Some((own_low, own_high)) => {
                    if low < own_low.as_str() {
                        low.clone_into(own_low);
                    }
                    if high > own_high.as_str() {
                        high.clone_into(own_high);
                    }
                }
                none => *none = Some((low.to_owned(), high.to_owned())),
            }
        }
    }
}
