//! The columns of the one table, `events`: OCSF paths with `_` for `.`. The lake stores them, SQL and the search language name
//! them, `picketctl` and the docs list them. Adding one is a schema change of the lake (old rows read null); renaming one breaks users.

/// Type of a column, in the lake's words. Delta Lake has no unsigned integers and keeps microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8.
    Text,
    /// 32-bit signed.
    Int,
    /// 64-bit signed.
    Long,
    /// Microseconds since the Unix epoch, UTC.
    Time,
    /// List of UTF-8.
    TextList,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name in SQL.
    pub name: &'static str,
    /// Type.
    pub kind: ColumnType,
    /// Where the value stands in the OCSF JSON of the event.
    pub ocsf: &'static str,
    /// Carries a bloom filter: an equality on it skips files.
    pub needle: bool,
    /// Bare words of the search language look here.
    pub words: bool,
}

const fn column(name: &'static str, kind: ColumnType, ocsf: &'static str) -> Column {
    Column { name, kind, ocsf, needle: false, words: false }
}

const fn needle(name: &'static str, kind: ColumnType, ocsf: &'static str) -> Column {
    Column { needle: true, ..column(name, kind, ocsf) }
}

const fn needle_words(name: &'static str, ocsf: &'static str) -> Column {
    Column { words: true, ..needle(name, ColumnType::Text, ocsf) }
}

const fn words(name: &'static str, ocsf: &'static str) -> Column {
    Column { words: true, ..column(name, ColumnType::Text, ocsf) }
}

/// Partition column of the table: the day the server received the event, `YYYY-MM-DD`, UTC. Not by the event's own time: a host with a
/// wrong clock must not make a thousand folders.
pub const PARTITION: &str = "day";

/// Every column but the partition, in the order of the table.
pub const COLUMNS: &[Column] = &[
    column("time", ColumnType::Time, "time"),
    column("received_time", ColumnType::Time, "metadata.logged_time"),
    needle("device_uid", ColumnType::Text, "device.uid"),
    words("device_hostname", "device.hostname"),
    column("metadata_spool", ColumnType::Text, "picket.spool_uid"),
    column("metadata_sequence", ColumnType::Long, "metadata.sequence"),
    column("class_uid", ColumnType::Int, "class_uid"),
    column("activity_id", ColumnType::Int, "activity_id"),
    column("severity_id", ColumnType::Int, "severity_id"),
    column("flags", ColumnType::Int, "picket.flags"),
    needle("actor_process_uid", ColumnType::Text, "actor.process.uid"),
    column("actor_process_pid", ColumnType::Long, "actor.process.pid"),
    words("actor_process_name", "actor.process.name"),
    words("actor_process_file_path", "actor.process.file.path"),
    words("actor_process_cmd_line", "actor.process.cmd_line"),
    column("actor_process_user_name", ColumnType::Text, "actor.process.user.name"),
    column("actor_process_user_uid", ColumnType::Long, "actor.process.user.uid"),
    needle("actor_process_parent_process_uid", ColumnType::Text, "actor.process.parent_process.uid"),
    column("actor_process_parent_process_pid", ColumnType::Long, "actor.process.parent_process.pid"),
    column("actor_process_parent_process_name", ColumnType::Text, "actor.process.parent_process.name"),
    words("actor_process_parent_process_cmd_line", "actor.process.parent_process.cmd_line"),
    needle("actor_process_container_uid", ColumnType::Text, "actor.process.container.uid"),
    column("actor_process_container_name", ColumnType::Text, "actor.process.container.name"),
    needle("picket_exec_tree_id", ColumnType::Text, "picket.exec_tree_id"),
    column("picket_process_role", ColumnType::Text, "picket.process_role"),
    column("picket_job_scheduler", ColumnType::Text, "picket.job.scheduler"),
    needle("picket_job_uid", ColumnType::Text, "picket.job.uid"),
    column("picket_job_rank", ColumnType::Int, "picket.job.rank"),
    column("picket_asset_class", ColumnType::Text, "picket.asset_class"),
    needle("process_uid", ColumnType::Text, "process.uid"),
    column("process_pid", ColumnType::Long, "process.pid"),
    words("process_name", "process.name"),
    words("process_file_path", "process.file.path"),
    words("process_cmd_line", "process.cmd_line"),
    column("launch_type_id", ColumnType::Int, "launch_type_id"),
    column("exit_code", ColumnType::Int, "exit_code"),
    words("file_path", "file.path"),
    column("file_name", ColumnType::Text, "file.name"),
    column("file_size", ColumnType::Long, "file.size"),
    column("file_inode", ColumnType::Long, "picket.file.inode"),
    needle("file_hash_sha256", ColumnType::Text, "file.hashes[algorithm_id=3].value"),
    words("file_result_path", "file_result.path"),
    column("access_mask", ColumnType::Int, "access_mask"),
    needle("src_endpoint_ip", ColumnType::Text, "src_endpoint.ip"),
    column("src_endpoint_port", ColumnType::Int, "src_endpoint.port"),
    needle("dst_endpoint_ip", ColumnType::Text, "dst_endpoint.ip"),
    column("dst_endpoint_port", ColumnType::Int, "dst_endpoint.port"),
    column("connection_info_direction_id", ColumnType::Int, "connection_info.direction_id"),
    column("connection_info_protocol_num", ColumnType::Int, "connection_info.protocol_num"),
    column("connection_info_uid", ColumnType::Long, "connection_info.uid"),
    column("traffic_bytes_in", ColumnType::Long, "traffic.bytes_in"),
    column("traffic_bytes_out", ColumnType::Long, "traffic.bytes_out"),
    column("duration", ColumnType::Long, "duration"),
    column("loss_cause", ColumnType::Text, "picket.loss.cause"),
    column("loss_class_uid", ColumnType::Int, "picket.loss.class_uid"),
    column("loss_count", ColumnType::Long, "picket.loss.count"),
    column("loss_start_time", ColumnType::Time, "start_time"),
    column("loss_end_time", ColumnType::Time, "end_time"),
    words("message", "message"),
    column("method", ColumnType::Text, "picket.method"),
    column("file_bytes_read", ColumnType::Long, "picket.bytes_read"),
    column("file_bytes_written", ColumnType::Long, "picket.bytes_written"),
    column("operation", ColumnType::Text, "picket.kernel.operation"),
    column("count", ColumnType::Long, "picket.kernel.count"),
    needle_words("dns_query_hostname", "query.hostname"),
    needle("finding_rule_uid", ColumnType::Text, "picket.rule.uid"),
    words("finding_title", "finding_info.title"),
    column("verdict", ColumnType::Text, "picket.verdict"),
    // Both addresses of a flow in one list: "this address, whichever end" stays one needle instead of an OR that defeats filters.
    needle("addresses", ColumnType::TextList, "observables[type_id=2].value"),
    // Everything of the record that has no column of its own, as JSON: the whole event can be rebuilt from a row.
    column("rest", ColumnType::Text, "*"),
];

/// The column of a name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.name == name)
}
