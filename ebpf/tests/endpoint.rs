//! Local sockets, sockets of other kinds, and what rings do with sockets, triggered for real. Own folders and ports; the programs that use a ring are compiled here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr as LocalAddress, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use picket_ebpf::record::{Body, Flow, FlowOp, Record, RecordFlags, Socket, SocketOp};

mod rig;
use rig::{Rig, flow, path_bytes, rig_with};

fn rig(test: &str) -> Option<Rig> {
    rig_with(test, |config| {
        config.network.traffic_interval = Duration::from_millis(200);
        config.network.traffic_bytes_min = 1;
        config.network.local_sockets = vec!["docker.sock".into(), "abstract.sock".into(), "exactly-thirty-one-bytes-of-name".chars().take(31).collect()];
    })
}

fn socket(record: &Record) -> Option<&Socket> {
    match &record.body {
        Body::Socket(socket) => Some(socket),
        _ => None,
    }
}

/// Sockets told of one process, up to its marker.
fn told_of(rig: &mut Rig, pid: u32, enough: impl Fn(&[Socket]) -> bool) -> Vec<(Record, Socket)> {
    let mine = |records: &[Record]| -> Vec<(Record, Socket)> {
        records.iter().filter(|record| record.task.pid == pid).filter_map(|record| socket(record).map(|socket| (record.clone(), socket.clone()))).collect()
    };
    let records = rig.until(|records| enough(&mine(records).into_iter().map(|(_, socket)| socket).collect::<Vec<_>>()));
    mine(&records)
}

const SOCK_STREAM: u16 = 1;

#[test]
fn a_connection_to_a_runtime_is_told_with_its_resolved_path() {
    let Some(mut rig) = rig("a_connection_to_a_runtime_is_told_with_its_resolved_path") else { return };
    rig.clear();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&path).expect("binds");
    let link = folder.path().join("innocent");
    std::os::unix::fs::symlink(&path, &link).expect("links");
    let other = folder.path().join("other.sock");
    let unlisted = UnixListener::bind(&other).expect("binds");
    drop(UnixStream::connect(&other).expect("connects"));
    drop(UnixStream::connect(&path).expect("connects"));
    drop(UnixStream::connect(&link).expect("connects"));
    // Renamed, it is still what it was bound as; and a file's new name counts as well.
    let renamed = folder.path().join("renamed");
    std::fs::rename(&path, &renamed).expect("renames");
    drop(UnixStream::connect(&renamed).expect("connects"));
    std::fs::rename(&other, &path).expect("renames");
    drop(UnixStream::connect(&path).expect("connects"));
    let told = told_of(&mut rig, std::process::id(), |told| told.len() >= 4);
    let paths: Vec<&SocketOp> = told.iter().map(|(_, socket)| &socket.op).collect();
    let local = |path: &Path| SocketOp::Local(path_bytes(path));
    assert_eq!(paths, [&local(&path), &local(&path), &local(&renamed), &local(&path)]);
    let metadata = std::fs::metadata(&renamed).expect("metadata");
    for (record, socket) in &told[..3] {
        assert_eq!((record.task.uid, record.flags), (0, RecordFlags(0)));
        assert_eq!((socket.family, socket.kind, socket.protocol), (1, SOCK_STREAM, 0));
        assert_eq!((socket.inode, u32::from(socket.i_mode), socket.owner_uid), (metadata.ino(), metadata.mode(), metadata.uid()));
        assert_eq!(
            (u64::from(socket.device >> 20), u64::from(socket.device & 0xf_ffff)),
            (nix::sys::stat::major(metadata.dev()), nix::sys::stat::minor(metadata.dev()))
        );
    }
    drop((listener, unlisted));
}

