//! Fork, exec and exit, triggered for real, field by field.

use std::collections::HashSet;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use picket_ebpf::record::{Body, Record, RecordFlags};

mod rig;
use rig::{boot_ns, exec, rig, stat_field};

fn ns(pid: u32, kind: &str) -> u32 {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace");
    let link = link.to_str().expect("text");
    link.split(['[', ']']).nth(1).expect("inode").parse().expect("number")
}

fn status(pid: u32, label: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    text.lines().find_map(|line| line.strip_prefix(label)).expect("label").trim().to_owned()
}

/// A process that waits on its input, so that /proc can be compared with what the kernel told.
fn waiting(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawns")
}

fn end(mut child: Child) -> std::process::ExitStatus {
    drop(child.stdin.take());
    child.wait().expect("ends")
}

fn exec_of(record: &Record, pid: u32) -> Option<Record> {
    (record.task.pid == pid && exec(record).is_some()).then(|| record.clone())
}

fn exit_of(record: &Record, pid: u32) -> Option<(u32, Record)> {
    match &record.body {
        Body::Exit(exit) if record.task.pid == pid => Some((exit.code, record.clone())),
        _ => None,
    }
}

#[test]
fn exec_tells_every_field_and_only_the_listed_environment() {
    let Some(mut rig) = rig("exec_tells_every_field_and_only_the_listed_environment") else { return };
    let folder = tempfile::tempdir().expect("folder");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    rig.clear();
    let before = boot_ns();
    let mut command = Command::new("/usr/bin/cat");
    command.args(["-", "two words", ""]).current_dir(folder.path()).uid(12345).gid(23456);
    command.env_clear().env("SECRET_TOKEN", "hush").env("SLURM_JOB_ID", "42").env("SLURM_JOB_IDX", "no").env("SLURM_JOB", "no").env("EMPTY", "");
    command.env("TWENTY_THREE_BYTES_NAME", "whole").env("TWENTY_THREE_BYTES_NAMES", "longer").env("LD_PRELOAD", "");
    let child = waiting(&mut command);
    let pid = child.id();
    let record = rig.first(|record| exec_of(record, pid));
    let after = boot_ns();
    let told = exec(&record).expect("exec").clone();

    assert_eq!(told.args, b"/usr/bin/cat\0-\0two words\0");
    assert_eq!(told.argc, 4);
    let pairs: HashSet<&[u8]> = told.environment.split(|byte| *byte == 0).collect();
    assert_eq!(pairs, HashSet::from([b"SLURM_JOB_ID=42".as_slice(), b"TWENTY_THREE_BYTES_NAME=whole", b"LD_PRELOAD="]));
    assert_eq!(told.exe_path, b"/usr/bin/cat");
    let exe = std::fs::metadata("/usr/bin/cat").expect("cat");
    assert_eq!(told.exe_inode, exe.st_ino());
    assert_eq!(u64::from(told.exe_device), (nix::sys::stat::major(exe.st_dev()) << 20) | nix::sys::stat::minor(exe.st_dev()));
    assert_eq!(told.cwd, rig::path_bytes(folder.path()));
    assert_eq!(told.capabilities, u64::from_str_radix(&status(pid, "CapEff:"), 16).expect("hex"));
    assert_eq!(told.capabilities, 0, "an ordinary user has none");
    assert_eq!([told.mnt_ns, told.pid_ns, told.net_ns, told.user_ns], [ns(pid, "mnt"), ns(pid, "pid"), ns(pid, "net"), ns(pid, "user")]);
    assert_eq!(told.ns_pid, pid);
    assert_eq!(u64::from(told.session_pid), stat_field(pid, 6));
    assert_eq!(stat_field(pid, 7), 0, "this test has no terminal");
    assert_eq!(told.tty, (0, 0));

    let task = &record.task;
    assert_eq!((task.pid, task.tid), (pid, pid));
    assert_eq!((task.uid, task.euid, task.gid), (12345, 12345, 23456));
    assert_eq!(task.auid.to_string(), std::fs::read_to_string(format!("/proc/{pid}/loginuid")).expect("loginuid").trim());
    assert_eq!(task.comm, "cat");
    assert_eq!(task.start_boot_ns / 10_000_000, stat_field(pid, 22));
    assert_eq!(task.parent_pid, std::process::id());
    assert_eq!(task.parent_start_boot_ns / 10_000_000, stat_field(std::process::id(), 22));
    assert_eq!(task.cgroup_id, cgroup_inode(pid));
    assert!(record.time_boot_ns > before && record.time_boot_ns < after);
    assert!((record.cpu as usize) < 4096);
    assert_eq!(record.flags, RecordFlags(0));
    end(child);
}

