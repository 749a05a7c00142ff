//! What the fields of the search language mean: every column by its name, and short names for what people ask for most.

use picket_event::columns::{COLUMNS, Column, ColumnType, by_name};

/// What a field looks at.
#[derive(Clone, Debug)]
pub(super) enum Field {
    /// Any of these columns.
    Columns(Vec<&'static Column>),
    /// Either end's address: one, a network, or a pattern.
    Address,
    /// A user's name or number.
    User,
    /// The class by a word of its caption or by its number.
    Class,
    /// What was done, by its word or number.
    Activity,
    /// The severity by its caption or number.
    Severity,
    /// Not before this moment.
    Since,
    /// Before this moment.
    Until,
}

/// Short names and what they stand for. The first name is the one that the documentation uses.
const ALIASES: &[(&[&str], &[&str])] = &[
    (&["host", "hostname"], &["device_hostname"]),
    (&["device"], &["device_uid"]),
    (&["pid"], &["actor_process_pid", "process_pid"]),
    (&["ppid"], &["actor_process_parent_process_pid"]),
    (&["process", "name"], &["actor_process_name", "process_name"]),
    (&["exe"], &["actor_process_file_path", "process_file_path"]),
    (&["cmd", "cmdline"], &["actor_process_cmd_line", "process_cmd_line"]),
    (&["parent"], &["actor_process_parent_process_name"]),
    (&["parent_cmd"], &["actor_process_parent_process_cmd_line"]),
    (&["proc_uid"], &["actor_process_uid", "process_uid"]),
    (&["parent_uid"], &["actor_process_parent_process_uid"]),
    (&["tree"], &["picket_exec_tree_id"]),
    (&["file", "path"], &["file_path", "file_name", "file_result_path"]),
    (&["size"], &["file_size"]),
    (&["sha256", "hash"], &["file_hash_sha256"]),
    (&["asset"], &["picket_asset_class"]),
    (&["port"], &["src_endpoint_port", "dst_endpoint_port"]),
    (&["src"], &["src_endpoint_ip"]),
    (&["dst"], &["dst_endpoint_ip"]),
    (&["bytes_in"], &["traffic_bytes_in"]),
    (&["bytes_out"], &["traffic_bytes_out"]),
    (&["container"], &["actor_process_container_uid", "actor_process_container_name"]),
    (&["job"], &["picket_job_uid"]),
    (&["scheduler"], &["picket_job_scheduler"]),
    (&["rank"], &["picket_job_rank"]),
    (&["role"], &["picket_process_role"]),
    (&["loss"], &["loss_cause"]),
    (&["domain", "query"], &["dns_query_hostname"]),
    (&["rule"], &["finding_rule_uid"]),
    (&["title"], &["finding_title"]),
    (&["seq"], &["metadata_sequence"]),
    (&["received"], &["received_time"]),
];

const SPECIAL: &[(&[&str], Field)] = &[
    (&["ip", "address"], Field::Address),
    (&["user"], Field::User),
    (&["class"], Field::Class),
    (&["activity", "action"], Field::Activity),
    (&["severity"], Field::Severity),
    (&["since"], Field::Since),
    (&["until"], Field::Until),
];

/// The field of a name: an alias, a column, or a column's OCSF path with dots.
pub(super) fn resolve(name: &str) -> Option<Field> {
    let name = name.to_ascii_lowercase();
    if let Some((_, field)) = SPECIAL.iter().find(|(names, _)| names.contains(&name.as_str())) {
        return Some(field.clone());
    }
    if let Some((_, columns)) = ALIASES.iter().find(|(names, _)| names.contains(&name.as_str())) {
        return Some(Field::Columns(columns.iter().filter_map(|column| by_name(column)).collect()));
    }
    let column = by_name(&name.replace('.', "_"))?;
    Some(if column.kind == ColumnType::TextList { Field::Address } else { Field::Columns(vec![column]) })
}

/// Columns that bare words look at.
pub(super) fn word_columns() -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(|column| column.words)
}

/// The known name closest to a wrong one, if any is close.
pub(super) fn suggest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let known = ALIASES.iter().flat_map(|(names, _)| names.iter()).chain(SPECIAL.iter().flat_map(|(names, _)| names.iter())).copied();
    let known = known.chain(COLUMNS.iter().map(|column| column.name));
    closest(&name, known)
}

/// The candidate with the fewest edits, when they are few for its length.
pub(super) fn closest(text: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let (distance, best) = candidates.map(|candidate| (edits(text, candidate), candidate)).min()?;
    (distance <= (best.len() + 2) / 4).then_some(best)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one text to the other. Longer texts than any name are not compared.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at = |rows: &[Vec<usize>], line: usize, cell: usize| rows.get(line).and_then(|row| row.get(cell)).copied().unwrap_or(usize::MAX / 2);
    for (line, from) in a.iter().enumerate() {
        let mut row = vec![line + 1];
        for (cell, to) in b.iter().enumerate() {
            let left = row.last().copied().unwrap_or_default();
            let mut best = (at(&rows, line, cell) + usize::from(from != to)).min(at(&rows, line, cell + 1) + 1).min(left + 1);
            if line > 0 && cell > 0 && a.get(line - 1) == Some(to) && b.get(cell - 1) == Some(from) {
                best = best.min(at(&rows, line - 1, cell - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_names_columns_that_exist() {
        for (names, columns) in ALIASES {
            assert!(columns.iter().all(|column| by_name(column).is_some()), "{names:?}");
        }
    }

    #[test]
    fn suggests_what_was_meant() {
        assert_eq!(suggest("flie"), Some("file"));
        assert_eq!(suggest("Hots"), Some("host"));
        assert_eq!(suggest("actor_proces_pid"), Some("actor_process_pid"));
        assert_eq!(suggest("http"), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn resolves_aliases_columns_and_paths() {
        let same = |a: &str, b: &str| assert_eq!(format!("{:?}", resolve(a).unwrap()), format!("{:?}", resolve(b).unwrap()));
        same("HOST", "device_hostname");
        same("device.hostname", "host");
        same("addresses", "ip");
        assert!(resolve("nothing").is_none());
    }
}
