//! A table that an older version wrote opens: it gets the columns that it lacks, and its rows read null there.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod common;

use std::{fs, path::Path};

use common::{batch, config};
use datafusion::parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use picket_lake::{Lake, SearchQuery};
use serde_json::Value;

/// What the first version's table did not have.
const NEW_COLUMNS: [&str; 9] =
    ["method", "file_bytes_read", "file_bytes_written", "operation", "count", "dns_query_hostname", "finding_rule_uid", "finding_title", "verdict"];

/// Takes the new columns out of the schema in the log and out of every file, as if they had never been there.
fn make_old(table: &Path) {
    for entry in fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.file_name().unwrap() != "_delta_log") {
        for file in fs::read_dir(&entry).unwrap().map(|file| file.unwrap().path()) {
            let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&file).unwrap()).unwrap().build().unwrap();
            let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
            let keep: Vec<usize> =
                (0..batches[0].num_columns()).filter(|index| !NEW_COLUMNS.contains(&batches[0].schema().field(*index).name().as_str())).collect();
            let old: Vec<_> = batches.iter().map(|batch| batch.project(&keep).unwrap()).collect();
            let mut writer = ArrowWriter::try_new(fs::File::create(&file).unwrap(), old[0].schema(), None).unwrap();
            old.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.close().unwrap();
        }
    }
    for entry in fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read_to_string(&entry).unwrap();
        let lines: Vec<String> = text.lines().map(|line| old_action(table, serde_json::from_str(line).unwrap()).to_string()).collect();
        fs::write(&entry, lines.join("\n")).unwrap();
    }
}

fn old_action(table: &Path, mut action: Value) -> Value {
    if let Some(schema) = action["metaData"]["schemaString"].as_str() {
        let mut schema: Value = serde_json::from_str(schema).unwrap();
        schema["fields"].as_array_mut().unwrap().retain(|field| !NEW_COLUMNS.contains(&field["name"].as_str().unwrap()));
        action["metaData"]["schemaString"] = schema.to_string().into();
    }
    if let Some(path) = action["add"]["path"].as_str() {
        action["add"]["size"] = fs::metadata(table.join(path)).unwrap().len().into();
    }
    action
}

#[tokio::test]
async fn an_older_table_gets_the_new_columns() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(config(dir.path())).unwrap();
    lake.append(batch(1, 1, 100)).await.unwrap();
    lake.flush().await.unwrap();
    let query = || SearchQuery { limit: 10_000, ..SearchQuery::default() };
    let before = lake.search(query()).await.unwrap().events;
    lake.shutdown().await;
    drop(lake);
    let table = dir.path().join("events");
    make_old(&table);
    let lake = Lake::open(config(dir.path())).unwrap();
    assert_eq!(lake.search(query()).await.unwrap().events, before, "old rows are whole");
    lake.append(batch(1, 101, 50)).await.unwrap();
    lake.flush().await.unwrap();
    assert_eq!(lake.search(query()).await.unwrap().events.len(), 150, "old and new files together");
    lake.compact("2026-11-21").await.unwrap();
    assert_eq!(lake.search(query()).await.unwrap().events.len(), 150, "and merged");
    let schema = newest_schema(&table);
    for column in NEW_COLUMNS {
        assert!(schema.contains(&format!("\"{column}\"")), "{column} is in the table's schema for every other reader");
    }
    lake.shutdown().await;
}

fn newest_schema(table: &Path) -> String {
    let mut entries: Vec<_> = fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let actions = entries
        .iter()
        .filter(|entry| entry.extension().is_some_and(|extension| extension == "json"))
        .flat_map(|entry| fs::read_to_string(entry).unwrap().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>());
    actions.filter_map(|action| action["metaData"]["schemaString"].as_str().map(str::to_owned)).next_back().unwrap()
}
