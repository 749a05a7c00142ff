//! File probes, triggered for real, field by field.

use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use picket_ebpf::WatchSpec;
use picket_ebpf::record::{FileOp, Record, RecordFlags};
use tempfile::TempDir;

mod rig;
use rig::{Rig, boot_ns, file, mine, path_bytes, rig, stat_field};

/// A watched folder with one file, and a folder beside it that is not watched. Names without extension, so that only the watch matches.
fn watched(rig: &mut Rig) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    for path in [&inside, &outside] {
        std::fs::create_dir(path).expect("folder");
    }
    std::fs::write(inside.join("weights"), b"0123456789").expect("file");
    rig.watch(&[&inside]);
    (folder, inside, outside)
}

/// Opens by this thread since the last call, by path.
fn opens(rig: &mut Rig, folder: &TempDir) -> Vec<(Record, picket_ebpf::record::File)> {
    let records = rig.up_to_marker(folder.path());
    mine(&records, FileOp::Open).into_iter().filter(|(_, file)| !file.path.ends_with(b"/marker.safetensors")).collect()
}

fn of(rig: &mut Rig, folder: &TempDir, op: FileOp) -> Vec<(Record, picket_ebpf::record::File)> {
    let records = rig.up_to_marker(folder.path());
    mine(&records, op).into_iter().filter(|(_, file)| !file.path.ends_with(b"/marker.safetensors")).collect()
}

#[test]
fn an_open_tells_every_field() {
    let Some(mut rig) = rig("an_open_tells_every_field") else { return };
    let (folder, inside, _) = watched(&mut rig);
    let path = inside.join("weights");
    std::os::unix::fs::chown(&path, Some(4321), None).expect("chown");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("mode");
    rig.clear();
    let before = boot_ns();
    drop(std::fs::File::open(&path).expect("opens"));
    let after = boot_ns();
    let opens = opens(&mut rig, &folder);
    assert_eq!(opens.len(), 1);
    let (record, file) = &opens[0];
    let meta = std::fs::metadata(&path).expect("there");
    assert_eq!(file.path, path_bytes(&path));
    assert_eq!(file.new_path, b"");
    assert_eq!(file.inode, meta.st_ino());
    assert_eq!(u64::from(file.device), (nix::sys::stat::major(meta.st_dev()) << 20) | nix::sys::stat::minor(meta.st_dev()));
    assert_eq!(u32::from(file.i_mode), meta.st_mode());
    assert_eq!((file.owner_uid, file.size, file.watch_id), (4321, 10, 1));
    assert_eq!((file.created, file.mode_bits, file.open_flags & 3), (false, 1, 0));
    let task = &record.task;
    assert_eq!((task.pid, task.uid, task.euid, task.gid), (std::process::id(), 0, 0, 0));
    assert_eq!(task.start_boot_ns / 10_000_000, stat_field(std::process::id(), 22));
    assert_eq!(u64::from(task.parent_pid), stat_field(std::process::id(), 4));
    assert_eq!(task.parent_start_boot_ns / 10_000_000, stat_field(task.parent_pid, 22));
    assert!(record.time_boot_ns > before && record.time_boot_ns < after);
    assert_eq!(record.flags, RecordFlags(0));
}

#[test]
fn every_way_to_name_a_file_is_one_path() {
    let Some(mut rig) = rig("every_way_to_name_a_file_is_one_path") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    let real = path_bytes(&inside.join("weights"));
    symlink(inside.join("weights"), outside.join("link")).expect("symlink");
    symlink(&inside, outside.join("linked-folder")).expect("symlink");
    let folder_fd: OwnedFd = open(&inside, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).expect("folder");
    rig.clear();
    drop(std::fs::File::open(outside.join("link")).expect("symlink"));
    drop(std::fs::File::open(outside.join("linked-folder/../inside/./weights")).expect("folder symlink"));
    drop(nix::fcntl::openat(&folder_fd, "weights", OFlag::O_RDONLY, Mode::empty()).expect("relative"));
    drop(std::fs::File::open(format!("/proc/self/fd/{}/weights", folder_fd.as_raw_fd())).expect("through /proc"));
    let opens = opens(&mut rig, &folder);
    let paths: Vec<&[u8]> = opens.iter().map(|(_, file)| file.path.as_slice()).collect();
    assert_eq!(paths, vec![real.as_slice(); 4]);
    assert!(opens.iter().all(|(record, file)| file.watch_id == 1 && record.flags == RecordFlags(0)));
}

