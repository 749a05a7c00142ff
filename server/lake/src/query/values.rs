//! Rows of a SQL answer as JSON values.

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type},
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};
use serde_json::Value;

use crate::LakeError;

/// Turns a batch into rows.
pub(super) fn rows(batch: &RecordBatch) -> Result<Vec<Vec<Value>>, LakeError> {
    let mut rows: Vec<Vec<Value>> = (0..batch.num_rows()).map(|_| Vec::with_capacity(batch.num_columns())).collect();
    for column in batch.columns() {
        let values = column_values(column)?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.push(value);
        }
    }
    Ok(rows)
}

macro_rules! numbers {
    ($array:expr, $type:ty) => {
        $array.as_primitive::<$type>().iter().map(|value| value.map_or(Value::Null, Value::from)).collect()
    };
}

fn column_values(array: &ArrayRef) -> Result<Vec<Value>, LakeError> {
    let text = |value: Option<&str>| value.map_or(Value::Null, Value::from);
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map_or(Value::Null, Value::from)).collect(),
        DataType::Int8 => numbers!(array, Int8Type),
        DataType::Int16 => numbers!(array, Int16Type),
        DataType::Int32 => numbers!(array, Int32Type),
        DataType::Int64 => numbers!(array, Int64Type),
        DataType::UInt8 => numbers!(array, UInt8Type),
        DataType::UInt16 => numbers!(array, UInt16Type),
        DataType::UInt32 => numbers!(array, UInt32Type),
        DataType::UInt64 => numbers!(array, UInt64Type),
        DataType::Float32 => numbers!(array, Float32Type),
        DataType::Float64 => numbers!(array, Float64Type),
        DataType::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(text).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(text).collect(),
        DataType::List(_) => {
            array.as_list::<i32>().iter().map(|list| list.map_or(Ok(Value::Null), |list| column_values(&list).map(Value::Array))).collect::<Result<_, _>>()?
        }
        _ => formatted(array)?,
    })
}

/// Times as RFC 3339, everything rarer as Arrow prints it.
fn formatted(array: &ArrayRef) -> Result<Vec<Value>, LakeError> {
    let options = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6f%:z"))
        .with_duration_format(DurationFormat::ISO8601);
    let failed = |error: datafusion::arrow::error::ArrowError| LakeError::Engine { action: "printing a value", source: Box::new(error) };
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(failed)?;
    (0..array.len())
        .map(|index| if array.is_null(index) { Ok(Value::Null) } else { formatter.value(index).try_to_string().map(Value::from).map_err(failed) })
        .collect()
}
