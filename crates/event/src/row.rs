//! An event as the lake keeps it: one field a column of [`crate::columns::COLUMNS`], and back.
//!
//! Texts are borrowed from the event. An empty text, an absent part and an unknown number are `None`, which SQL shows as null.
//! Times keep whole microseconds, as Delta Lake does: order within one is told by `metadata_sequence`.

mod from_event;
mod into_event;

use std::borrow::Cow;

use crate::{DeviceUid, SpoolUid};

/// Text of a nullable column.
pub type Text<'a> = Option<Cow<'a, str>>;

/// One row of the table `events`. `addresses` is [`Row::addresses`], as it repeats two other columns.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[expect(missing_docs, reason = "each field is the column of that name, documented in `columns`")]
pub struct Row<'a> {
    /// Microseconds since the Unix epoch, as every time here.
    pub time: i64,
    pub received_time: i64,
    pub device_uid: DeviceUid,
    pub device_hostname: Text<'a>,
    pub metadata_spool: SpoolUid,
    pub metadata_sequence: i64,
    pub class_uid: i32,
    pub activity_id: i32,
    pub severity_id: i32,
    pub flags: i32,
    pub actor_process_uid: Text<'a>,
    /// `None` exactly where there is no actor.
    pub actor_process_pid: Option<i64>,
    pub actor_process_name: Text<'a>,
    pub actor_process_file_path: Text<'a>,
    pub actor_process_cmd_line: Text<'a>,
    pub actor_process_user_name: Text<'a>,
    pub actor_process_user_uid: Option<i64>,
    pub actor_process_parent_process_uid: Text<'a>,
    /// `None` exactly where the parent is unknown.
    pub actor_process_parent_process_pid: Option<i64>,
    pub actor_process_parent_process_name: Text<'a>,
    pub actor_process_parent_process_cmd_line: Text<'a>,
    /// `None` exactly where there is no container.
    pub actor_process_container_uid: Text<'a>,
    pub actor_process_container_name: Text<'a>,
    pub picket_exec_tree_id: Text<'a>,
    pub picket_process_role: Text<'a>,
    pub picket_job_scheduler: Text<'a>,
    /// `None` exactly where there is no job.
    pub picket_job_uid: Text<'a>,
    pub picket_job_rank: Option<i32>,
    pub picket_asset_class: Text<'a>,
    pub process_uid: Text<'a>,
    pub process_pid: Option<i64>,
    pub process_name: Text<'a>,
    pub process_file_path: Text<'a>,
    pub process_cmd_line: Text<'a>,
    pub launch_type_id: Option<i32>,
    pub exit_code: Option<i32>,
    pub file_path: Text<'a>,
    pub file_name: Text<'a>,
    pub file_size: Option<i64>,
    pub file_inode: Option<i64>,
    pub file_hash_sha256: Text<'a>,
    /// `None` exactly where there is no second name.
    pub file_result_path: Text<'a>,
    pub access_mask: Option<i32>,
    pub src_endpoint_ip: Text<'a>,
    pub src_endpoint_port: Option<i32>,
    pub dst_endpoint_ip: Text<'a>,
    pub dst_endpoint_port: Option<i32>,
    pub connection_info_direction_id: Option<i32>,
    pub connection_info_protocol_num: Option<i32>,
    pub connection_info_uid: Option<i64>,
    pub traffic_bytes_in: Option<i64>,
    pub traffic_bytes_out: Option<i64>,
    pub duration: Option<i64>,
    pub loss_cause: Text<'a>,
    pub loss_class_uid: Option<i32>,
    pub loss_count: Option<i64>,
    pub loss_start_time: Option<i64>,
    pub loss_end_time: Option<i64>,
    /// Only where the event brings its own; the sentence of every other is made from the columns when it is shown.
    pub message: Text<'a>,
    pub method: Text<'a>,
    pub file_bytes_read: Option<i64>,
    pub file_bytes_written: Option<i64>,
    pub operation: Text<'a>,
    pub count: Option<i64>,
    pub dns_query_hostname: Text<'a>,
    pub finding_rule_uid: Text<'a>,
    pub finding_title: Text<'a>,
    pub verdict: Text<'a>,
    pub rest: Text<'a>,
}

/// A row that no event makes: damaged, or written by a newer version.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The column's value names nothing that this version knows.
    #[error("column {column} holds a value that this version does not know")]
    Unknown {
        /// The column.
        column: &'static str,
    },
    /// The class needs the column and the row has none.
    #[error("column {column} is empty")]
    Missing {
        /// The column.
        column: &'static str,
    },
    /// The column `rest` cannot be read.
    #[error("column rest cannot be read")]
    Rest(#[from] serde_json::Error),
}