#[test]
fn every_open_call_is_seen() {
    let Some(mut rig) = rig("every_open_call_is_seen") else { return };
    let (folder, inside, _) = watched(&mut rig);
    let script = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
path = sys.argv[1].encode()
def check(fd):
    assert fd >= 0, os.strerror(ctypes.get_errno())
    os.close(fd)
check(libc.syscall(2, path, 0))
check(libc.syscall(257, -100, path, 0))
how = ctypes.create_string_buffer(struct.pack('QQQ', 0, 0, 0), 24)
check(libc.syscall(437, -100, path, how, 24))
check(libc.syscall(85, path, 0o600))
handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0), 136)
mount = ctypes.c_int()
assert libc.syscall(303, -100, path, handle, ctypes.byref(mount), 0) == 0, os.strerror(ctypes.get_errno())
folder = os.open(os.path.dirname(path), os.O_RDONLY)
check(libc.syscall(304, folder, handle, 0))
"#;
    rig.clear();
    let child = Command::new("python3").args(["-c", script]).arg(inside.join("weights")).stderr(Stdio::piped()).spawn().expect("python");
    let pid = child.id();
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = rig.up_to_marker(folder.path());
    let path = path_bytes(&inside.join("weights"));
    let seen: Vec<u32> = records
        .iter()
        .filter(|record| record.task.pid == pid)
        .filter_map(file)
        .filter(|file| file.op == FileOp::Open && file.path == path)
        .map(|file| file.mode_bits)
        .collect();
    assert_eq!(seen, [1, 1, 1, 2, 1], "open openat openat2 creat open_by_handle_at");
}

#[test]
fn a_hard_link_and_a_bind_mount_do_not_go_round_a_watch() {
    let Some(mut rig) = rig("a_hard_link_and_a_bind_mount_do_not_go_round_a_watch") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    // Made while watched; the name in the tree is not opened after.
    std::fs::hard_link(inside.join("weights"), outside.join("second-name")).expect("link");
    // Made before a watch: found when the watch is set.
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).expect("folder");
    std::fs::write(tree.join("model"), b"x").expect("file");
    std::fs::hard_link(tree.join("model"), outside.join("old-link")).expect("link");
    rig.watch(&[&inside, &tree]);
    std::fs::write("/proc/sys/vm/drop_caches", "2").expect("root may drop cached names");
    rig.clear();
    drop(std::fs::File::open(outside.join("second-name")).expect("opens"));
    drop(std::fs::File::open(outside.join("old-link")).expect("opens"));
    let bound = outside.join("bound");
    std::fs::create_dir(&bound).expect("folder");
    mount(Some(&inside), &bound, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind mount");
    let opened = std::fs::File::open(bound.join("weights"));
    umount2(&bound, MntFlags::MNT_DETACH).expect("unmount");
    drop(opened.expect("opens"));
    let seen: Vec<(Vec<u8>, u32)> = opens(&mut rig, &folder).into_iter().map(|(_, file)| (file.path, file.watch_id)).collect();
    assert_eq!(seen, [(path_bytes(&outside.join("second-name")), 1), (path_bytes(&outside.join("old-link")), 2), (path_bytes(&bound.join("weights")), 1)]);
}

