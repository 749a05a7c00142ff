//! Events to Arrow and back. The mapping itself is `picket_event::row`; here is only the turn from rows to columns.

use std::{borrow::Cow, sync::Arc};

use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, Int32Array, Int32Builder, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringViewArray, StringViewBuilder,
        TimestampMicrosecondArray, TimestampMicrosecondBuilder,
    },
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use picket_event::{DeviceUid, SpoolUid, StoredEvent, row::Row};

use crate::{
    LakeError,
    schema::{FILE_SCHEMA, element_field, utc},
};

/// Every column but `addresses`, in the order of the table, with the shape of its values. A test compares it with `COLUMNS`.
macro_rules! for_each_column {
    ($apply:ident) => {
        $apply! {
            time: time, received_time: time, device_uid: device, device_hostname: text, metadata_spool: spool, metadata_sequence: long,
            class_uid: int, activity_id: int, severity_id: int, flags: int,
            actor_process_uid: text, actor_process_pid: long_null, actor_process_name: text, actor_process_file_path: text, actor_process_cmd_line: text,
            actor_process_user_name: text, actor_process_user_uid: long_null,
            actor_process_parent_process_uid: text, actor_process_parent_process_pid: long_null, actor_process_parent_process_name: text,
            actor_process_parent_process_cmd_line: text, actor_process_container_uid: text, actor_process_container_name: text,
            picket_exec_tree_id: text, picket_process_role: text, picket_job_scheduler: text, picket_job_uid: text, picket_job_rank: int_null,
            picket_asset_class: text,
            process_uid: text, process_pid: long_null, process_name: text, process_file_path: text, process_cmd_line: text,
            launch_type_id: int_null, exit_code: int_null,
            file_path: text, file_name: text, file_size: long_null, file_inode: long_null, file_hash_sha256: text, file_result_path: text, access_mask: int_null,
            src_endpoint_ip: text, src_endpoint_port: int_null, dst_endpoint_ip: text, dst_endpoint_port: int_null,
            connection_info_direction_id: int_null, connection_info_protocol_num: int_null, connection_info_uid: long_null,
            traffic_bytes_in: long_null, traffic_bytes_out: long_null, duration: long_null,
            loss_cause: text, loss_class_uid: int_null, loss_count: long_null, loss_start_time: time_null, loss_end_time: time_null,
            message: text, method: text, file_bytes_read: long_null, file_bytes_written: long_null, operation: text, count: long_null,
            dns_query_hostname: text, finding_rule_uid: text, finding_title: text, verdict: text; rest: text
        }
    };
}

macro_rules! builder {
    (time) => {
        TimestampMicrosecondBuilder
    };
    (time_null) => {
        TimestampMicrosecondBuilder
    };
    (int) => {
        Int32Builder
    };
    (int_null) => {
        Int32Builder
    };
    (long) => {
        Int64Builder
    };
    (long_null) => {
        Int64Builder
    };
    ($text:ident) => {
        StringViewBuilder
    };
}

macro_rules! array {
    (time) => {
        TimestampMicrosecondArray
    };
    (time_null) => {
        TimestampMicrosecondArray
    };
    (int) => {
        Int32Array
    };
    (int_null) => {
        Int32Array
    };
    (long) => {
        Int64Array
    };
    (long_null) => {
        Int64Array
    };
    ($text:ident) => {
        StringViewArray
    };
}

macro_rules! new_builder {
    (time, $rows:expr) => {
        TimestampMicrosecondBuilder::with_capacity($rows).with_timezone(utc())
    };
    (time_null, $rows:expr) => {
        TimestampMicrosecondBuilder::with_capacity($rows).with_timezone(utc())
    };
    (int, $rows:expr) => {
        Int32Builder::with_capacity($rows)
    };
    (int_null, $rows:expr) => {
        Int32Builder::with_capacity($rows)
    };
    (long, $rows:expr) => {
        Int64Builder::with_capacity($rows)
    };
    (long_null, $rows:expr) => {
        Int64Builder::with_capacity($rows)
    };
    ($text:ident, $rows:expr) => {
        StringViewBuilder::with_capacity($rows)
    };
}

macro_rules! append {
    (text, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_option($value.as_deref())
    };
    (device, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_value($value.0.hyphenated().encode_lower($ids))
    };
    (spool, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_value($value.0.hyphenated().encode_lower($ids))
    };
    (time, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_value($value)
    };
    (int, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_value($value)
    };
    (long, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_value($value)
    };
    ($nullable:ident, $builder:expr, $value:expr, $ids:expr) => {
        $builder.append_option($value)
    };
}

