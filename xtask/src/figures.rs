//! `docs/figures.json` → the tables of SPECIFICATION.md: what the last `make bench` measured, never typed by hand.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repo::Repo;

const FIGURES: &str = "docs/figures.json";
const SPECIFICATION: &str = "SPECIFICATION.md";
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// One measured figure, as `make bench` prints it.
#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    #[serde(default)]
    compared_with: Option<String>,
    #[serde(default)]
    ratio: Option<f64>,
    #[serde(default)]
    spread: Option<Spread>,
    #[serde(default)]
    kernel: String,
    #[serde(default)]
    cpu: String,
}

/// A spread is one number (median absolute deviation, in the figure's unit), a pair, or words.
#[derive(Deserialize)]
#[serde(untagged)]
enum Spread {
    One(f64),
    Pair([f64; 2]),
    Words(String),
}

/// Says whether the tables are in step.
pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let (before, after) = rewritten(repo)?;
    Ok(if before == after { Vec::new() } else { vec![format!("{SPECIFICATION} differs from {FIGURES}; run `cargo xtask figures` and commit it")] })
}

/// Writes the tables.
pub(crate) fn write(repo: &Repo) -> Result<Vec<String>> {
    let (before, after) = rewritten(repo)?;
    if before != after {
        std::fs::write(repo.root.join(SPECIFICATION), after).context("cannot write SPECIFICATION.md")?;
    }
    Ok(Vec::new())
}

fn rewritten(repo: &Repo) -> Result<(String, String)> {
    let before = repo.read(SPECIFICATION)?;
    let figures: Vec<Figure> = match repo.read_if_there(FIGURES)? {
        Some(text) => serde_json::from_str(&text).with_context(|| format!("{FIGURES} is not a list of figures"))?,
        None => Vec::new(),
    };
    let after = replace(&before, &table(&figures))?;
    Ok((before, after))
}

fn replace(text: &str, table: &str) -> Result<String> {
    let Some((head, rest)) = text.split_once(BEGIN) else { bail!("{SPECIFICATION} has no line `{BEGIN}`") };
    let Some((_, tail)) = rest.split_once(END) else { bail!("{SPECIFICATION} has no line `{END}`") };
    Ok(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

fn table(figures: &[Figure]) -> String {
    if figures.is_empty() {
        return "\nNo figure has been recorded yet: `make bench`.\n\n".to_owned();
    }
    let mut text = String::new();
    let mut machine = None;
    for figure in figures {
        let own = (figure.kernel.as_str(), figure.cpu.as_str());
        if machine != Some(own) {
            machine = Some(own);
            let _ = write!(
                text,
                "\nKernel {}, {}:\n\n| figure | value | compared with | ratio | spread |\n|---|---:|---|---:|---|\n",
                or_unknown(own.0),
                or_unknown(own.1)
            );
        }
        let _ = writeln!(
            text,
            "| `{}` | {} {} | {} | {} | {} |",
            figure.name,
            number(figure.value),
            figure.unit,
            figure.compared_with.as_deref().unwrap_or("–"),
            figure.ratio.map_or_else(|| "–".to_owned(), number),
            figure.spread.as_ref().map_or_else(|| "–".to_owned(), spread)
        );
    }
    text.push('\n');
    text
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "not stated" } else { text }
}

fn spread(spread: &Spread) -> String {
    match spread {
        Spread::One(value) => format!("± {}", number(*value)),
        Spread::Pair([low, high]) => format!("{} … {}", number(*low), number(*high)),
        Spread::Words(words) => words.clone(),
    }
}

/// Three significant digits, thousands apart: a table is for people.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    let decimals = if magnitude >= 2.0 {
        0
    } else if magnitude >= 1.0 {
        1
    } else if magnitude >= 0.0 {
        2
    } else {
        3
    };
    let plain = format!("{value:.decimals$}");
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    match fraction.map(|fraction| fraction.trim_end_matches('0')).filter(|fraction| !fraction.is_empty()) {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in
            [(0.0, "0"), (1_234_567.0, "1,234,567"), (142.4, "142"), (12.34, "12.3"), (1.5, "1.5"), (0.1234, "0.123"), (-4321.0, "-4,321"), (2.0, "2")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_text_around_the_markers_stays() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replace(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace(&new, "new\n").unwrap(), new);
        assert!(replace("nothing", "x").is_err());
    }

    #[test]
    fn a_figure_becomes_a_row() {
        let json = r#"[{"name":"open_close_added","value":118.2,"unit":"ns","compared_with":"auditd","ratio":0.04,"spread":[110,130],"kernel":"6.1","cpu":"x"},{"name":"plain","value":3,"unit":"s"}]"#;
        let figures: Vec<Figure> = serde_json::from_str(json).unwrap();
        let text = table(&figures);
        assert!(text.contains("| `open_close_added` | 118 ns | auditd | 0.04 | 110 … 130 |"), "{text}");
        assert!(text.contains("| `plain` | 3 s | – | – | – |"), "{text}");
        assert_eq!(text.matches("Kernel").count(), 2);
    }
}
