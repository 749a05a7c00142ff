//! Credentials of a known shape. Evidence shows where one is, never the credential.

use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};

/// Credentials reported of one file.
const SECRETS_MAX: usize = 20;

/// What it opens, how it begins, and how many characters follow.
const SHAPES: &[(&str, &str, usize)] = &[
    ("an AWS access key", "AKIA", 16),
    ("a Hugging Face token", "hf_", 34),
    ("a GitHub token", "ghp_", 36),
    ("a GitHub token", "gho_", 36),
    ("a GitHub token", "github_pat_", 60),
    ("a GitLab token", "glpat-", 20),
    ("a Slack token", "xoxb-", 24),
    ("an OpenAI key", "sk-proj-", 40),
    ("an Anthropic key", "sk-ant-", 40),
    ("a Google API key", "AIza", 35),
    ("an npm token", "npm_", 36),
    ("a Weights & Biases key", "wandb_v1_", 40),
];

pub(super) fn examine(scan: &mut Scan<'_>, place: &Place, text: &str) {
    let mut found = 0;
    for (what, prefix, length) in SHAPES {
        for (at, _) in text.match_indices(prefix) {
            let before = text.get(..at).and_then(|head| head.chars().next_back());
            let tail = text.get(at + prefix.len()..).unwrap_or_default();
            let end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(tail.len());
            let secret = tail.get(..end).unwrap_or_default();
            if before.is_some_and(|before| before.is_alphanumeric()) || secret.len() < *length || !random(secret) {
                continue;
            }
            found += 1;
            if found > SECRETS_MAX {
                return;
            }
            let explanation = format!("Whoever gets this file gets {what}.");
            scan.add(Finding::new(&rules::SECRET, &place.member, explanation).at(place.base.saturating_add(at as u64)).value(format!("{prefix}…")));
        }
    }
    for (at, _) in text.match_indices("-----BEGIN ").take(SECRETS_MAX) {
        let rest = text.get(at..).unwrap_or_default();
        let header = rest.get(..rest.find('\n').unwrap_or(rest.len())).unwrap_or_default();
        let body = rest.get(header.len()..).unwrap_or_default().trim_start();
        if header.contains("PRIVATE KEY-----") && body.chars().take(40).filter(char::is_ascii_alphanumeric).count() >= 30 {
            let explanation = "Whoever gets this file gets a private key.";
            scan.add(Finding::new(&rules::SECRET, &place.member, explanation).at(place.base.saturating_add(at as u64)).value(header));
        }
    }
}

/// Placeholders repeat letters or spell words; keys have digits and variety.
fn random(secret: &str) -> bool {
    let mut distinct: Vec<char> = secret.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() >= 10 && secret.chars().any(|c| c.is_ascii_digit()) && !secret.to_ascii_uppercase().contains("EXAMPLE")
}