#[test]
fn a_deleted_and_an_unnamed_file_are_flagged() {
    let Some(mut rig) = rig("a_deleted_and_an_unnamed_file_are_flagged") else { return };
    let (folder, inside, _) = watched(&mut rig);
    let held = std::fs::File::open(inside.join("weights")).expect("opens");
    std::fs::remove_file(inside.join("weights")).expect("unlinks");
    rig.clear();
    drop(std::fs::File::open(format!("/proc/self/fd/{}", held.as_raw_fd())).expect("opens the deleted file"));
    let unnamed = std::fs::OpenOptions::new().write(true).custom_flags(OFlag::O_TMPFILE.bits()).open(&inside).expect("a file without a name");
    drop(unnamed);
    let opens = opens(&mut rig, &folder);
    assert_eq!(opens.len(), 2);
    let (record, deleted) = &opens[0];
    assert_eq!(deleted.path, path_bytes(&inside.join("weights")));
    assert!(record.flags.contains(RecordFlags::PATH_DETACHED));
    let (record, unnamed) = &opens[1];
    assert!(unnamed.path.starts_with(&path_bytes(&inside)) && unnamed.created && unnamed.mode_bits == 2, "{unnamed:?}");
    assert!(record.flags.contains(RecordFlags::PATH_DETACHED));
}

#[test]
fn a_file_mapped_by_python_is_seen_at_its_open() {
    let Some(mut rig) = rig("a_file_mapped_by_python_is_seen_at_its_open") else { return };
    let (folder, inside, _) = watched(&mut rig);
    rig.clear();
    let script = "import mmap,sys\nwith open(sys.argv[1],'rb') as f:\n m=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ)\n assert m[:3]==b'012'\n";
    let mut child = Command::new("python3").args(["-c", script]).arg(inside.join("weights")).spawn().expect("python");
    let pid = child.id();
    assert!(child.wait().expect("ends").success());
    let records = rig.up_to_marker(folder.path());
    let path = path_bytes(&inside.join("weights"));
    let seen: Vec<&Record> = records.iter().filter(|record| file(record).is_some_and(|file| file.op == FileOp::Open && file.path == path)).collect();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].task.pid, seen[0].task.comm.starts_with("python")), (pid, true));
}

#[test]
fn an_extension_matches_anywhere_in_either_case_and_only_as_the_last() {
    let Some(mut rig) = rig("an_extension_matches_anywhere_in_either_case_and_only_as_the_last") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let shared_memory = tempfile::tempdir_in("/dev/shm").expect("another file system");
    rig.watch(&[]);
    let matching = ["a.pt", "model-00001-of-00002.safetensors", "UPPER.SafeTensors", "b.tar.npz", ".pt", "x.ONNX"];
    let not =
        ["pt", "a.pt2", "a.ptx", "model.safetensors.tmp", "safetensors", "a.", "a.p", "longer-than-sixteen-bytes-without-any", "x.longextension.y", "a.npy.gz"];
    for name in matching.iter().chain(&not) {
        std::fs::write(folder.path().join(name), b"").expect("file");
    }
    std::fs::write(shared_memory.path().join("in-memory.gguf"), b"").expect("file");
    rig.clear();
    for name in matching.iter().chain(&not) {
        drop(std::fs::File::open(folder.path().join(name)).expect("opens"));
    }
    drop(std::fs::File::open(shared_memory.path().join("in-memory.gguf")).expect("opens"));
    let seen: Vec<Vec<u8>> = opens(&mut rig, &folder).into_iter().inspect(|(_, file)| assert_eq!(file.watch_id, 0)).map(|(_, file)| file.path).collect();
    let mut expected: Vec<Vec<u8>> = matching.iter().map(|name| path_bytes(&folder.path().join(name))).collect();
    expected.push(path_bytes(&shared_memory.path().join("in-memory.gguf")));
    assert_eq!(seen, expected);
}

