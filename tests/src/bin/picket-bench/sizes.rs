//! How large the programs are, with their symbols stripped.

use std::process::Command;

use anyhow::Result;
use picket_tests::binaries::program;

use crate::figure::Figure;

pub(crate) fn sizes() -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    ["picket-agent", "picket-server", "picketctl"]
        .iter()
        .map(|name| {
            let path = program(name)?;
            let stripped = folder.path().join(name);
            let done = Command::new("strip").arg("-s").arg("-o").arg(&stripped).arg(&path).status().is_ok_and(|status| status.success());
            let (measured, conditions) = if done { (stripped, "stripped") } else { (path, "as built; strip is not installed") };
            let mebibytes = std::fs::metadata(measured)?.len() as f64 / f64::from(1 << 20);
            Ok(Figure::new(&format!("binary_size.{name}"), mebibytes, "MiB").conditions(conditions))
        })
        .collect()
}
