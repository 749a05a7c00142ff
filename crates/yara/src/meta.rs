//! What a rule says of itself.

use picket_artifact::rules::Rule;
use picket_artifact::{Severity, Verdict};
use yara_x::MetaValue;

/// Texts of metadata are shown to people; longer ones are a mistake.
const TEXT_CHARS_MAX: usize = 300;

/// A rule as findings name it. Rules live as long as the process, as the set does that they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) rule: &'static Rule,
    pub(crate) explanation: String,
}

impl Meta {
    /// `id`, `title`, `severity`, `verdict`, `attack`, `atlas`, `version` and `explanation` are ours; a rule of another pack needs none of them.
    pub(crate) fn of(rule: &yara_x::Rule<'_, 'static>) -> Result<Self, String> {
        let mut texts = std::collections::HashMap::new();
        for (key, value) in rule.metadata() {
            let text = match value {
                MetaValue::String(text) => text.to_owned(),
                MetaValue::Integer(number) => number.to_string(),
                MetaValue::Float(number) => number.to_string(),
                MetaValue::Bool(value) => value.to_string(),
                MetaValue::Bytes(_) => continue,
            };
            texts.entry(key).or_insert_with(|| text.chars().take(TEXT_CHARS_MAX).collect::<String>());
        }
        let text = |key: &str| texts.get(key).filter(|text| !text.is_empty()).cloned();
        let severity = severity(text("severity").as_deref())?;
        let verdict = verdict(text("verdict").as_deref(), severity)?;
        let id = text("id").unwrap_or_else(|| format!("YARA:{}.{}", rule.namespace(), rule.identifier()));
        let title = text("title").or_else(|| text("description")).unwrap_or_else(|| rule.identifier().replace('_', " "));
        let techniques = [text("attack"), text("atlas")]
            .into_iter()
            .flatten()
            .flat_map(|list| list.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>())
            .map(|one| leak(&one))
            .collect::<Vec<_>>();
        let explanation = text("explanation").unwrap_or_else(|| format!("{}.", title.trim_end_matches('.')));
        let rule = Rule {
            id: leak(&id),
            version: leak(&text("version").unwrap_or_else(|| "unversioned".to_owned())),
            title: leak(&title),
            severity,
            techniques: Vec::leak(techniques),
            verdict,
        };
        Ok(Self { rule: Box::leak(Box::new(rule)), explanation })
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn severity(text: Option<&str>) -> Result<Severity, String> {
    let Some(text) = text else { return Ok(Severity::Medium) };
    Ok(match text.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" => Severity::High,
        "medium" => Severity::Medium,
        "low" => Severity::Low,
        "informational" | "info" => Severity::Informational,
        // Other packs score by number.
        other => match other.parse::<u32>() {
            Ok(score @ 0..=100) => [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
                .into_iter()
                .zip([40, 60, 80, u32::MAX])
                .find(|(_, below)| score < *below)
                .map_or(Severity::Critical, |(severity, _)| severity),
            _ => return Err(format!("severity is {text:?}, not critical, high, medium, low or informational")),
        },
    })
}

fn verdict(text: Option<&str>, severity: Severity) -> Result<Verdict, String> {
    match text {
        None if severity == Severity::Critical => Ok(Verdict::Malicious),
        None | Some("suspicious") => Ok(Verdict::Suspicious),
        Some("malicious") => Ok(Verdict::Malicious),
        Some(other) => Err(format!("verdict is {other:?}, not malicious or suspicious")),
    }
}
