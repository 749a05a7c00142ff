//! The ways to reach a watched file, each performed for real: the cells of docs/visibility.md.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use picket_ebpf::record::{Body, File, FileChange, FileMethods, FileOp, Record};
use tempfile::TempDir;

mod rig;
use rig::{Rig, file, path_bytes, rig};

const SIZE: u64 = 1 << 20;

struct Place {
    folder: TempDir,
    weights: PathBuf,
    outside: PathBuf,
}

/// A watched folder with a file of [`SIZE`], and a folder beside it. The name has no extension, so that only the watch matches.
fn place(rig: &mut Rig) -> Place {
    let folder = tempfile::tempdir().expect("folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    for path in [&inside, &outside] {
        std::fs::create_dir(path).expect("folder");
    }
    let weights = inside.join("weights");
    std::fs::write(&weights, vec![7; usize::try_from(SIZE).expect("small")]).expect("file");
    rig.watch(&[&inside]);
    Place { folder, weights, outside }
}

/// Runs a Python body with `p` the watched file and `o` the folder outside; records of its process on the watched file.
fn python(rig: &mut Rig, place: &Place, body: &str) -> Vec<(Record, File)> {
    run(rig, place, &format!("{PRELUDE}\n{body}\n"))
}

const PRELUDE: &str = "import ctypes, mmap, os, socket, struct, subprocess, sys, time
p, o = sys.argv[1], sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def ok(result):
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result";