macro_rules! fetch {
    (text, $array:expr, $index:expr, $name:expr) => {
        $array.is_valid($index).then(|| Cow::Borrowed($array.value($index)))
    };
    (device, $array:expr, $index:expr, $name:expr) => {
        DeviceUid(parse_uuid($array, $index, $name)?)
    };
    (spool, $array:expr, $index:expr, $name:expr) => {
        SpoolUid(parse_uuid($array, $index, $name)?)
    };
    (time, $array:expr, $index:expr, $name:expr) => {
        $array.value($index)
    };
    (int, $array:expr, $index:expr, $name:expr) => {
        $array.value($index)
    };
    (long, $array:expr, $index:expr, $name:expr) => {
        $array.value($index)
    };
    ($nullable:ident, $array:expr, $index:expr, $name:expr) => {
        $array.is_valid($index).then(|| $array.value($index))
    };
}

macro_rules! downcast {
    (time, $array:expr) => {
        $array.as_primitive_opt::<TimestampMicrosecondType>()
    };
    (time_null, $array:expr) => {
        $array.as_primitive_opt::<TimestampMicrosecondType>()
    };
    (int, $array:expr) => {
        $array.as_primitive_opt::<Int32Type>()
    };
    (int_null, $array:expr) => {
        $array.as_primitive_opt::<Int32Type>()
    };
    (long, $array:expr) => {
        $array.as_primitive_opt::<Int64Type>()
    };
    (long_null, $array:expr) => {
        $array.as_primitive_opt::<Int64Type>()
    };
    ($text:ident, $array:expr) => {
        $array.as_string_view_opt()
    };
}

macro_rules! generate {
    ($($name:ident: $kind:ident),+; $last:ident: $last_kind:ident) => {
        struct Builders {
            $($name: builder!($kind),)+
            addresses: ListBuilder<StringViewBuilder>,
            $last: builder!($last_kind),
        }

        impl Builders {
            fn with_capacity(rows: usize) -> Self {
                Self {
                    $($name: new_builder!($kind, rows),)+
                    addresses: ListBuilder::with_capacity(StringViewBuilder::new(), rows).with_field(element_field()),
                    $last: new_builder!($last_kind, rows),
                }
            }

            fn append(&mut self, row: &Row<'_>) {
                let ids = &mut [0_u8; uuid::fmt::Hyphenated::LENGTH];
                $(append!($kind, self.$name, row.$name, ids);)+
                append!($last_kind, self.$last, row.$last, ids);
                let mut any = false;
                for address in row.addresses() {
                    self.addresses.values().append_value(address);
                    any = true;
                }
                self.addresses.append(any);
            }

            fn finish(mut self) -> Vec<ArrayRef> {
                vec![$(Arc::new(self.$name.finish()) as ArrayRef,)+ Arc::new(self.addresses.finish()), Arc::new(self.$last.finish())]
            }
        }

        /// The columns of a batch by name.
        struct Arrays<'a> {
            $($name: &'a array!($kind),)+
            $last: &'a array!($last_kind),
        }

        impl<'a> Arrays<'a> {
            fn of(batch: &'a RecordBatch) -> Result<Self, LakeError> {
                Ok(Self {
                    $($name: batch.column_by_name(stringify!($name)).and_then(|array| downcast!($kind, array)).ok_or_else(|| shape(stringify!($name)))?,)+
                    $last: batch.column_by_name(stringify!($last)).and_then(|array| downcast!($last_kind, array)).ok_or_else(|| shape(stringify!($last)))?,
                })
            }

            fn row(&self, index: usize) -> Result<Row<'a>, LakeError> {
                Ok(Row {
                    $($name: fetch!($kind, self.$name, index, stringify!($name)),)+
                    $last: fetch!($last_kind, self.$last, index, stringify!($last)),
                })
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name),)+ "addresses", stringify!($last)];
    };
}

for_each_column!(generate);

fn shape(column: &'static str) -> LakeError {
    LakeError::Engine { action: "reading rows", source: format!("column {column} is missing or has another type").into() }
}

fn parse_uuid(array: &StringViewArray, index: usize, column: &'static str) -> Result<uuid::Uuid, LakeError> {
    uuid::Uuid::try_parse(array.value(index)).map_err(|_| shape(column))
}

/// Turns events into one batch of the table's file columns.
pub(crate) fn encode<'a>(events: impl ExactSizeIterator<Item = &'a StoredEvent>) -> Result<RecordBatch, LakeError> {
    let mut builders = Builders::with_capacity(events.len());
    for event in events {
        builders.append(&Row::from(event));
    }
    RecordBatch::try_new(Arc::clone(&FILE_SCHEMA), builders.finish()).map_err(|error| LakeError::Engine { action: "building rows", source: Box::new(error) })
}

/// Turns rows back into events. The batch may hold more columns than the file's, in any order.
pub(crate) fn decode(batch: &RecordBatch) -> Result<Vec<StoredEvent>, LakeError> {
    let arrays = Arrays::of(batch)?;
    let mut events = Vec::with_capacity(batch.num_rows());
    for index in 0..batch.num_rows() {
        let row = arrays.row(index)?;
        events.push(StoredEvent::try_from(row).map_err(|error| LakeError::Engine { action: "rebuilding an event from its row", source: Box::new(error) })?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_that_of_the_table() {
        let columns: Vec<_> = picket_event::columns::COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(super::NAMES, columns);
    }
}
