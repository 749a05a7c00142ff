//! The in-toto statement: which digest each file of the model has.

use crate::SigningError;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// Largest piece of a file that is digested on its own: the field's default, ten times over.
const SHARD_BYTES_MAX: u64 = 10_000_000_000;

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedModel {
    /// The model's name when it was signed.
    pub name: String,
    /// Digests by file, or by `FILE:START:END`.
    pub(crate) resources: BTreeMap<String, String>,
    pub(crate) hash: HashKind,
    pub(crate) shard_bytes: Option<u64>,
    pub(crate) allow_symlinks: bool,
    pub(crate) ignore: Vec<String>,
}

/// How files are digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashKind {
    Sha256,
    Blake3,
}

impl SignedModel {
    /// How many files, or pieces of files, have a digest.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.resources.len()
    }

    /// Paths that the signer left out; what is put there is not covered.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignore
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: serde_json::Value,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Predicate {
    resources: Vec<Resource>,
    serialization: Serialization,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    #[serde(default)]
    hash_type: Option<String>,
    #[serde(default)]
    shard_size: Option<serde_json::Number>,
    #[serde(default)]
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

fn unusable<T>(why: impl Into<String>) -> Result<T, SigningError> {
    Err(SigningError::Bundle(why.into()))
}

/// Reads a statement whose signature holds.
pub(crate) fn parse(payload: &[u8]) -> Result<SignedModel, SigningError> {
    let statement: Statement = serde_json::from_slice(payload).map_err(|error| SigningError::Bundle(format!("the statement: {error}")))?;
    if statement.kind != STATEMENT_TYPE {
        return unusable(format!("the statement is of the type {}", statement.kind));
    }
    if statement.predicate_type != PREDICATE_TYPE {
        return unusable(format!("the statement is about {}, not a model's signature", statement.predicate_type));
    }
    let [subject] = statement.subject.as_slice() else { return unusable("the statement has not exactly one subject") };
    let predicate: Predicate = serde_json::from_value(statement.predicate).map_err(|error| SigningError::Bundle(format!("the predicate: {error}")))?;
    let serialization = predicate.serialization;
    let hash = match serialization.hash_type.as_deref() {
        None | Some("sha256") => HashKind::Sha256,
        Some("blake3") => HashKind::Blake3,
        Some(other) => return Err(SigningError::Unsupported(format!("digests by {other}"))),
    };
    let shard_bytes = match (serialization.method.as_str(), serialization.shard_size.as_ref()) {
        ("files", _) => None,
        // protobuf's JSON has one kind of number.
        ("shards", Some(size)) => match size.as_u64().or_else(|| size.to_string().strip_suffix(".0").and_then(|whole| whole.parse().ok())) {
            Some(size) if (1..=SHARD_BYTES_MAX).contains(&size) => Some(size),
            _ => return unusable(format!("shards of {size} bytes")),
        },
        ("shards", None) => return unusable("shards without a size"),
        (other, _) => return Err(SigningError::Unsupported(format!("the serialisation {other}"))),
    };
    let mut root = Sha256::new();
    let mut resources = BTreeMap::new();
    for resource in predicate.resources {
        let expected = match (hash, resource.algorithm.split('-').next().unwrap_or_default()) {
            (HashKind::Sha256, "sha256") | (HashKind::Blake3, "blake3") => hex::decode(&resource.digest).ok().filter(|bytes| bytes.len() == 32),
            (_, other) => return Err(SigningError::Unsupported(format!("a digest by {other} among others"))),
        };
        let Some(bytes) = expected else { return unusable(format!("the digest of {} is none", resource.name)) };
        if !inside(&resource.name) {
            return unusable(format!("{} lies outside the model's folder", resource.name));
        }
        root.update(&bytes);
        if resources.insert(resource.name.clone(), hex::encode(bytes)).is_some() {
            return unusable(format!("{} has two digests", resource.name));
        }
    }
    let root = hex::encode(root.finalize());
    if subject.digest.get("sha256") != Some(&root) {
        return unusable("the subject's digest is not that of the resources");
    }
    Ok(SignedModel {
        name: subject.name.clone(),
        resources,
        hash,
        shard_bytes,
        allow_symlinks: serialization.allow_symlinks,
        ignore: serialization.ignore_paths,
    })
}

/// A relative path without steps upwards. A single file that was signed is `.`.
fn inside(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('/') && !name.contains('\0') && name.split('/').all(|part| part != ".." && !part.is_empty())
}