fn run(rig: &mut Rig, place: &Place, script: &str) -> Vec<(Record, File)> {
    rig.clear();
    let child = Command::new("python3").args(["-c", script]).args([&place.weights, &place.outside]).stderr(Stdio::piped()).spawn().expect("python");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What only the sweep finds comes up to a quarter of a second later.
    let mut records = rig.up_to_marker(place.folder.path());
    let end = std::time::Instant::now() + std::time::Duration::from_millis(600);
    while std::time::Instant::now() < end {
        rig.sensor().drain(&mut |record| records.push(record), 1 << 20);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let inode = std::os::linux::fs::MetadataExt::st_ino(&std::fs::metadata(&place.weights).expect("there"));
    let own = std::process::id();
    records
        .iter()
        .filter_map(|record| file(record).map(|file| (record.clone(), file.clone())))
        .filter(|(record, file)| file.inode == inode && record.task.pid != own)
        .collect()
}

fn opens(seen: &[(Record, File)]) -> Vec<&File> {
    seen.iter().map(|(_, file)| file).filter(|file| file.op == FileOp::Open).collect()
}

/// Sums of the records that end a use.
fn ended(seen: &[(Record, File)]) -> (u64, u64, FileMethods) {
    let ends: Vec<&File> = seen.iter().map(|(_, file)| file).filter(|file| file.until_end).collect();
    assert!(!ends.is_empty(), "no end among {seen:?}");
    let methods = ends.iter().fold(0, |bits, file| bits | file.methods.0);
    (ends.iter().map(|file| file.bytes_read).sum(), ends.iter().map(|file| file.bytes_written).sum(), FileMethods(methods))
}

fn at(place: &Place) -> Vec<u8> {
    path_bytes(&place.weights)
}

fn named(path: &Path) -> Vec<u8> {
    path_bytes(path)
}

macro_rules! bytes {
    ($($name:ident($body:expr) => $read:expr, $written:expr, $methods:expr;)+) => {$(
        #[test]
        fn $name() {
            let Some(mut rig) = rig(stringify!($name)) else { return };
            let place = place(&mut rig);
            let seen = python(&mut rig, &place, $body);
            assert!(!opens(&seen).is_empty(), "{seen:?}");
            assert!(opens(&seen).iter().all(|file| file.path == at(&place) && file.watch_id == 1), "{seen:?}");
            assert_eq!(ended(&seen), ($read, $written, $methods));
        }
    )+};
}

bytes! {
    read_is_summed("fd = os.open(p, 0)\nwhile os.read(fd, 65536): pass\nos.close(fd)") => SIZE, 0, FileMethods(0);
    pread_and_preadv_are_summed("fd = os.open(p, 0)\nos.pread(fd, 1000, 5)\nos.preadv(fd, [bytearray(300), bytearray(200)], 9)\nos.readv(fd, [bytearray(7)])\nos.close(fd)") => 1507, 0, FileMethods(0);
    what_is_not_closed_ends_with_its_process("fd = os.open(p, 0)\nos.read(fd, 4321)") => 4321, 0, FileMethods(0);
    write_pwrite_and_writev_are_summed("fd = os.open(p, 2)\nos.write(fd, bytes(100))\nos.pwrite(fd, bytes(20), 3)\nos.writev(fd, [bytes(3), bytes(4)])\nos.read(fd, 50)\nos.close(fd)") => 50, 127, FileMethods(0);
    sendfile_is_a_read("fd = os.open(p, 0)\nd = os.open(o + '/copy', 65)\nassert os.sendfile(d, fd, 0, 70000) == 70000\nos.close(fd)") => 70_000, 0, FileMethods::SENDFILE;
    copy_file_range_is_a_read("fd = os.open(p, 0)\nd = os.open(o + '/copy', 65)\nassert os.copy_file_range(fd, d, 70000) == 70000\nos.close(fd)") => 70_000, 0, FileMethods::COPY;
    splice_is_a_read("fd = os.open(p, 0)\nr, w = os.pipe()\nassert ok(libc.splice(fd, None, w, None, 4096, 0)) == 4096\nos.close(fd)") => 4096, 0, FileMethods::SPLICE;
    a_duplicate_and_a_forked_child_are_counted("fd = os.open(p, 0)\nd = os.dup(fd)\nos.close(fd)\nos.read(d, 10)\nif os.fork() == 0:\n  os.read(d, 5)\n  os._exit(0)\nos.wait()\nos.close(d)") => 15, 0, FileMethods(0);
}

#[test]
fn direct_reads_are_summed() {
    let Some(mut rig) = rig("direct_reads_are_summed") else { return };
    let place = place(&mut rig);
    let direct = nix::fcntl::OFlag::O_DIRECT;
    if let Err(error) = nix::fcntl::open(&place.weights, direct, nix::sys::stat::Mode::empty()) {
        return rig::skipped("direct_reads_are_summed", &format!("this file system takes no O_DIRECT: {error}"));
    }
    let body = "fd = os.open(p, os.O_DIRECT)\nm = mmap.mmap(-1, 8192)\nassert os.readv(fd, [m]) == 8192\nm.close()\nos.close(fd)";
    assert_eq!(ended(&python(&mut rig, &place, body)), (8192, 0, FileMethods::DIRECT));
}

#[test]
fn a_file_that_stays_open_tells_its_bytes_meanwhile() {
    let Some(mut rig) = rig("a_file_that_stays_open_tells_its_bytes_meanwhile") else { return };
    let place = place(&mut rig);
    let script = format!("{PRELUDE}\nfd = os.open(p, 0)\nos.read(fd, 777)\nsys.stdin.read()\n");
    rig.clear();
    let mut child = Command::new("python3").args(["-c", &script]).args([&place.weights, &place.outside]).stdin(Stdio::piped()).spawn().expect("python");
    let pid = child.id();
    let of_it = |record: &Record| file(record).filter(|file| file.op == FileOp::Use && record.task.pid == pid && file.path == at(&place)).cloned();
    let told = rig.first(of_it);
    assert_eq!((told.bytes_read, told.until_end, told.path.clone()), (777, false, at(&place)));
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
    let end = rig.first(|record| of_it(record).filter(|file| file.until_end));
    assert_eq!(end.bytes_read, 777);
}

#[test]
fn a_mapping_counts_the_pages_that_were_touched() {
    let Some(mut rig) = rig("a_mapping_counts_the_pages_that_were_touched") else { return };
    let place = place(&mut rig);
    let mapped = "fd = os.open(p, 0)\nm = mmap.mmap(fd, 1 << 20, prot=mmap.PROT_READ)\nos.close(fd)\n";
    let seen = python(&mut rig, &place, &format!("{mapped}assert sum(m[i] for i in range(0, 1 << 20, 4096)) == 7 * 256\nm.close()"));
    let (read, written, methods) = ended(&seen);
    // A page that two faults brought is counted twice.
    assert!((SIZE..SIZE * 5 / 4).contains(&read), "{read}");
    assert_eq!((written, methods), (0, FileMethods::MMAP));
    let seen = python(&mut rig, &place, &format!("{mapped}m[5]\nm.close()"));
    let (read, _, _) = ended(&seen);
    assert!((4096..SIZE / 4).contains(&read), "the pages around the one that was touched, not all: {read}");
}

#[test]
fn a_descriptor_passed_over_a_socket_is_counted_where_it_is_used() {
    let Some(mut rig) = rig("a_descriptor_passed_over_a_socket_is_counted_where_it_is_used") else { return };
    let place = place(&mut rig);
    // The receiver was started before the file was opened, and never opens it.
    let body = "a, b = socket.socketpair()
child = os.fork()
if child == 0:
    message, fds, _, _ = socket.recv_fds(b, 10, 1)
    os.read(fds[0], 333)
    os._exit(0)
socket.send_fds(a, [b'x'], [os.open(p, 0)])
os.waitpid(child, 0)";
    let seen = python(&mut rig, &place, body);
    let opener = seen.iter().find(|(_, file)| file.op == FileOp::Open).map(|(record, _)| record.task.pid).expect("opened");
    let used: Vec<(u64, bool)> =
        seen.iter().filter(|(_, file)| file.op == FileOp::Use).map(|(record, file)| (file.bytes_read, record.task.pid != opener)).collect();
    assert_eq!(used, [(333, true)]);
}

#[test]
fn a_descriptor_taken_from_another_process_is_counted_where_it_is_used() {
    let Some(mut rig) = rig("a_descriptor_taken_from_another_process_is_counted_where_it_is_used") else { return };
    let place = place(&mut rig);
    let body = "r, w = os.pipe()
child = os.fork()
if child == 0:
    fd = os.open(p, 0)
    os.write(w, bytes([fd]))
    time.sleep(0.3)
    os._exit(0)
fd = os.read(r, 1)[0]
mine = ok(libc.syscall(438, os.pidfd_open(child), fd, 0))
os.read(mine, 222)
os.waitpid(child, 0)";
    let seen = python(&mut rig, &place, body);
    let opener = seen.iter().find(|(_, file)| file.op == FileOp::Open).map(|(record, _)| record.task.pid).expect("opened");
    let used: Vec<(u64, bool)> =
        seen.iter().filter(|(_, file)| file.op == FileOp::Use).map(|(record, file)| (file.bytes_read, record.task.pid != opener)).collect();
    assert_eq!(used, [(222, true)]);
}

#[test]
fn the_root_of_another_process_and_a_mount_namespace_are_no_way_round() {
    let Some(mut rig) = rig("the_root_of_another_process_and_a_mount_namespace_are_no_way_round") else { return };
    let place = place(&mut rig);
    let body = "os.close(os.open(f'/proc/{os.getppid()}/root' + p, 0))
subprocess.check_call(['unshare', '-m', 'sh', '-c', 'mount --bind \"$1\" \"$2\" && head -c 9 \"$2/weights\" > /dev/null', 'x', os.path.dirname(p), o])";
    let seen = python(&mut rig, &place, body);
    let paths: Vec<(Vec<u8>, u32)> = opens(&seen).into_iter().map(|file| (file.path.clone(), file.watch_id)).collect();
    assert_eq!(paths, [(at(&place), 1), (named(&place.outside.join("weights")), 1)]);
}

#[test]
fn an_overlay_over_a_watched_tree_is_seen_by_extension_or_by_its_own_watch() {
    let Some(mut rig) = rig("an_overlay_over_a_watched_tree_is_seen_by_extension_or_by_its_own_watch") else { return };
    let place = place(&mut rig);
    // The layers above may not lie on an overlay themselves.
    let layers = tempfile::tempdir_in("/dev/shm").expect("memory");
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| layers.path().join(name));
    for path in [&lower, &upper, &work, &merged] {
        std::fs::create_dir(path).expect("folder");
    }
    for name in ["model.pt", "plain"] {
        std::fs::write(lower.join(name), b"1234").expect("file");
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    nix::mount::mount(Some("overlay"), &merged, Some("overlay"), nix::mount::MsFlags::empty(), Some(options.as_str())).expect("overlay");
    rig.watch(&[&lower]);
    let open = |name: &str| drop(std::fs::File::open(merged.join(name)));
    open("plain");
    open("model.pt");
    let mut seen: Vec<(Vec<u8>, u32)> =
        rig::mine(&rig.up_to_marker(place.folder.path()), FileOp::Open).into_iter().map(|(_, file)| (file.path, file.watch_id)).collect();
    rig.watch(&[&merged]);
    open("plain");
    seen.extend(rig::mine(&rig.up_to_marker(place.folder.path()), FileOp::Open).into_iter().map(|(_, file)| (file.path, file.watch_id)));
    rig.watch(&[]);
    nix::mount::umount2(&merged, nix::mount::MntFlags::MNT_DETACH).expect("unmount");
    seen.retain(|(path, _)| !path.ends_with(b"/marker.safetensors"));
    assert_eq!(seen, [(named(&merged.join("model.pt")), 0), (named(&merged.join("plain")), 1)]);
}

#[test]
fn a_shared_writable_mapping_is_named() {
    let Some(mut rig) = rig("a_shared_writable_mapping_is_named") else { return };
    let place = place(&mut rig);
    let seen = python(&mut rig, &place, "fd = os.open(p, 2)\nm = mmap.mmap(fd, 8192)\nm[0] = 1\nm.close()\nos.close(fd)");
    let (_, written, methods) = ended(&seen);
    assert!(methods.contains(FileMethods::MMAP) && methods.contains(FileMethods::MMAP_WRITE), "{methods:?}");
    assert_eq!(written, 0, "what is written through a mapping is not counted");
    assert_eq!(seen.iter().filter(|(_, file)| file.op == FileOp::CloseWrite).count(), 1);
}

#[test]
fn a_32_bit_caller_is_seen_and_marked() {
    let Some(mut rig) = rig("a_32_bit_caller_is_seen_and_marked") else { return };
    let place = place(&mut rig);
    // open, read 100 bytes, close through int 0x80 from machine code in memory below 4 GiB.
    let body = "MAP_32BIT = 0x40
page = libc.mmap(None, 8192, 7, 0x22 | MAP_32BIT, -1, 0)
assert page and page < 1 << 32
name = os.fsencode(p) + b'\\0'
ctypes.memmove(page + 4096, name, len(name))
code = b'\\x53' + b'\\xb8' + struct.pack('I', 5) + b'\\xbb' + struct.pack('I', page + 4096) + b'\\x31\\xc9\\x31\\xd2\\xcd\\x80'
code += b'\\x89\\xc3' + b'\\xb8' + struct.pack('I', 3) + b'\\xb9' + struct.pack('I', page + 2048) + b'\\xba' + struct.pack('I', 100) + b'\\xcd\\x80'
code += b'\\xb8' + struct.pack('I', 6) + b'\\xcd\\x80\\x5b\\xc3'
ctypes.memmove(page, code, len(code))
assert ctypes.CFUNCTYPE(ctypes.c_int)(page)() == 0";
    let seen = python(&mut rig, &place, body);
    let opened = opens(&seen);
    assert_eq!(opened.len(), 1, "{seen:?}");
    assert!(opened.iter().all(|file| file.path == at(&place) && file.methods == FileMethods::COMPAT));
    assert_eq!(ended(&seen).0, 100);
}

#[test]
fn a_handle_is_seen_and_marked() {
    let Some(mut rig) = rig("a_handle_is_seen_and_marked") else { return };
    let place = place(&mut rig);
    let body = "handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0), 136)
ok(libc.syscall(303, -100, os.fsencode(p), handle, ctypes.byref(ctypes.c_int()), 0))
fd = ok(libc.syscall(304, os.open(os.path.dirname(p), 0), handle, 0))
os.read(fd, 11)
os.close(fd)";
    let seen = python(&mut rig, &place, body);
    assert!(opens(&seen).iter().any(|file| file.path == at(&place) && file.methods.contains(FileMethods::HANDLE)), "{seen:?}");
    assert_eq!(ended(&seen).0, 11);
}

#[test]
fn every_change_is_told_with_what_it_changed() {
    let Some(mut rig) = rig("every_change_is_told_with_what_it_changed") else { return };
    let place = place(&mut rig);
    let body = "os.chmod(p, 0o640)
os.chown(p, 12, 34)
os.utime(p, (1, 2))
os.setxattr(p, 'trusted.note', b'x')
os.removexattr(p, 'trusted.note')
os.truncate(p, 5000)
# A change in the same tick of the clock as the one before leaves the change time as it is.
time.sleep(0.05)
fd = os.open(p, 2)
ok(libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)))
os.close(fd)";
    let seen = python(&mut rig, &place, body);
    let changes: Vec<(FileChange, u16, u32, u64)> = seen
        .iter()
        .filter_map(|(_, file)| match file.op {
            FileOp::Change(change) => Some((change, file.i_mode & 0o7777, file.owner_uid, file.size)),
            _ => None,
        })
        .collect();
    let expected = [
        (FileChange::Mode, 0o640, 0, SIZE),
        (FileChange::Owner, 0o640, 12, SIZE),
        (FileChange::Times, 0o640, 12, SIZE),
        (FileChange::ExtendedAttribute, 0o640, 12, SIZE),
        (FileChange::ExtendedAttribute, 0o640, 12, SIZE),
        (FileChange::Size, 0o640, 12, 5000),
        (FileChange::Space, 0o640, 12, 5000),
    ];
    assert_eq!(changes, expected);
    assert!(seen.iter().filter(|(_, file)| matches!(file.op, FileOp::Change(_))).all(|(_, file)| file.path == at(&place) && file.watch_id == 1));
}

