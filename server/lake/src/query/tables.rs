//! What SQL can name: `events` and the short views over it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    common::{DataFusionError, Result},
    datasource::{ViewTable, provider_as_source},
    logical_expr::{Expr, LogicalPlanBuilder, case, col, lit},
};

use super::provider::Events;

const EVENTS: &str = "events";

/// A view: the rows of one class under short names.
struct View {
    name: &'static str,
    class: i32,
    columns: &'static [(&'static str, &'static str)],
    /// What `activity_id` says, in words.
    activities: &'static [(i32, &'static str)],
}

/// Who did it, in every view.
const ACTOR: &[(&str, &str)] = &[
    ("time", "time"),
    ("device_hostname", "host"),
    ("device_uid", "device_uid"),
    ("actor_process_user_name", "user_name"),
    ("actor_process_pid", "actor_pid"),
    ("actor_process_name", "actor_name"),
    ("actor_process_cmd_line", "actor_cmd_line"),
    ("actor_process_uid", "actor_uid"),
    ("actor_process_parent_process_name", "actor_parent_name"),
    ("actor_process_parent_process_uid", "actor_parent_uid"),
    ("actor_process_container_name", "container"),
    ("picket_job_uid", "job"),
    ("picket_process_role", "role"),
    ("picket_exec_tree_id", "exec_tree_id"),
];

const VIEWS: &[View] = &[
    View {
        name: "processes",
        class: 1007,
        columns: &[
            ("process_pid", "pid"),
            ("process_uid", "process_uid"),
            ("process_name", "name"),
            ("process_file_path", "path"),
            ("process_cmd_line", "cmd_line"),
            ("launch_type_id", "launch_type_id"),
            ("exit_code", "exit_code"),
            ("method", "method"),
        ],
        activities: &[(1, "launch"), (2, "terminate"), (3, "open"), (4, "inject"), (5, "set_user_id")],
    },
    View {
        name: "files",
        class: 1001,
        columns: &[
            ("file_path", "path"),
            ("file_name", "name"),
            ("file_result_path", "new_path"),
            ("file_size", "size"),
            ("file_inode", "inode"),
            ("file_hash_sha256", "sha256"),
            ("access_mask", "access_mask"),
            ("picket_asset_class", "asset_class"),
            ("method", "method"),
            ("file_bytes_read", "bytes_read"),
            ("file_bytes_written", "bytes_written"),
        ],
        activities: &[
            (1, "create"),
            (2, "read"),
            (3, "update"),
            (4, "delete"),
            (5, "rename"),
            (6, "set_attributes"),
            (7, "set_security"),
            (12, "mount"),
            (13, "unmount"),
            (14, "open"),
            (99, "link"),
        ],
    },
    View {
        name: "connections",
        class: 4001,
        columns: &[
            ("connection_info_direction_id", "direction_id"),
            ("connection_info_protocol_num", "protocol_num"),
            ("connection_info_uid", "flow_uid"),
            ("src_endpoint_ip", "src_ip"),
            ("src_endpoint_port", "src_port"),
            ("dst_endpoint_ip", "dst_ip"),
            ("dst_endpoint_port", "dst_port"),
            ("traffic_bytes_in", "bytes_in"),
            ("traffic_bytes_out", "bytes_out"),
            ("duration", "duration_ms"),
        ],
        activities: &[(1, "open"), (2, "close"), (4, "fail"), (5, "refuse"), (6, "traffic"), (7, "listen")],
    },
    View {
        name: "findings",
        class: 2004,
        columns: &[
            ("severity_id", "severity_id"),
            ("finding_rule_uid", "rule_uid"),
            ("finding_title", "title"),
            ("verdict", "verdict"),
            ("message", "message"),
            ("file_path", "path"),
            ("file_hash_sha256", "sha256"),
            ("picket_asset_class", "asset_class"),
        ],
        activities: &[(1, "create"), (2, "update"), (3, "close")],
    },
    View {
        name: "compliance",
        class: 2003,
        columns: &[("finding_rule_uid", "check_uid"), ("finding_title", "title"), ("verdict", "status"), ("message", "message")],
        activities: &[(1, "create"), (2, "update"), (3, "close")],
    },
    View {
        name: "dns",
        class: 4003,
        columns: &[
            ("dns_query_hostname", "hostname"),
            ("src_endpoint_ip", "src_ip"),
            ("src_endpoint_port", "src_port"),
            ("dst_endpoint_ip", "dst_ip"),
            ("dst_endpoint_port", "dst_port"),
            ("connection_info_protocol_num", "protocol_num"),
            ("connection_info_uid", "flow_uid"),
        ],
        activities: &[(1, "query"), (2, "response")],
    },
    View {
        name: "kernel",
        class: 1003,
        columns: &[
            ("operation", "operation"),
            ("count", "count"),
            ("process_pid", "pid"),
            ("process_uid", "process_uid"),
            ("process_name", "name"),
            ("process_cmd_line", "cmd_line"),
        ],
        activities: &[(4, "invoke")],
    },
    View {
        name: "scans",
        class: 6007,
        columns: &[("message", "message"), ("rest", "detail")],
        activities: &[
            (1, "started"),
            (2, "completed"),
            (3, "cancelled"),
            (4, "duration_violation"),
            (6, "error"),
            (7, "paused"),
            (8, "resumed"),
            (9, "restarted"),
            (10, "delayed"),
        ],
    },
];

impl View {
    fn table(&self, events: &Arc<Events>) -> Result<Arc<dyn TableProvider>> {
        let source = provider_as_source(Arc::clone(events) as Arc<dyn TableProvider>);
        let columns = ACTOR.iter().chain(self.columns).map(|(column, name)| col(*column).alias(*name));
        let mut columns: Vec<Expr> = columns.collect();
        if let Some(activity) = self.activity()? {
            columns.insert(1, activity);
        }
        let plan = LogicalPlanBuilder::scan(EVENTS, source, None)?.filter(col("class_uid").eq(lit(self.class)))?.project(columns)?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }

    fn activity(&self) -> Result<Option<Expr>> {
        let mut arms = self.activities.iter();
        let Some((id, word)) = arms.next() else { return Ok(None) };
        let mut words = case(col("activity_id")).when(lit(*id), lit(*word));
        for (id, word) in arms {
            words = words.when(lit(*id), lit(*word));
        }
        Ok(Some(words.otherwise(lit("other"))?.alias("activity")))
    }
}

/// The one catalog of a query's session. Nothing can be added to it.
#[derive(Debug)]
pub(super) struct Catalog(Arc<Tables>);

impl Catalog {
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self(Arc::new(Tables(events)))
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec!["public".to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == "public").then(|| Arc::clone(&self.0) as Arc<dyn SchemaProvider>)
    }
}

#[derive(Debug)]
struct Tables(Arc<Events>);

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        std::iter::once(EVENTS).chain(VIEWS.iter().map(|view| view.name)).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if name == EVENTS {
            return Ok(Some(Arc::clone(&self.0) as Arc<dyn TableProvider>));
        }
        VIEWS.iter().find(|view| view.name == name).map(|view| view.table(&self.0)).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        name == EVENTS || VIEWS.iter().any(|view| view.name == name)
    }
}