#[test]
fn creating_and_writing_tell_created_and_one_close() {
    let Some(mut rig) = rig("creating_and_writing_tell_created_and_one_close") else { return };
    let (folder, inside, _) = watched(&mut rig);
    rig.clear();
    let path = inside.join("new");
    let mut created = std::fs::File::create(&path).expect("creates");
    created.write_all(b"hello").expect("writes");
    drop(created);
    drop(std::fs::File::create(&path).expect("exists by now"));
    let records = rig.up_to_marker(folder.path());
    let opened: Vec<(bool, u32, u64)> = mine(&records, FileOp::Open)
        .iter()
        .filter(|(_, file)| file.path == path_bytes(&path))
        .map(|(_, file)| (file.created, file.mode_bits, file.size))
        .collect();
    assert_eq!(opened, [(true, 2, 0), (false, 2, 0)]);
    let closed: Vec<(Record, picket_ebpf::record::File)> =
        mine(&records, FileOp::CloseWrite).into_iter().filter(|(_, file)| file.path == path_bytes(&path)).collect();
    assert_eq!(closed.len(), 2);
    let (record, file) = &closed[0];
    let meta = std::fs::metadata(&path).expect("there");
    assert_eq!((file.size, file.inode, file.watch_id, file.owner_uid), (5, meta.st_ino(), 1, 0));
    assert_eq!((u32::from(file.i_mode), file.mode_bits, file.created), (meta.st_mode(), 2, false));
    assert_eq!(u64::from(file.device), (nix::sys::stat::major(meta.st_dev()) << 20) | nix::sys::stat::minor(meta.st_dev()));
    assert_eq!((record.task.pid, record.flags), (std::process::id(), RecordFlags(0)));
    assert_eq!(closed[1].1.size, 0);
}

/// Runs a shell command and gives the closes of `path`: (writer's comm, size).
fn closes_of(rig: &mut Rig, folder: &TempDir, path: &Path, command: &str) -> Vec<(String, u64)> {
    rig.clear();
    let status = Command::new("/bin/bash").args(["-c", command]).env("F", path).status().expect("bash");
    assert!(status.success(), "{command}");
    let wanted = path_bytes(path);
    let is_close = |record: &Record| file(record).is_some_and(|file| file.op == FileOp::CloseWrite && file.path == wanted);
    // The sweep may come after the marker: wait for one, then for the marker.
    let mut records = rig.until(|records| records.iter().any(is_close));
    records.extend(rig.up_to_marker(folder.path()));
    records.iter().filter(|record| is_close(record)).map(|record| (record.task.comm.clone(), file(record).expect("file").size)).collect()
}

#[test]
fn every_end_of_a_written_file_is_one_close() {
    let Some(mut rig) = rig("every_end_of_a_written_file_is_one_close") else { return };
    let (folder, inside, _) = watched(&mut rig);
    let path = inside.join("out");
    let python = |body: &str| format!("python3 -c \"\nimport os,mmap,subprocess,sys\np=os.environ['F']\n{body}\"");
    let cases = [
        ("dup2 restores standard output", "echo hi > $F".to_owned(), 3),
        ("exit without close", "exec python3 -c \"import os;fd=os.open(os.environ['F'],1|64);os.write(fd,b'1234');os._exit(0)\"".into(), 4),
        ("killed", "python3 -c \"import os;fd=os.open(os.environ['F'],1|64);os.write(fd,b'12345');os.kill(os.getpid(),9)\" || true".into(), 5),
        ("a duplicate closed last", python("fd=os.open(p,1)\nd=os.dup(fd)\nos.close(fd)\nos.write(d,b'123456')\nos.close(d)\n"), 6),
        ("two duplicates at exit", python("fd=os.open(p,1)\nos.dup(fd)\nos.write(fd,b'1234567')\n"), 7),
        ("inherited by a child that outlives its parent", "( (sleep 0.2; printf 12345678) & ) > $F; sleep 0.5".into(), 8),
        (
            "close_range",
            python("import ctypes\nfd=os.open(p,1)\nos.write(fd,b'123456789')\nassert ctypes.CDLL(None).syscall(436,fd,fd,0)==0\nimport time;time.sleep(1)\n"),
            9,
        ),
        (
            "a shared mapping that outlives the descriptor",
            python("fd=os.open(p,2)\nos.ftruncate(fd,10)\nm=mmap.mmap(fd,10)\nos.close(fd)\nm[0]=65\nm.close()\nimport time;time.sleep(1)\n"),
            10,
        ),
        ("closed by exec", python("fd=os.open(p,1|os.O_CLOEXEC)\nos.write(fd,b'12345678901')\nos.execv('/bin/sleep',['sleep','1'])\n"), 11),
    ];
    for (name, command, size) in cases {
        std::fs::write(&path, b"").expect("empty");
        let closes = closes_of(&mut rig, &folder, &path, &command);
        assert_eq!(closes.len(), 1, "{name}: {closes:?}");
        assert_eq!(closes[0].1, size, "{name}");
    }
}