#[test]
fn a_link_tells_both_names_and_changes_elsewhere_tell_nothing() {
    let Some(mut rig) = rig("a_link_tells_both_names_and_changes_elsewhere_tell_nothing") else { return };
    let place = place(&mut rig);
    std::fs::write(place.outside.join("plain"), b"").expect("file");
    let seen = python(&mut rig, &place, "os.link(p, o + '/second')\nos.chmod(o + '/plain', 0o600)");
    let links: Vec<(Vec<u8>, Vec<u8>)> =
        seen.iter().filter(|(_, file)| file.op == FileOp::Link).map(|(_, file)| (file.path.clone(), file.new_path.clone())).collect();
    assert_eq!(links, [(at(&place), named(&place.outside.join("second")))]);
    assert!(!seen.iter().any(|(_, file)| matches!(file.op, FileOp::Change(_))), "{seen:?}");
}

/// A ring without any library: two mappings and three system calls.
const RING: &str = "IORING_SETUP_SQPOLL = 2
def ring(flags=0):
    params = ctypes.create_string_buffer(120)
    struct.pack_into('I', params, 8, flags)
    struct.pack_into('I', params, 16, 2000)
    fd = ok(libc.syscall(425, 8, params))
    entries, cq = struct.unpack_from('II', params, 0)
    so = struct.unpack_from('IIIIIIII', params, 40)
    co = struct.unpack_from('IIIIIII', params, 80)
    size = max(so[6] + entries * 4, co[5] + cq * 16)
    rings = mmap.mmap(fd, size, offset=0)
    sqes = mmap.mmap(fd, entries * 64, offset=0x10000000)
    return fd, rings, sqes, so, co, entries, cq, flags
