//! A figure, and the file that keeps the last of each.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One measured figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Stable name.
    pub(crate) name: String,
    /// Median where there were several rounds.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: String,
    /// What the ratio refers to, with its own value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compared_with: Option<String>,
    /// This figure over the compared one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// Lowest and highest round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<[f64; 2]>,
    /// Conditions that one must know to repeat it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) conditions: String,
    /// Cargo profile of the measured programs.
    #[serde(default)]
    pub(crate) profile: String,
    /// Kernel release.
    #[serde(default)]
    pub(crate) kernel: String,
    /// Processor and number of CPUs.
    #[serde(default)]
    pub(crate) cpu: String,
    /// Processes that wanted a CPU over the last minute: what else the machine was doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) load_average: Option<f64>,
    /// The benchmark that takes it.
    #[serde(default)]
    pub(crate) bench: String,
}

impl Figure {
    pub(crate) fn new(name: &str, value: f64, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: rounded(value),
            unit: unit.to_owned(),
            compared_with: None,
            ratio: None,
            spread: None,
            conditions: String::new(),
            profile: profile(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            cpu: cpu(),
            load_average: std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split_whitespace().next()?.parse().ok()),
            bench: String::new(),
        }
    }

    pub(crate) fn compared(mut self, with: &str, value: f64) -> Self {
        self.compared_with = Some(format!("{with}, {} {}", rounded(value), self.unit));
        self.ratio = (value != 0.0).then(|| rounded(self.value / value));
        self
    }

    /// Compared round by round: `ratio` is the median of the rounds' own.
    pub(crate) fn ratio(mut self, with: &str, ratio: f64) -> Self {
        self.compared_with = Some(format!("{with} {}", self.unit));
        self.ratio = Some(rounded(ratio));
        self
    }

    pub(crate) fn spread(mut self, low: f64, high: f64) -> Self {
        self.spread = Some([rounded(low), rounded(high)]);
        self
    }

    pub(crate) fn conditions(mut self, text: &str) -> Self {
        text.clone_into(&mut self.conditions);
        self
    }
}

/// Four significant digits: more would be noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 3.0 - value.abs().log10().floor();
    let scale = 10_f64.powf(digits);
    (value * scale).round() / scale
}

/// `release` or `dev`, by the folder that the measured programs lie in.
fn profile() -> String {
    let server = picket_tests::binaries::program("picket-server").or_else(|_| picket_tests::binaries::program("picket-agent"));
    let folder = server.ok().and_then(|path| path.canonicalize().ok());
    let release = folder.is_some_and(|path| path.components().any(|part| part.as_os_str() == "release"));
    if release { "release" } else { "dev (opt-level 1)" }.to_owned()
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    format!("{model}, {} CPUs", text.lines().filter(|line| line.starts_with("processor")).count())
}

/// `docs/figures.json`.
pub(crate) struct Book {
    path: PathBuf,
    figures: Vec<Figure>,
}

impl Book {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let figures = match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is not a list of figures", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Ok(Self { path: path.to_path_buf(), figures })
    }

    /// Puts the figures of one benchmark in place of its last ones.
    pub(crate) fn replace(&mut self, bench: &str, figures: Vec<Figure>) {
        self.figures.retain(|figure| figure.bench != bench);
        self.figures.extend(figures.into_iter().map(|figure| Figure { bench: bench.to_owned(), ..figure }));
    }

    pub(crate) fn save(&self) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&self.figures)?;
        text.push('\n');
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&self.path, text).with_context(|| format!("write {}", self.path.display()))
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{:<36} {:>14} {:<10} {:>8}  compared with\n", "figure", "value", "unit", "ratio");
        for figure in &self.figures {
            let ratio = figure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio}"));
            let with = figure.compared_with.as_deref().unwrap_or("-");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<36} {:>14} {:<10} {ratio:>8}  {with}", figure.name, figure.value, figure.unit);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_benchmark_replaces_only_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docs/figures.json");
        let mut book = Book::open(&path).unwrap();
        book.replace("a", vec![Figure::new("a.one", 1.0, "ns"), Figure::new("a.two", 2.0, "ns")]);
        book.replace("b", vec![Figure::new("b.one", 3.0, "s")]);
        book.replace("a", vec![Figure::new("a.one", 4.0, "ns").compared("bare", 2.0)]);
        book.save().unwrap();
        let again = Book::open(&path).unwrap();
        let names: Vec<_> = again.figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect();
        assert_eq!(names, [("b.one", 3.0), ("a.one", 4.0)]);
        assert_eq!(again.figures[1].ratio, Some(2.0));
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert_eq!(rounded(123_456.0), 123_500.0);
        assert_eq!(rounded(0.012_345_6), 0.012_35);
        assert_eq!(rounded(0.0), 0.0);
    }
}
