//! What commands print: data to stdout as a table or JSON, notes to stderr.

mod events;
mod table;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::Value;

pub(crate) use events::{EventTable, bytes};
pub(crate) use table::Grid;

use crate::error::CtlError;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One value; events and SQL rows one a line
    Json,
    /// One value a line
    Jsonl,
    /// SARIF 2.1.0; only `scan` prints it
    Sarif,
}

/// Where and how to print.
pub(crate) struct Output {
    /// The chosen form.
    pub(crate) format: Format,
    /// Columns of the terminal; absent where nothing is to be cut.
    pub(crate) width: Option<u16>,
    /// Escape sequences are welcome.
    pub(crate) terminal: bool,
}

impl Output {
    /// Cuts to `COLUMNS`, else to the terminal; never in a pipe, never with `--wide`.
    pub(crate) fn new(format: Format, wide: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns >= 20);
        let width = if wide { None } else { columns.or_else(|| terminal.then(table::terminal_width).flatten()) };
        Self { format, width, terminal }
    }

    /// A line of text for people.
    pub(crate) fn line(&self, text: &str) -> Result<(), CtlError> {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// Several lines, without an empty one behind them.
    pub(crate) fn block(&self, text: &str) -> Result<(), CtlError> {
        let mut out = io::stdout().lock();
        for line in text.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(out.flush()?)
    }

    /// One JSON value on one line.
    pub(crate) fn json_line(&self, value: &Value) -> Result<(), CtlError> {
        Ok(writeln!(io::stdout().lock(), "{}", harmless_json(value.to_string()))?)
    }

    /// One value: laid out for `json`, on one line for `jsonl`.
    pub(crate) fn json(&self, value: &Value) -> Result<(), CtlError> {
        if self.format == Format::Jsonl { self.json_line(value) } else { Ok(writeln!(io::stdout().lock(), "{}", harmless_json(format!("{value:#}")))?) }
    }

    /// Several values: one array for `json`, one a line for `jsonl`.
    pub(crate) fn json_list(&self, values: Vec<Value>) -> Result<(), CtlError> {
        if self.format == Format::Jsonl { values.iter().try_for_each(|value| self.json_line(value)) } else { self.json(&Value::Array(values)) }
    }

    /// A word beside the data.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("{}", clean(text));
    }
}

/// Text that an attacker wrote (names, paths, command lines) must not speak to the terminal: control characters and the marks that reorder
/// or hide text are shown as escapes.
pub(crate) fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            other if speaks_to_terminal(other) => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
    }
    shown
}

fn speaks_to_terminal(character: char) -> bool {
    character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The same for JSON text, where such characters can only stand in strings and have an escape of their own.
pub(crate) fn harmless_json(text: String) -> String {
    if !text.chars().any(|character| speaks_to_terminal(character) && character != '\n') {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if speaks_to_terminal(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_an_attacker_wrote_reaches_the_terminal_raw() {
        let hostile = "a\u{1b}[2J\u{9b}31m\r\n\u{202e}gnp.exe\u{200b}";
        let shown = clean(hostile);
        assert!(!shown.chars().any(speaks_to_terminal), "{shown:?}");
        let value = Value::String(hostile.to_owned());
        let text = harmless_json(value.to_string());
        assert!(!text.chars().any(speaks_to_terminal), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "the JSON still means the same");
    }

    #[test]
    fn plain_text_stays() {
        assert_eq!(clean("/srv/modèle/权重.safetensors"), "/srv/modèle/权重.safetensors");
    }
}