#[test]
fn a_read_only_close_is_no_event() {
    let Some(mut rig) = rig("a_read_only_close_is_no_event") else { return };
    let (folder, inside, _) = watched(&mut rig);
    rig.clear();
    let mut opened = std::fs::File::open(inside.join("weights")).expect("opens");
    opened.read_to_end(&mut Vec::new()).expect("reads");
    drop(opened);
    assert!(of(&mut rig, &folder, FileOp::CloseWrite).is_empty());
}

#[test]
fn renames_within_into_and_out_of_a_tree_tell_both_paths() {
    let Some(mut rig) = rig("renames_within_into_and_out_of_a_tree_tell_both_paths") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    std::fs::write(outside.join("foreign"), b"abc").expect("file");
    std::fs::write(outside.join("other"), b"").expect("file");
    let meta = std::fs::metadata(inside.join("weights")).expect("there");
    rig.clear();
    let steps = [
        (inside.join("weights"), inside.join("renamed")),
        (inside.join("renamed"), outside.join("taken")),
        (outside.join("foreign"), inside.join("placed")),
        (outside.join("taken"), inside.join("placed")),
        // Neither place is watched.
        (outside.join("other"), outside.join("another")),
    ];
    for (from, to) in &steps {
        std::fs::rename(from, to).expect("renames");
    }
    assert!(std::fs::rename(outside.join("missing"), inside.join("missing")).is_err());
    let renames = of(&mut rig, &folder, FileOp::Rename);
    let seen: Vec<(Vec<u8>, Vec<u8>)> = renames.iter().map(|(_, file)| (file.path.clone(), file.new_path.clone())).collect();
    let expected: Vec<(Vec<u8>, Vec<u8>)> = steps.iter().take(4).map(|(from, to)| (path_bytes(from), path_bytes(to))).collect();
    assert_eq!(seen, expected);
    let (record, first) = &renames[0];
    assert_eq!((first.inode, first.size, first.watch_id, first.owner_uid), (meta.st_ino(), 10, 1, 0));
    assert_eq!(u32::from(first.i_mode), meta.st_mode());
    assert_eq!(u64::from(first.device), (nix::sys::stat::major(meta.st_dev()) << 20) | nix::sys::stat::minor(meta.st_dev()));
    assert_eq!((record.task.pid, record.flags), (std::process::id(), RecordFlags(0)));
}