/// Inode of a process's folder in the version 2 hierarchy, wherever it is mounted.
fn cgroup_inode(pid: u32) -> u64 {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let root = mounts.lines().find_map(|line| line.split(' ').nth(1).filter(|_| line.split(' ').nth(2) == Some("cgroup2"))).expect("a cgroup2 mount");
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).expect("version 2");
    std::fs::metadata(PathBuf::from(root).join(path.trim_start_matches('/'))).expect("cgroup folder").st_ino()
}

#[test]
fn the_session_leader_is_told_while_it_lives_and_after() {
    let Some(mut rig) = rig("the_session_leader_is_told_while_it_lives_and_after") else { return };
    rig.clear();
    // The leader starts the shell that outlives it before the `cat` whose exec is its end.
    let script = "exec 3<&0; sh -c 'for i in $(seq 6000); do kill -0 $1 2>/dev/null || exec tac; sleep 0.01; done' sh $$ <&3 & cat <&3 & wait";
    let leader = waiting(Command::new("/usr/bin/setsid").args(["--fork", "--wait", "/bin/sh", "-c", script]));
    let beside = rig.first(|record| exec(record).is_some_and(|_| record.task.comm == "cat").then(|| record.clone()));
    let told = exec(&beside).expect("exec").clone();
    assert_eq!(told.session_pid, beside.task.parent_pid, "a leader starts its child itself");
    assert_eq!(told.session_start_boot_ns, beside.task.parent_start_boot_ns);
    assert_eq!(u64::from(told.session_pid), stat_field(beside.task.pid, 6));
    assert_eq!(told.session_start_boot_ns / 10_000_000, stat_field(told.session_pid, 22));

    let doomed = nix::unistd::Pid::from_raw(i32::try_from(told.session_pid).expect("a process id"));
    nix::sys::signal::kill(doomed, nix::sys::signal::Signal::SIGKILL).expect("the leader dies");
    let orphan = rig.first(|record| exec(record).is_some_and(|_| record.task.comm == "tac").then(|| record.clone()));
    let left = exec(&orphan).expect("exec");
    assert_eq!(left.session_pid, told.session_pid, "the session keeps its number");
    assert_eq!(left.session_start_boot_ns, 0, "and nobody leads it");
    end(leader);
}

#[test]
fn a_login_uid_and_effective_capabilities_are_told() {
    let Some(mut rig) = rig("a_login_uid_and_effective_capabilities_are_told") else { return };
    rig.clear();
    let child = waiting(Command::new("/bin/sh").args(["-c", "echo 4242 > /proc/self/loginuid; exec cat"]));
    let pid = child.id();
    let record = rig.first(|record| exec_of(record, pid).filter(|record| record.task.comm == "cat"));
    assert_eq!(record.task.auid.to_string(), std::fs::read_to_string(format!("/proc/{pid}/loginuid")).expect("loginuid").trim());
    assert_eq!(record.task.auid, 4242, "root may set it once");
    assert_eq!(exec(&record).expect("exec").capabilities, u64::from_str_radix(&status(pid, "CapEff:"), 16).expect("hex"));
    assert_ne!(exec(&record).expect("exec").capabilities, 0);
    end(child);
}

#[test]
fn a_terminal_and_its_session_leader_are_told() {
    let Some(mut rig) = rig("a_terminal_and_its_session_leader_are_told") else { return };
    rig.clear();
    let script = "import os,pty,sys\npid,fd=pty.fork()\nif pid==0:\n os.execv('/bin/sh',['sh','-c','sleep 5 & wait'])\nsys.stdin.read()\nos.kill(pid,9)\nos.waitpid(pid,0)\n";
    let child = waiting(Command::new("python3").args(["-c", script]));
    let records = rig.until(|records| records.iter().any(|record| exec(record).is_some_and(|told| told.args == b"sleep\x005" && told.tty.0 == 136)));
    let sleep = records.iter().find(|record| exec(record).is_some_and(|told| told.args == b"sleep\x005" && told.tty.0 == 136)).expect("seen");
    let told = exec(sleep).expect("exec");
    let device = u32::try_from(stat_field(sleep.task.pid, 7)).expect("device");
    assert_eq!(told.tty, (136, u16::try_from(device & 0xff).expect("minor")), "a pseudo terminal: {device:#x}");
    assert_eq!(u64::from(told.session_pid), stat_field(sleep.task.pid, 6));
    assert_eq!(told.session_pid, sleep.task.parent_pid, "the shell leads the session");
    assert_eq!(told.session_start_boot_ns, sleep.task.parent_start_boot_ns);
    let sleep = sleep.task.pid;
    end(child);
    // The sleep that this test started: the end of the terminal ends it too, where nothing has made it deaf to that.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(sleep).expect("pid")), nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn namespaces_and_the_inner_pid_are_those_of_the_process() {
    let Some(mut rig) = rig("namespaces_and_the_inner_pid_are_those_of_the_process") else { return };
    rig.clear();
    let child = waiting(Command::new("unshare").args(["--user", "--map-root-user", "--pid", "--net", "--mount", "--fork", "/usr/bin/cat"]));
    let record = rig.first(|record| exec(record).filter(|told| told.args == b"/usr/bin/cat").map(|_| record.clone()));
    let (pid, told) = (record.task.pid, exec(&record).expect("exec"));
    assert_eq!([told.mnt_ns, told.pid_ns, told.net_ns, told.user_ns], [ns(pid, "mnt"), ns(pid, "pid"), ns(pid, "net"), ns(pid, "user")]);
    assert_ne!([told.mnt_ns, told.pid_ns, told.net_ns, told.user_ns], ["mnt", "pid", "net", "user"].map(|kind| ns(std::process::id(), kind)));
    assert_eq!(told.ns_pid, 1);
    assert_eq!((record.task.uid, record.task.parent_pid), (0, child.id()), "ids are the host's");
    end(child);
}

