//! Jupyter notebooks: the code of their cells, and the shell lines among it.

use crate::json::Json;
use crate::python;
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};

pub(crate) fn examine_notebook(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    let cells = document.get("cells").map(Json::items).unwrap_or_default();
    for (number, cell) in cells.iter().enumerate() {
        if cell.get("cell_type").and_then(Json::text) != Some("code") {
            continue;
        }
        let source = cell.get("source").map(Json::lines).unwrap_or_default();
        let key = format!("cells[{number}]");
        let whole_cell = source.trim_start().starts_with("%%bash") || source.trim_start().starts_with("%%sh") || source.trim_start().starts_with("%%script");
        let mut code = String::new();
        for line in source.lines() {
            let trimmed = line.trim_start();
            if whole_cell || trimmed.starts_with('!') || trimmed.starts_with("%sx") || trimmed.starts_with("%system") {
                shell(scan, place, &key, trimmed);
            } else if !trimmed.starts_with('%') && !trimmed.starts_with('?') {
                code.push_str(line);
                code.push('\n');
            }
        }
        if !whole_cell {
            python::examine_code(scan, place, &code, &python::Context { key: Some(key), import_time: false });
        }
    }
}

/// A download that is handed to an interpreter, or an encoded one.
fn shell(scan: &mut Scan<'_>, place: &Place, key: &str, line: &str) {
    if python::shell_fetches_and_runs(line) {
        let explanation = "Running the cell fetches or decodes a program and runs it in one line.";
        scan.add(Finding::new(&rules::NOTEBOOK_COMMAND, &place.member, explanation).key(key).value(line));
    }
}
