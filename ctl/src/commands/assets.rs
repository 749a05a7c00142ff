//! `picketctl assets`: signatures and bills of materials of models on this machine; needs no server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use picket_artifact::Watch;
use picket_bounded::read_to_cap;
use picket_signing::{BUNDLE_BYTES_MAX, Difference, DifferenceKind, SignedModel, Signer, SigningError, Trust, verify_bundle};
use serde_json::{Value, json};

use super::{bom, interrupt};
use crate::cli::{Assets, Verify};
use crate::error::CtlError;
use crate::output::{Format, Output, clean};

/// Keys, certificates and trust roots: some kilobytes each.
const TRUST_BYTES_MAX: u64 = 4 << 20;
/// What the field's tools call the bundle.
const SIGNATURE_NAMES: &[&str] = &["model.sig", "claims.jsonl"];
/// Differences in the table; JSON has them all.
const SHOWN_MAX: usize = 50;

/// Not as it was signed, or not by whom is trusted.
const NOT_AS_SIGNED: u8 = 1;
/// It could not be told.
const NOT_FINISHED: u8 = 2;

/// Runs the command and gives its exit code.
pub(crate) fn run(command: &Assets, output: &Output) -> ExitCode {
    let outcome = match command {
        Assets::Verify(arguments) => verify(arguments, output),
        Assets::Bom(arguments) => bom::run(arguments).map(|()| 0),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(CtlError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(NOT_FINISHED),
        Err(error) => {
            eprintln!("error: {}", clean(&error.to_string()));
            ExitCode::from(NOT_FINISHED)
        }
    }
}

fn verify(arguments: &Verify, output: &Output) -> Result<u8, CtlError> {
    let signature = signature(arguments)?;
    let bundle = read(&signature, BUNDLE_BYTES_MAX)?;
    let (signed, signer) = match verify_bundle(&bundle, &trust(arguments)?) {
        Ok(verified) => verified,
        Err(error @ (SigningError::Refused(_) | SigningError::Identity(_) | SigningError::Bundle(_))) => {
            print(output, arguments, None, &[], Some(&error.to_string()))?;
            return Ok(NOT_AS_SIGNED);
        }
        Err(error) => return Err(CtlError::Config { path: signature, message: error.to_string() }),
    };
    let watch = Arc::new(Watch::default());
    interrupt::on_ctrl_c(Arc::clone(&watch), "stopping; nothing is verified");
    let but: Vec<PathBuf> = arguments.ignore.iter().cloned().chain([signature]).collect();
    let differences = signed
        .check(&arguments.path, &but, &mut |_| !watch.stop.load(Ordering::Relaxed))
        .map_err(|error| CtlError::Config { path: arguments.path.clone(), message: error.to_string() })?;
    print(output, arguments, Some((&signed, &signer)), &differences, None)?;
    Ok(if differences.is_empty() { 0 } else { NOT_AS_SIGNED })
}

/// The bundle that was named, or the one beside the files.
fn signature(arguments: &Verify) -> Result<PathBuf, CtlError> {
    if let Some(named) = &arguments.signature {
        return Ok(named.clone());
    }
    let folder = if arguments.path.is_dir() { arguments.path.as_path() } else { arguments.path.parent().unwrap_or(Path::new(".")) };
    let found = SIGNATURE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| CtlError::Usage(format!("no {} beside the model; say --signature FILE", SIGNATURE_NAMES.join(" or "))))
}

fn trust(arguments: &Verify) -> Result<Trust, CtlError> {
    if let Some(key) = &arguments.public_key {
        return Ok(Trust::Key(read(key, TRUST_BYTES_MAX)?));
    }
    if let (Some(root), Some(identity), Some(issuer)) = (&arguments.trusted_root, &arguments.identity, &arguments.identity_provider) {
        return Ok(Trust::Sigstore { root: read(root, TRUST_BYTES_MAX)?, identity: identity.clone(), issuer: issuer.clone() });
    }
    let mut anchors = Vec::new();
    for path in &arguments.certificate_chain {
        anchors.extend(read(path, TRUST_BYTES_MAX)?);
        anchors.push(b'\n');
    }
    let at = match &arguments.signed_at {
        Some(text) => text.parse::<Timestamp>().map_err(|_| CtlError::Usage(format!("`{text}` is no time: say 2026-01-31T12:00:00Z")))?,
        None => Timestamp::now(),
    };
    Ok(Trust::Certificates { anchors, at: at.as_second() })
}

fn read(path: &Path, cap: u64) -> Result<Vec<u8>, CtlError> {
    let failed = |message: String| CtlError::Config { path: path.to_owned(), message };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    read_to_cap(file, cap).map_err(|error| failed(error.to_string()))
}

fn word(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Changed => "changed",
        DifferenceKind::Missing => "missing",
        DifferenceKind::Extra => "not signed",
        DifferenceKind::Symlink => "a link, which the signer did not allow",
        DifferenceKind::Special => "neither file nor folder",
    }
}

fn print(
    output: &Output,
    arguments: &Verify,
    verified: Option<(&SignedModel, &Signer)>,
    differences: &[Difference],
    refused: Option<&str>,
) -> Result<(), CtlError> {
    if output.format != Format::Table {
        let differences: Vec<Value> = differences.iter().map(|difference| json!({"path": difference.path, "difference": word(difference.kind)})).collect();
        return output.json(&json!({
            "path": arguments.path.display().to_string(),
            "verified": refused.is_none() && differences.is_empty(),
            "reason": refused,
            "signer": verified.map(|(_, signer)| &signer.name),
            "logged_at": verified.and_then(|(_, signer)| signer.logged_at).and_then(|at| Timestamp::from_second(at).ok()).map(|at| at.to_string()),
            "files_signed": verified.map(|(signed, _)| signed.resources()),
            "not_covered": verified.map(|(signed, _)| signed.ignored()),
            "differences": differences,
        }));
    }
    if let Some(reason) = refused {
        return output.line(&format!("NOT VERIFIED  {}\n    {}", clean(&arguments.path.display().to_string()), clean(reason)));
    }
    let Some((signed, signer)) = verified else { return Ok(()) };
    let heading = if differences.is_empty() { "verified" } else { "NOT AS SIGNED" };
    output.line(&format!("{heading:<12}  {}", clean(&arguments.path.display().to_string())))?;
    output.line(&format!("    by {}", clean(&signer.name)))?;
    if let Some(at) = signer.logged_at.and_then(|at| Timestamp::from_second(at).ok()) {
        output.line(&format!("    logged at {at}"))?;
    }
    output.line(&format!("    {} digests; not covered: {}", signed.resources(), clean(&signed.ignored().join(", "))))?;
    for difference in differences.iter().take(SHOWN_MAX) {
        output.line(&format!("    {}: {}", clean(&difference.path), word(difference.kind)))?;
    }
    match differences.len().checked_sub(SHOWN_MAX) {
        Some(more) if more > 0 => output.line(&format!("    and {more} more")),
        _ => Ok(()),
    }
}