#[test]
fn long_arguments_are_cut_and_counted() {
    let Some(mut rig) = rig("long_arguments_are_cut_and_counted") else { return };
    rig.clear();
    let long = "a".repeat(3000);
    let child = waiting(Command::new("/usr/bin/cat").args(["-", &long, &long, "end"]));
    let record = rig.first(|record| exec_of(record, child.id()));
    let told = exec(&record).expect("exec");
    assert!(record.flags.contains(RecordFlags::ARGS_CUT));
    assert_eq!((told.args.len(), told.argc), (4096, 5));
    assert!(told.args.starts_with(b"/usr/bin/cat\0-\0aaa"));
    end(child);
    let child = waiting(Command::new("/usr/bin/cat").args(["-", &long]));
    let record = rig.first(|record| exec_of(record, child.id()));
    assert_eq!((record.flags, exec(&record).expect("exec").args.len()), (RecordFlags(0), "/usr/bin/cat\0-\0".len() + 3000));
    end(child);
}

#[test]
fn an_environment_of_hundreds_of_strings_is_filtered_to_its_end() {
    let Some(mut rig) = rig("an_environment_of_hundreds_of_strings_is_filtered_to_its_end") else { return };
    rig.clear();
    let mut command = Command::new("/usr/bin/cat");
    command.env_clear();
    for index in 0..240 {
        command.env(format!("A_{index:03}"), "x".repeat(30));
    }
    // Sorted last, after a value longer than one read.
    command.env("B_LONG", "y".repeat(5000)).env("SLURM_JOB_ID", "77");
    let child = waiting(&mut command);
    let record = rig.first(|record| exec_of(record, child.id()));
    assert_eq!(exec(&record).expect("exec").environment, b"SLURM_JOB_ID=77");
    end(child);
}

#[test]
fn a_file_without_a_name_is_executed_under_the_name_it_was_given_and_flagged() {
    let Some(mut rig) = rig("a_file_without_a_name_is_executed_under_the_name_it_was_given_and_flagged") else { return };
    rig.clear();
    let script = "import os,sys\nfd=os.memfd_create('hidden')\nos.write(fd,open('/usr/bin/true','rb').read())\nos.execve(fd,['quiet'],{})\n";
    let child = waiting(Command::new("python3").args(["-c", script]));
    let pid = child.id();
    let record = rig.first(|record| exec_of(record, pid).filter(|record| exec(record).is_some_and(|told| told.args == b"quiet")));
    assert_eq!(exec(&record).expect("exec").exe_path, b"/memfd:hidden");
    assert!(record.flags.contains(RecordFlags::PATH_DETACHED));
    end(child);
}

#[test]
fn a_deep_working_directory_is_whole_and_a_deeper_one_is_cut_and_flagged() {
    let Some(mut rig) = rig("a_deep_working_directory_is_whole_and_a_deeper_one_is_cut_and_flagged") else { return };
    let folder = tempfile::tempdir().expect("folder");
    for (depth, whole) in [(50, true), (90, false)] {
        let mut deep = folder.path().to_path_buf();
        deep.extend((0..depth).map(|level| format!("d{level}")));
        std::fs::create_dir_all(&deep).expect("deep");
        rig.clear();
        let child = waiting(Command::new("/usr/bin/cat").current_dir(&deep));
        let record = rig.first(|record| exec_of(record, child.id()));
        let told = exec(&record).expect("exec");
        assert_eq!(record.flags.contains(RecordFlags::PATH_CUT), !whole, "depth {depth}");
        if whole {
            assert_eq!(told.cwd, rig::path_bytes(&deep));
        } else {
            assert!(deep.to_str().expect("text").as_bytes().ends_with(&told.cwd) && told.cwd.ends_with(b"/d88/d89"), "the nearest components stay");
        }
        end(child);
    }
}