#[test]
fn abstract_and_long_names_are_compared_whole() {
    let Some(mut rig) = rig("abstract_and_long_names_are_compared_whole") else { return };
    rig.clear();
    let name = format!("picket-{}/abstract.sock", std::process::id());
    let address = LocalAddress::from_abstract_name(&name).expect("address");
    let _listener = UnixListener::bind_addr(&address).expect("binds");
    let nearly = LocalAddress::from_abstract_name(format!("{name}2")).expect("address");
    let _other = UnixListener::bind_addr(&nearly).expect("binds");
    let folder = tempfile::tempdir().expect("folder");
    let long = folder.path().join("exactly-thirty-one-bytes-of-nam");
    let longer = folder.path().join("exactly-thirty-one-bytes-of-name");
    let _listeners = (UnixListener::bind(&long).expect("binds"), UnixListener::bind(&longer).expect("binds"));
    drop(UnixStream::connect_addr(&nearly).expect("connects"));
    drop(UnixStream::connect_addr(&address).expect("connects"));
    drop(UnixStream::connect(&longer).expect("connects"));
    drop(UnixStream::connect(&long).expect("connects"));
    let told = told_of(&mut rig, std::process::id(), |told| told.len() >= 2);
    let ops: Vec<&SocketOp> = told.iter().map(|(_, socket)| &socket.op).collect();
    assert_eq!(ops, [&SocketOp::Abstract(name.into_bytes()), &SocketOp::Local(path_bytes(&long))]);
    assert_eq!((told[0].1.inode, told[0].1.i_mode), (0, 0));
}

#[test]
fn sockets_of_other_kinds_are_told_when_they_are_made() {
    let Some(mut rig) = rig("sockets_of_other_kinds_are_told_when_they_are_made") else { return };
    rig.clear();
    // family, type, protocol; those that this kernel has not fail and make nothing.
    let script = "import socket\nmade=[]\nfor kind in [(2,3,1),(2,3,255),(10,3,58),(17,3,0),(40,1,0),(2,1,132),(2,5,33),(21,5,0),(44,3,0),(2,1,0),(2,2,0),(2,2,1),(1,1,0),(16,3,0)]:\n try: made.append(socket.socket(*kind))\n except OSError: pass\n else: print(*kind)\n";
    let maker = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python");
    let pid = maker.id();
    let out = maker.wait_with_output().expect("ends");
    assert!(out.status.success());
    let usual = [(2, 1, 0), (2, 2, 0), (2, 2, 1), (1, 1, 0), (16, 3, 0)];
    let made: Vec<(u16, u16, u16)> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| line.split(' ').map(|word| word.parse().expect("number")).collect::<Vec<u16>>())
        .map(|words| (words[0], words[1], words[2]))
        .filter(|kind| !usual.contains(kind))
        .collect();
    assert!(made.contains(&(2, 3, 1)), "root makes raw sockets");
    let told = told_of(&mut rig, pid, |told| told.len() >= made.len());
    let kinds: Vec<(u16, u16, u16)> = told.iter().map(|(_, socket)| (socket.family, socket.kind, socket.protocol)).collect();
    // A packet socket's protocol is not kept where others keep theirs.
    let families = |list: &[(u16, u16, u16)]| list.iter().map(|(family, kind, _)| (*family, *kind)).collect::<Vec<_>>();
    assert_eq!(families(&kinds), families(&made));
    assert!(kinds.contains(&(2, 3, 1)) && kinds.contains(&(10, 3, 58)) == made.contains(&(10, 3, 58)));
    assert!(told.iter().all(|(_, socket)| socket.op == SocketOp::Special && socket.inode == 0));
}

/// A program of rings, once a test binary; `None` says why not.
fn ring_program(test: &str) -> Option<PathBuf> {
    static PROGRAM: OnceLock<Result<(tempfile::TempDir, PathBuf), String>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        // A guest has no compiler, and finds the program where it was put.
        let program = match std::env::var_os("PICKET_TEST_RING") {
            Some(built) => PathBuf::from(built),
            None => {
                let (program, source) = (folder.path().join("ring"), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ring.c"));
                let compiled = Command::new("clang").args(["-O1", "-o"]).arg(&program).arg(source).output().map_err(|error| format!("clang: {error}"))?;
                assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
                program
            }
        };
        let tried = Command::new(&program).arg("nothing").output().map_err(|error| error.to_string())?;
        if tried.status.success() { Ok((folder, program)) } else { Err(String::from_utf8_lossy(&tried.stderr).into_owned()) }
    });
    match built {
        Ok((_, program)) => Some(program.clone()),
        Err(reason) => {
            rig::skipped(test, &format!("no io_uring here: {reason}"));
            None
        }
    }
}