#[test]
fn every_rename_and_unlink_call_is_seen_by_name_links_and_exchange() {
    let Some(mut rig) = rig("every_rename_and_unlink_call_is_seen_by_name_links_and_exchange") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    symlink(&inside, outside.join("way-in")).expect("symlink");
    std::fs::write(inside.join("second"), b"22").expect("file");
    let folder_fd: OwnedFd = open(&inside, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).expect("folder");
    rig.clear();
    // renameat by a descriptor, rename through a symbolic link, an exchange.
    nix::fcntl::renameat(&folder_fd, "weights", &folder_fd, "a").expect("renameat");
    std::fs::rename(outside.join("way-in/a"), outside.join("way-in/b")).expect("rename");
    nix::fcntl::renameat2(&folder_fd, "b", &folder_fd, "second", nix::fcntl::RenameFlags::RENAME_EXCHANGE).expect("exchange");
    let seen: Vec<(Vec<u8>, Vec<u8>)> = of(&mut rig, &folder, FileOp::Rename).into_iter().map(|(_, file)| (file.path, file.new_path)).collect();
    let pair = |from: &str, to: &str| (path_bytes(&inside.join(from)), path_bytes(&inside.join(to)));
    assert_eq!(seen[..2], [pair("weights", "a"), pair("a", "b")]);
    assert_eq!(seen.len(), 4, "an exchange renames two");
    assert!(seen[2..].contains(&pair("b", "second")) && seen[2..].contains(&pair("second", "b")), "{seen:?}");
    // unlinkat by a descriptor, unlink through a symbolic link.
    nix::unistd::unlinkat(&folder_fd, "b", nix::unistd::UnlinkatFlags::NoRemoveDir).expect("unlinkat");
    std::fs::remove_file(outside.join("way-in/second")).expect("unlink");
    let seen: Vec<Vec<u8>> = of(&mut rig, &folder, FileOp::Unlink).into_iter().map(|(_, file)| file.path).collect();
    assert_eq!(seen, [path_bytes(&inside.join("b")), path_bytes(&inside.join("second"))]);
}

#[test]
fn unlinking_one_of_several_names_tells_that_name() {
    // The last name outside is no name of a watched file any more, as after a rename out of the tree.
    let Some(mut rig) = rig("unlinking_one_of_several_names_tells_that_name") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    std::fs::hard_link(inside.join("weights"), outside.join("second-name")).expect("link");
    std::fs::hard_link(inside.join("weights"), outside.join("third-name")).expect("link");
    std::fs::write(outside.join("plain"), b"").expect("file");
    let held = std::fs::File::open(inside.join("weights")).expect("held open");
    let meta = std::fs::metadata(inside.join("weights")).expect("there");
    rig.clear();
    std::fs::remove_file(outside.join("plain")).expect("unlinks");
    std::fs::remove_file(inside.join("weights")).expect("unlinks");
    std::fs::remove_file(outside.join("second-name")).expect("unlinks");
    std::fs::remove_file(outside.join("third-name")).expect("unlinks");
    drop(held);
    let unlinks = of(&mut rig, &folder, FileOp::Unlink);
    let seen: Vec<&[u8]> = unlinks.iter().map(|(_, file)| file.path.as_slice()).collect();
    assert_eq!(seen, [path_bytes(&inside.join("weights")).as_slice(), &path_bytes(&outside.join("second-name"))]);
    let (record, first) = &unlinks[0];
    assert_eq!((first.inode, first.size, first.watch_id, first.new_path.as_slice()), (meta.st_ino(), 10, 1, b"".as_slice()));
    assert_eq!((record.task.pid, record.flags), (std::process::id(), RecordFlags(0)));
}

#[test]
fn a_renamed_directory_takes_its_files_in_and_out_of_a_watch() {
    let Some(mut rig) = rig("a_renamed_directory_takes_its_files_in_and_out_of_a_watch") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    std::fs::create_dir(outside.join("moving")).expect("folder");
    std::fs::write(outside.join("moving/file"), b"").expect("file");
    let open = |path: PathBuf| drop(std::fs::File::open(path).expect("opens"));
    rig.clear();
    open(outside.join("moving/file"));
    std::fs::rename(outside.join("moving"), inside.join("moved")).expect("renames");
    open(inside.join("moved/file"));
    std::fs::rename(inside.join("moved"), outside.join("back")).expect("renames");
    open(outside.join("back/file"));
    let records = rig.up_to_marker(folder.path());
    let opened: Vec<Vec<u8>> = mine(&records, FileOp::Open).into_iter().map(|(_, file)| file.path).filter(|path| path.ends_with(b"/file")).collect();
    assert_eq!(opened, [path_bytes(&inside.join("moved/file"))]);
    let renamed: Vec<(Vec<u8>, u16)> = mine(&records, FileOp::Rename).into_iter().map(|(_, file)| (file.new_path, file.i_mode & 0o170_000)).collect();
    assert_eq!(renamed, [(path_bytes(&inside.join("moved")), 0o040_000), (path_bytes(&outside.join("back")), 0o040_000)]);
}