#[test]
fn fork_names_parent_and_child() {
    let Some(mut rig) = rig("fork_names_parent_and_child") else { return };
    rig.clear();
    let child = waiting(&mut Command::new("/usr/bin/cat"));
    let pid = child.id();
    let (fork, record) = rig.first(|record| match &record.body {
        Body::Fork(fork) if fork.child_pid == pid => Some((fork.clone(), record.clone())),
        _ => None,
    });
    assert_eq!(record.task.pid, std::process::id());
    assert_eq!(u64::from(record.task.parent_pid), stat_field(std::process::id(), 4));
    assert_eq!(fork.child_start_boot_ns / 10_000_000, stat_field(pid, 22));
    assert!(record.time_boot_ns >= fork.child_start_boot_ns);
    end(child);
}

#[test]
fn exit_tells_the_status_that_wait_tells() {
    let Some(mut rig) = rig("exit_tells_the_status_that_wait_tells") else { return };
    rig.clear();
    let threads = "import os,threading,time\nfor _ in range(8): threading.Thread(target=time.sleep,args=(60,),daemon=True).start()\n";
    let last_thread =
        "import ctypes,threading,time\nthreading.Thread(target=lambda:(time.sleep(.2),__import__('os')._exit(9))).start()\nctypes.CDLL(None).pthread_exit(0)\n";
    for (program, arguments, expected) in [
        ("/bin/sh", vec!["-c".to_owned(), "exit 3".into()], 3 << 8),
        ("/bin/sh", vec!["-c".into(), "kill -TERM $$".into()], 15),
        ("python3", vec!["-c".into(), format!("{threads}os._exit(5)")], 5 << 8),
        ("python3", vec!["-c".into(), last_thread.into()], 9 << 8),
    ] {
        let child = waiting(Command::new(program).args(&arguments));
        let pid = child.id();
        let status = end(child);
        let (code, record) = rig.first(|record| exit_of(record, pid));
        assert_eq!(code, expected, "{arguments:?}");
        assert_eq!(code, u32::try_from(status.into_raw()).expect("status"));
        assert_eq!((record.task.parent_pid, record.task.uid), (std::process::id(), 0));
    }
}

#[test]
fn a_process_of_many_threads_ends_once() {
    let Some(mut rig) = rig("a_process_of_many_threads_ends_once") else { return };
    rig.clear();
    let script =
        "import os,threading\nb=threading.Barrier(17)\nfor _ in range(16): threading.Thread(target=lambda:(b.wait(),b.wait())).start()\nb.wait();b.wait()\n";
    let mut pids = Vec::new();
    for _ in 0..10 {
        let child = waiting(Command::new("python3").args(["-c", script]));
        pids.push(child.id());
        end(child);
    }
    let last = waiting(&mut Command::new("/usr/bin/cat"));
    let last_pid = last.id();
    end(last);
    let records = rig.until(|records| records.iter().any(|record| exit_of(record, last_pid).is_some()));
    for pid in pids {
        assert_eq!(records.iter().filter(|record| exit_of(record, pid).is_some()).count(), 1, "process {pid}");
        assert_eq!(
            records.iter().filter(|record| matches!(&record.body, Body::Fork(fork) if fork.child_pid == pid) && record.task.pid == pid).count(),
            0,
            "threads are not processes"
        );
    }
}

#[test]
fn processes_that_exist_are_found_with_the_same_fields() {
    let Some(mut rig) = rig("processes_that_exist_are_found_with_the_same_fields") else { return };
    rig.clear();
    let folder = tempfile::tempdir().expect("folder");
    let mut command = Command::new("/usr/bin/cat");
    command.args(["-", "existing"]).current_dir(folder.path()).env_clear().env("SLURM_JOB_ID", "43").env("SECRET", "hush");
    let child = waiting(&mut command);
    let pid = child.id();
    let live = rig.first(|record| exec_of(record, pid));
    let found = rig.sensor().processes().expect("iterates");
    let existing: Vec<&Record> = found.iter().filter(|record| record.task.pid == pid).collect();
    assert_eq!(existing.len(), 1);
    let existing = existing[0];
    assert_eq!(existing.flags, RecordFlags::PREEXISTING);
    assert_eq!(existing.body, live.body);
    assert_eq!(existing.task, live.task);
    let own = found.iter().find(|record| record.task.pid == std::process::id()).expect("this process");
    assert_eq!(exec(own).expect("exec").exe_path, rig::path_bytes(&std::env::current_exe().expect("path")));
    let kernel_thread = found.iter().find(|record| record.task.pid == 2).expect("kthreadd");
    assert_eq!((exec(kernel_thread).expect("exec").exe_path.as_slice(), kernel_thread.task.comm.as_str()), (b"".as_slice(), "kthreadd"));
    end(child);
}
