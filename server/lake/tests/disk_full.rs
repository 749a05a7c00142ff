//! A full disk refuses new events, loses none, and is over when there is room again.
#![expect(clippy::unwrap_used, clippy::cast_sign_loss, reason = "a test ends where it fails, and its numbers are small")]

mod common;

use std::path::Path;

use common::{batch, config, device, number, spool};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use picket_lake::{Lake, LakeConfig, LakeError};

/// A small file system of its own, gone with its owner.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`, said by name, where mounting is not allowed.
    fn mount(test: &str, megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={megabytes}m,mode=0700");
        match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Self(dir)),
            Err(error) => {
                eprintln!("SKIPPED {test}: mounting a tmpfs needs root: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

async fn fill(lake: &Lake) -> u64 {
    for step in 0..10_000 {
        match lake.append(batch(1, step * 500 + 1, 500)).await {
            Ok(appended) => assert_eq!(appended.watermark, step * 500 + 500),
            Err(LakeError::DiskFull { .. }) => return step * 500,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the disk is larger than the test thinks");
}

async fn refuses_and_recovers(dir: &Path, floor: u64) {
    let ballast = dir.join("ballast");
    let lake = Lake::open(LakeConfig { disk_free_bytes_min: floor, ..config(&dir.join("lake")) }).unwrap();
    std::fs::write(&ballast, vec![0; 16 * 1024 * 1024]).unwrap();
    let stored = fill(&lake).await;
    assert!(stored > 0 && lake.stats().disk_full);
    assert_eq!(lake.watermark(device(1).uid, spool(1)), stored);
    assert_eq!(number(&lake, "SELECT count(*) FROM events").await as u64, stored, "what is stored can be asked for");
    std::fs::remove_file(&ballast).unwrap();
    lake.append(batch(1, stored + 1, 500)).await.unwrap();
    assert!(!lake.stats().disk_full);
    lake.flush().await.unwrap();
    assert_eq!(number(&lake, "SELECT count(DISTINCT metadata_sequence) FROM events").await as u64, stored + 500);
    lake.shutdown().await;
    let lake = Lake::open(config(&dir.join("lake"))).unwrap();
    assert_eq!(number(&lake, "SELECT count(*) FROM events").await as u64, stored + 500);
    lake.shutdown().await;
}

#[tokio::test]
async fn below_the_floor_nothing_is_accepted() {
    let Some(disk) = Small::mount("below_the_floor_nothing_is_accepted", 64) else { return };
    refuses_and_recovers(disk.path(), 32 * 1024 * 1024).await;
}

#[tokio::test]
async fn a_write_that_finds_no_room_counts_for_nothing() {
    let Some(disk) = Small::mount("a_write_that_finds_no_room_counts_for_nothing", 32) else { return };
    refuses_and_recovers(disk.path(), 0).await;
}
