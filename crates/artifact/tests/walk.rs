//! A walk finds every file once, in order, follows links as model caches need it, and says what it could not read.

use picket_artifact::{Completeness, Progress, Report, Verdict, WalkOptions, scan_paths};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

const EVIL: &[u8] = b"cos\nsystem\n(S'id'\ntR.";

fn walk(paths: &[PathBuf]) -> (Vec<Report>, picket_artifact::Summary) {
    let mut reports = Vec::new();
    let mut last = Progress::default();
    let summary = scan_paths(paths, &WalkOptions { threads: 4, ..WalkOptions::default() }, |report, progress| {
        assert!(progress.files == last.files + 1 && progress.bytes >= last.bytes && progress.bytes <= progress.bytes_total);
        last = progress;
        reports.push(report);
        true
    });
    (reports, summary)
}

#[test]
fn a_hub_cache_is_walked_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("snapshots/1")).unwrap();
    fs::create_dir_all(root.join("blobs")).unwrap();
    fs::write(root.join("blobs/aa"), EVIL).unwrap();
    fs::write(root.join("readme.txt"), "hello\n").unwrap();
    symlink("../../blobs/aa", root.join("snapshots/1/model.pkl")).unwrap();
    symlink("../..", root.join("snapshots/1/circle")).unwrap();
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    let (reports, summary) = walk(&[root.to_owned()]);
    let seen: Vec<_> = reports.iter().map(|report| (report.path.strip_prefix(root.to_str().unwrap()).unwrap(), report.verdict)).collect();
    let expected = [
        ("/blobs/aa", Verdict::Malicious),
        ("/dangling", Verdict::Unscannable),
        ("/readme.txt", Verdict::Clean),
        ("/snapshots/1/model.pkl", Verdict::Malicious),
    ];
    assert_eq!(seen, expected);
    assert_eq!((summary.malicious, summary.unscannable, summary.clean, summary.progress.files), (2, 1, 1, 4));
}

#[test]
fn what_is_missing_is_reported() {
    let (reports, summary) = walk(&[PathBuf::from("/nowhere/at/all"), PathBuf::from("/dev/null")]);
    assert!(
        reports.iter().all(|report| report.verdict == Verdict::Unscannable && report.completeness == Completeness::Partial && !report.incomplete.is_empty())
    );
    assert_eq!(summary.unscannable, 2);
}

#[test]
fn many_files_come_once_and_a_stop_stops() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..200 {
        fs::write(folder.path().join(format!("{number:03}.pkl")), if number % 2 == 0 { EVIL } else { b"N." }).unwrap();
    }
    let (reports, summary) = walk(&[folder.path().to_owned()]);
    assert!(reports.windows(2).all(|pair| pair[0].path < pair[1].path));
    assert_eq!((summary.progress.files, summary.malicious), (200, 100));
    let mut seen = 0;
    let summary = scan_paths(&[folder.path().to_owned()], &WalkOptions::default(), |_, _| {
        seen += 1;
        seen < 3
    });
    assert_eq!((seen, summary.stopped), (3, true));
}