fn told(records: &[Record], op: FlowOp, local: SocketAddr) -> Vec<(Record, Flow)> {
    records.iter().filter_map(|record| flow(record).filter(|flow| flow.op == op && flow.local == local).map(|flow| (record.clone(), flow.clone()))).collect()
}

#[test]
fn a_connection_made_and_fed_by_a_ring_is_told_with_owner_and_bytes() {
    let Some(program) = ring_program("a_connection_made_and_fed_by_a_ring_is_told_with_owner_and_bytes") else { return };
    let Some(mut rig) = rig("a_connection_made_and_fed_by_a_ring_is_told_with_owner_and_bytes") else { return };
    rig.clear();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("address");
    let child = Command::new(program).args(["connect", &address.port().to_string(), "300000"]).stdout(Stdio::null()).spawn().expect("runs");
    let (mut server, peer) = listener.accept().expect("accepts");
    let pid = child.id();
    let mut received = Vec::new();
    server.read_to_end(&mut received).expect("receives");
    assert!(child.wait_with_output().expect("ends").status.success());
    drop(server);
    let records = rig.until(|records| !told(records, FlowOp::Connect, peer).is_empty() && !told(records, FlowOp::Close, peer).is_empty());
    let (connect, close) = (&told(&records, FlowOp::Connect, peer)[0], &told(&records, FlowOp::Close, peer)[0]);
    assert_eq!((connect.0.task.pid, close.0.task.pid, close.1.bytes_sent, close.1.remote), (pid, pid, 300_000, address));
}

#[test]
fn a_connection_accepted_by_a_ring_has_an_owner() {
    let Some(program) = ring_program("a_connection_accepted_by_a_ring_has_an_owner") else { return };
    let Some(mut rig) = rig("a_connection_accepted_by_a_ring_has_an_owner") else { return };
    for way in ["once", "many"] {
        rig.clear();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds").local_addr().expect("address");
        let mut server = Command::new(&program).args(["accept", &free.port().to_string(), way]).stdout(Stdio::piped()).spawn().expect("runs");
        let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        let mut client = TcpStream::connect(free).expect("connects");
        let here = client.local_addr().expect("address");
        client.write_all(b"x").expect("sends");
        assert!(server.wait().expect("ends").success());
        let records = rig.until(|records| records.iter().any(|record| flow(record).is_some_and(|flow| flow.op == FlowOp::Accept && flow.remote == here)));
        let (record, accept) = told(&records, FlowOp::Accept, free).pop().expect("until saw it");
        assert_eq!((record.task.pid, accept.inbound), (server.id(), true), "{way}");
    }
}

#[test]
fn local_and_raw_sockets_of_a_ring_are_told() {
    let Some(program) = ring_program("local_and_raw_sockets_of_a_ring_are_told") else { return };
    let Some(mut rig) = rig("local_and_raw_sockets_of_a_ring_are_told") else { return };
    rig.clear();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).expect("binds");
    for (arguments, op, family) in [(vec!["local", path.to_str().expect("text")], SocketOp::Local(path_bytes(&path)), 1), (vec!["raw"], SocketOp::Special, 2)] {
        let child = Command::new(&program).args(arguments).stdout(Stdio::null()).spawn().expect("runs");
        let pid = child.id();
        assert!(child.wait_with_output().expect("ends").status.success());
        let told = told_of(&mut rig, pid, |told| !told.is_empty());
        assert_eq!((told.len(), &told[0].1.op, told[0].1.family), (1, &op, family));
    }
}