#[test]
fn renames_and_unlinks_on_a_memory_file_system_are_seen() {
    let Some(mut rig) = rig("renames_and_unlinks_on_a_memory_file_system_are_seen") else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("tmpfs");
    std::fs::write(folder.path().join("from"), b"1").expect("file");
    rig.watch(&[folder.path()]);
    rig.clear();
    std::fs::rename(folder.path().join("from"), folder.path().join("to")).expect("renames");
    std::fs::remove_file(folder.path().join("to")).expect("unlinks");
    let records = rig.up_to_marker(folder.path());
    let renamed: Vec<(Vec<u8>, Vec<u8>)> = mine(&records, FileOp::Rename).into_iter().map(|(_, file)| (file.path, file.new_path)).collect();
    assert_eq!(renamed, [(path_bytes(&folder.path().join("from")), path_bytes(&folder.path().join("to")))]);
    let unlinked: Vec<Vec<u8>> = mine(&records, FileOp::Unlink).into_iter().map(|(_, file)| file.path).collect();
    assert_eq!(unlinked, [path_bytes(&folder.path().join("to"))]);
}

#[test]
fn a_single_watched_file_matches_by_its_inode_and_its_neighbours_do_not() {
    let Some(mut rig) = rig("a_single_watched_file_matches_by_its_inode_and_its_neighbours_do_not") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    std::fs::write(inside.join("neighbour"), b"").expect("file");
    rig.watch(&[&inside.join("weights")]);
    rig.clear();
    drop(std::fs::File::open(inside.join("neighbour")).expect("opens"));
    drop(std::fs::File::open(inside.join("weights")).expect("opens"));
    std::fs::rename(inside.join("weights"), outside.join("moved")).expect("renames");
    drop(std::fs::File::open(outside.join("moved")).expect("opens"));
    let seen: Vec<(Vec<u8>, u32)> = opens(&mut rig, &folder).into_iter().map(|(_, file)| (file.path, file.watch_id)).collect();
    assert_eq!(seen, [(path_bytes(&inside.join("weights")), 1), (path_bytes(&outside.join("moved")), 1)]);
}

