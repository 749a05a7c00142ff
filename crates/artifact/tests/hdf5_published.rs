//! Chunked data sets that the HDF5 library itself wrote, in every kind of index and at sizes where indexes have several levels: each stands twice in
//! its file, in chunks and in one run, and both have the same digest.

use picket_artifact::{Completeness, ScanOptions, Verdict, Watch, digest, scan, tensor_index};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Python with h5py, made once a target folder. `Err` says why not.
fn python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hdf5-venv");
    let python = venv.join("bin/python");
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed").to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if run(Command::new(&python).args(["-c", "import h5py"])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "h5py==3.*"]))?;
    }
    Ok(python)
}

#[test]
fn tensors_of_the_library_have_the_digests_of_their_elements() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("SKIPPED tensors_of_the_library_have_the_digests_of_their_elements: h5py for Python cannot be installed: {reason}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hdf5/chunked.py");
    let made = Command::new(python).arg(script).arg(folder.path()).arg("large").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for version in ["earliest", "v110", "latest"] {
        let bytes = std::fs::read(folder.path().join(format!("chunked_{version}.h5"))).unwrap();
        let source = bytes.as_slice();
        let report = scan(&source, "m.h5", &ScanOptions::default());
        assert_eq!((report.verdict, report.completeness), (Verdict::Clean, Completeness::Full), "{version} {report:#?}");
        let index = tensor_index(&source, "m.h5", &ScanOptions::default());
        let found = digest(&source, &index, &|_| Err(std::io::ErrorKind::NotFound.into()), &Watch::default()).unwrap();
        assert!(found.incomplete.is_empty(), "{version} {:?}", found.incomplete);
        let digests: BTreeMap<&str, &str> = found.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.digests.sha256.as_str())).collect();
        let twins: Vec<_> = digests.iter().filter(|(name, _)| !name.ends_with("_plain")).collect();
        assert!(twins.len() > 15, "{digests:?}");
        for (name, digest) in twins {
            assert_eq!(Some(digest), digests.get(format!("{name}_plain").as_str()), "{version} {name}");
        }
    }
}