def do(r, sqe):
    fd, rings, sqes, so, co, entries, cq, flags = r
    tail = struct.unpack_from('I', rings, so[1])[0]
    index = tail % entries
    sqes[index * 64:index * 64 + 64] = sqe
    struct.pack_into('I', rings, so[6] + 4 * index, index)
    struct.pack_into('I', rings, so[1], tail + 1)
    head = struct.unpack_from('I', rings, co[0])[0]
    # A polling thread takes it by itself, and is woken where it sleeps.
    ok(libc.syscall(426, fd, 0 if flags else 1, 1, 1 | (2 if flags else 0), None, 0))
    for _ in range(2000):
        if struct.unpack_from('I', rings, co[1])[0] != head: break
        time.sleep(0.001)
    res = struct.unpack_from('Qi', rings, co[5] + 16 * (head % cq))[1]
    struct.pack_into('I', rings, co[0], head + 1)
    assert res >= 0, os.strerror(-res)
    return res
name = ctypes.create_string_buffer(os.fsencode(p))
how = ctypes.create_string_buffer(struct.pack('QQQ', 0, 0, 0), 24)
buffer = ctypes.create_string_buffer(9000)
def sqe(opcode, fd, off, addr, length, file_slot=0, flags=0):
    return struct.pack('BBHiQQIIQHHIQQ', opcode, flags, 0, fd, off, addr, length, 0, 0, 0, 0, file_slot, 0, 0)