#[test]
fn deep_and_long_paths_are_whole_to_the_bound_and_flagged_beyond() {
    let Some(mut rig) = rig("deep_and_long_paths_are_whole_to_the_bound_and_flagged_beyond") else { return };
    let (folder, inside, _) = watched(&mut rig);
    // The walk's steps are for crossings of mounts as well, of which a memory file system in a guest has some.
    let device = |path: &Path| std::os::linux::fs::MetadataExt::st_dev(&std::fs::metadata(path).expect("there"));
    let mounts = inside.ancestors().zip(inside.ancestors().skip(1)).filter(|(below, above)| device(below) != device(above)).count();
    let deepest = 58 - 3 * mounts;
    for (depth, name, whole) in [(45, "d".to_owned(), true), (15, "long".repeat(60), true), (deepest, "e".to_owned(), true), (90, "f".to_owned(), false)] {
        let mut fd: OwnedFd = open(&inside, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).expect("folder");
        let mut path = inside.clone();
        for _ in 0..depth {
            let component = CString::new(name.clone()).expect("name");
            let _ = nix::sys::stat::mkdirat(&fd, component.as_c_str(), Mode::S_IRWXU);
            fd = nix::fcntl::openat(&fd, component.as_c_str(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).expect("deeper");
            path.push(&name);
        }
        // By extension: deeper than the walk for watches.
        rig.clear();
        drop(nix::fcntl::openat(&fd, "leaf.pt", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRUSR).expect("creates"));
        path.push("leaf.pt");
        let opens = opens(&mut rig, &folder);
        assert_eq!(opens.len(), 1, "depth {depth}");
        let (record, file) = &opens[0];
        assert_eq!(record.flags.contains(RecordFlags::PATH_CUT), !whole, "depth {depth}");
        if whole {
            assert_eq!((file.path.clone(), file.watch_id), (path_bytes(&path), 1), "depth {depth}");
        } else {
            assert!(path_bytes(&path).ends_with(&file.path) && file.path.len() > 60, "the nearest components stay");
            assert_eq!(file.watch_id, 0);
        }
    }
}

#[test]
fn a_watch_that_stays_misses_nothing_while_others_come_and_go() {
    let Some(mut rig) = rig("a_watch_that_stays_misses_nothing_while_others_come_and_go") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    rig.clear();
    let path = inside.join("weights");
    let worker = std::thread::spawn(move || {
        for _ in 0..20_000 {
            drop(std::fs::File::open(&path).expect("opens"));
        }
        nix::unistd::gettid().as_raw()
    });
    let spec = |id, path: &Path| WatchSpec { id, path: path.to_path_buf() };
    let mut records = Vec::new();
    let mut changes = 0;
    while !worker.is_finished() {
        let set = if changes % 2 == 0 { vec![spec(1, &inside)] } else { vec![spec(2, &outside), spec(1, &inside)] };
        assert!(rig.sensor().set_watches(&set).iter().all(|state| state.active));
        rig.sensor().drain(&mut |record| records.push(record), 8 << 20);
        changes += 1;
    }
    let tid = u32::try_from(worker.join().expect("worker")).expect("tid");
    records.extend(rig.up_to_marker(folder.path()));
    let seen = records.iter().filter(|record| record.task.tid == tid && file(record).is_some_and(|file| file.op == FileOp::Open && file.watch_id == 1)).count();
    assert!(changes > 10, "the watches changed {changes} times only");
    assert_eq!(seen, 20_000, "after {changes} changes");
}

#[test]
fn watches_that_cannot_be_say_why_and_a_removed_one_ends() {
    let Some(mut rig) = rig("watches_that_cannot_be_say_why_and_a_removed_one_ends") else { return };
    let (folder, inside, outside) = watched(&mut rig);
    symlink(&inside, outside.join("again")).expect("symlink");
    let paths = ["relative".into(), outside.join("missing"), "/dev/null".into(), inside.clone(), outside.join("again")];
    let specs: Vec<WatchSpec> = paths.into_iter().zip(1..).map(|(path, id)| WatchSpec { id, path }).collect();
    let states = rig.sensor().set_watches(&specs);
    let told: Vec<(bool, &str)> = states.iter().map(|state| (state.active, state.reason.as_str())).collect();
    assert_eq!(told[0], (false, "the path is not absolute"));
    assert!(!told[1].0 && told[1].1.contains("No such file"), "{told:?}");
    assert_eq!(told[2], (false, "neither a directory nor a regular file"));
    assert_eq!(told[3], (true, ""));
    assert_eq!(told[4], (false, "the same as watch 4"));
    rig.watch(&[&outside]);
    drop(std::fs::File::open(inside.join("weights")).expect("opens"));
    assert!(opens(&mut rig, &folder).is_empty());
    let states = rig.sensor().set_watches(&[WatchSpec { id: 1, path: "/".into() }]);
    assert!(states[0].active && states[0].reason.contains("mounted below it"), "{states:?}");
    rig.watch(&[]);
}
