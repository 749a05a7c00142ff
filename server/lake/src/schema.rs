//! The table's shape in the words of Arrow and Delta Lake, made from the one list in `picket_event::columns`.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake_core::kernel::{ArrayType, DataType as DeltaType, PrimitiveType, StructField};
use picket_event::{
    Timestamp,
    columns::{COLUMNS, ColumnType, PARTITION},
};

/// Columns as they stand in Parquet files and in the tail. Texts are views: what DataFusion reads Parquet as anyway.
pub(crate) static FILE_SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(COLUMNS.iter().map(|column| Field::new(column.name, arrow_type(column.kind), true)).collect::<Vec<_>>())));

/// What SQL sees: the file columns and the partition.
pub(crate) static TABLE_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields: Vec<_> = FILE_SCHEMA.fields().iter().cloned().collect();
    fields.push(partition_field());
    Arc::new(Schema::new(fields))
});

/// A view as well: a day's ten bytes lie within it, so that grouping by day compares numbers.
pub(crate) fn partition_field() -> Arc<Field> {
    Arc::new(Field::new(PARTITION, DataType::Utf8View, true))
}

pub(crate) fn utc() -> Arc<str> {
    static UTC: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("UTC"));
    Arc::clone(&UTC)
}

/// The element of list columns, named as Spark and delta-rs name it.
pub(crate) fn element_field() -> Arc<Field> {
    static ELEMENT: LazyLock<Arc<Field>> = LazyLock::new(|| Arc::new(Field::new("element", DataType::Utf8View, true)));
    Arc::clone(&ELEMENT)
}

fn arrow_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Text => DataType::Utf8View,
        ColumnType::Int => DataType::Int32,
        ColumnType::Long => DataType::Int64,
        ColumnType::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(utc())),
        ColumnType::TextList => DataType::List(element_field()),
    }
}

/// The columns of the Delta table.
pub(crate) fn delta_columns() -> Vec<StructField> {
    let delta_type = |kind| match kind {
        ColumnType::Text => DeltaType::Primitive(PrimitiveType::String),
        ColumnType::Int => DeltaType::Primitive(PrimitiveType::Integer),
        ColumnType::Long => DeltaType::Primitive(PrimitiveType::Long),
        ColumnType::Time => DeltaType::Primitive(PrimitiveType::Timestamp),
        ColumnType::TextList => DeltaType::Array(Box::new(ArrayType::new(DeltaType::Primitive(PrimitiveType::String), true))),
    };
    let mut columns: Vec<_> = COLUMNS.iter().map(|column| StructField::nullable(column.name, delta_type(column.kind))).collect();
    columns.push(StructField::nullable(PARTITION, DeltaType::Primitive(PrimitiveType::String)));
    columns
}

/// Days since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(pub(crate) i32);

impl Day {
    /// The day of a moment. Moments that no calendar holds are clamped: a wrong clock must not stop ingest.
    pub(crate) fn of(time: Timestamp) -> Self {
        const NANOS: i64 = 86_400_000_000_000;
        Self(i32::try_from(time.0.div_euclid(NANOS)).unwrap_or_default())
    }

    /// From `YYYY-MM-DD`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok()?;
        let epoch = jiff::civil::date(1970, 1, 1);
        (date.to_string() == text).then(|| epoch.until(date).ok().map(|span| Self(span.get_days()))).flatten()
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(self.0)).unwrap_or(jiff::civil::Date::MAX);
        date.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read_and_write_the_same() {
        for (text, number) in [("1970-01-01", 0), ("2026-11-21", 20_778), ("2000-02-29", 11_016), ("1969-12-31", -1)] {
            assert_eq!(Day::parse(text), Some(Day(number)));
            assert_eq!(Day(number).to_string(), text);
        }
        assert_eq!(Day::of(Timestamp(-1)), Day(-1));
        for bad in ["", "2026-13-01", "2026-11-21T00:00", "../../etc", "20261121"] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
    }
}