def open2(slot=0): return sqe(28, -100, ctypes.addressof(how), ctypes.addressof(name), 24, slot)
def read(fd, n, flags=0): return sqe(22, fd, 0, ctypes.addressof(buffer), n, 0, flags)
";

fn ring_opens_and_reads(test: &str, body: &str) {
    let Some(mut rig) = rig(test) else { return };
    let place = place(&mut rig);
    let seen = python(&mut rig, &place, &format!("{RING}{body}"));
    let opened = opens(&seen);
    assert_eq!(opened.len(), 1, "{seen:?}");
    assert!(opened.iter().all(|file| file.path == at(&place) && file.methods.contains(FileMethods::IO_URING)), "{seen:?}");
    let (read, _, methods) = ended(&seen);
    assert_eq!((read, methods.contains(FileMethods::IO_URING)), (9000, true));
}

#[test]
fn a_ring_opens_and_reads() {
    ring_opens_and_reads("a_ring_opens_and_reads", "r = ring()\nfd = do(r, open2())\nassert do(r, read(fd, 9000)) == 9000\nos.close(fd)");
}

#[test]
fn a_polled_ring_opens_and_reads() {
    ring_opens_and_reads(
        "a_polled_ring_opens_and_reads",
        "r = ring(IORING_SETUP_SQPOLL)\nfd = do(r, open2())\nassert do(r, read(fd, 9000)) == 9000\nos.close(fd)",
    );
}

#[test]
fn a_ring_opens_and_reads_without_a_descriptor() {
    let body = "r = ring()
table = (ctypes.c_int * 4)(-1, -1, -1, -1)
ok(libc.syscall(427, r[0], 2, table, 4))
do(r, open2(2))
assert do(r, read(1, 9000, flags=1)) == 9000
ok(libc.syscall(427, r[0], 3, None, 0))";
    ring_opens_and_reads("a_ring_opens_and_reads_without_a_descriptor", body);
}

#[test]
fn every_test_here_is_in_the_matrix_and_every_cell_of_it_here_exists() {
    let here = include_str!("visibility.rs");
    let page = include_str!("../../docs/visibility.md");
    let mut tests: Vec<&str> = Vec::new();
    let mut marked = false;
    for line in here.lines() {
        let line = line.trim();
        if marked && let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')).map(|(name, _)| name) {
            tests.push(name);
        }
        marked = line == "#[test]";
    }
    let rows = here.split_once("\nbytes! {\n").and_then(|(_, rest)| rest.split_once("\n}")).expect("the table of byte sums").0;
    tests.extend(rows.lines().filter_map(|line| line.trim().split_once("(\"")).map(|(name, _)| name));
    tests.retain(|name| !name.starts_with('$') && !name.starts_with("every_test_here"));
    let cited: Vec<&str> = page
        .split("[`")
        .skip(1)
        .filter_map(|rest| rest.split_once("`](../ebpf/tests/visibility.rs)"))
        .map(|(name, _)| name)
        .filter(|name| !name.contains('`'))
        .collect();
    for name in &tests {
        assert!(cited.contains(name), "docs/visibility.md has no row for {name}");
    }
    for name in &cited {
        assert!(tests.contains(name), "docs/visibility.md names {name}, which is no test here");
    }
    assert!(tests.len() > 20, "{tests:?}");
}

/// Nodes of `/dev/null`'s number under the names of accelerators: the sensor goes by name and type, and every host has that driver.
#[test]
fn an_accelerator_s_device_is_told_with_its_process_once() {
    let Some(mut rig) = rig("an_accelerator_s_device_is_told_with_its_process_once") else { return };
    // Where device nodes work: a temporary folder may be mounted without them.
    let folder = tempfile::tempdir_in("/dev").expect("folder");
    let names = ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "renderD128", "accel0", "kfd"];
    let others = ["null", "nvid", "xnvidia0", "kf", "kfdx", "nvidia-of-seventeen"];
    for name in names.iter().chain(&others) {
        let made = Command::new("mknod").arg("-m").arg("666").arg(folder.path().join(name)).args(["c", "1", "3"]).status().expect("mknod");
        if !made.success() {
            return rig::skipped("an_accelerator_s_device_is_told_with_its_process_once", "no right to make device nodes");
        }
    }
    std::fs::write(folder.path().join("nvidia99"), b"no device").expect("file");
    rig.watch(&[]);
    // Twice each, in a table of descriptors that has grown and in one that has not.
    let script = "import os, sys
def all():
    for n in sorted(os.listdir('.')):
        for _ in range(2):
            os.close(os.open(n, os.O_RDONLY))
all()
if sys.argv[1] == 'many':
    held = [os.open('/', os.O_RDONLY) for _ in range(300)]
all()";
    for many in ["few", "many"] {
        rig.clear();
        let child = Command::new("python3").args(["-c", script, many]).current_dir(folder.path()).spawn().expect("python");
        let pid = child.id();
        assert!(child.wait_with_output().expect("ends").status.success());
        let records = rig.up_to_marker(folder.path());
        let mut told: Vec<String> = records
            .iter()
            .filter(|record| record.task.pid == pid)
            .filter_map(|record| match &record.body {
                Body::File(file) if file.i_mode & 0o170_000 == 0o020_000 => Some((file.op, String::from_utf8_lossy(&file.path).into_owned())),
                _ => None,
            })
            .map(|(op, path)| {
                assert_eq!(op, FileOp::Open);
                path.strip_prefix(&format!("{}/", folder.path().display())).expect("of this folder").to_owned()
            })
            .collect();
        told.sort();
        let mut wanted = names.map(str::to_owned).to_vec();
        wanted.sort();
        assert_eq!(told, wanted, "{many} descriptors");
    }
}
