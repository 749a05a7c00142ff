//! What a process does to others, to itself and to the kernel: performed for real, field by field.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::linux::fs::MetadataExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use picket_ebpf::record::{Action, ActionOp, Body, MapOrigin, Record, RecordFlags};
use picket_ebpf::{Sensor, SensorConfig};

mod rig;
use rig::{Rig, boot_ns, exec, rig, stat_field};

/// The actor: a Python process that does one line at a time and prints what `say` is given.
struct Actor {
    child: Child,
    out: BufReader<ChildStdout>,
}

const PRELUDE: &str = "import ctypes,os,sys,mmap,time,socket
libc=ctypes.CDLL(None,use_errno=True)
libc.syscall.restype=ctypes.c_long
def call(number,*args):
    args=[ctypes.c_void_p(a) if isinstance(a,int) else a for a in args]
    return libc.syscall(ctypes.c_long(number),*args)
def say(*words): print(*words,flush=True)
say('ready')
for line in sys.stdin: exec(line.rstrip().replace('\\x01','\\n'))
";

impl Actor {
    fn start() -> Self {
        Self::of(&mut Command::new("python3"))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.args(["-c", PRELUDE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let mut actor = Self { child, out };
        assert_eq!(actor.line(), "ready");
        actor
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Runs the statements, and gives what they say.
    fn does(&mut self, script: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{}", script.replace('\n', "\x01")).expect("it reads");
        self.line()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("ends");
    }
}

fn action(record: &Record, op: ActionOp, pid: u32) -> Option<(Record, Action)> {
    match &record.body {
        Body::Action(action) if action.op == op && record.task.pid == pid => Some((record.clone(), (**action).clone())),
        _ => None,
    }
}

fn first(rig: &mut Rig, op: ActionOp, pid: u32) -> (Record, Action) {
    rig.first(|record| action(record, op, pid))
}

#[test]
fn every_probe_of_actions_is_attached_or_says_why_not() {
    let Some(mut rig) = rig("every_probe_of_actions_is_attached_or_says_why_not") else { return };
    for name in [
        "process_trace",
        "process_memory",
        "process_descriptor",
        "agent_signal",
        "process_ids",
        "namespace_change",
        "mount_change",
        "memory_file",
        "executable_mapping",
        "bpf_program",
        "clock_change",
    ] {
        let probe = rig.sensor().probes().iter().find(|probe| probe.name == name).expect("listed");
        assert!(probe.attached, "{probe:?}");
    }
}

#[test]
fn a_module_that_comes_and_goes_is_told() {
    let test = "a_module_that_comes_and_goes_is_told";
    let Some(mut rig) = rig(test) else { return };
    if !attached(&mut rig, "kernel_module", test) {
        return;
    }
    let Ok(path) = std::env::var("PICKET_TEST_MODULE") else {
        return rig::skipped(test, "PICKET_TEST_MODULE names no module that may be loaded here");
    };
    let mut actor = Actor::start();
    rig.clear();
    assert_eq!(actor.does(&format!("say(call(313,os.open('{path}',0),b'numdummies=0',0))")), "0");
    let (record, told) = first(&mut rig, ActionOp::ModuleLoad, actor.pid());
    same_process(&record.task, actor.pid());
    assert_eq!((told.texts[0].as_slice(), told.count, told.call), (b"dummy".as_slice(), 1, 0));
    assert_eq!(actor.does("say(call(176,b'dummy',0))"), "0");
    let (record, told) = first(&mut rig, ActionOp::ModuleUnload, actor.pid());
    assert_eq!((record.task.pid, told.texts[0].as_slice()), (actor.pid(), b"dummy".as_slice()));
    actor.end();
}

/// The probe is there, or this kernel has no hook for it and the test says so.
fn attached(rig: &mut Rig, probe: &str, test: &str) -> bool {
    let state = rig.sensor().probes().iter().find(|state| state.name == probe).expect("listed").clone();
    if !state.attached {
        rig::skipped(test, &state.reason);
    }
    state.attached
}

fn same_process(told: &picket_ebpf::record::Task, pid: u32) {
    assert_eq!(told.pid, pid);
    assert_eq!(told.start_boot_ns / 10_000_000, stat_field(pid, 22));
    assert_eq!(u64::from(told.parent_pid), stat_field(pid, 4));
}

#[test]
fn tracing_another_process_names_it() {
    let Some(mut rig) = rig("tracing_another_process_names_it") else { return };
    let mut target = Command::new("/usr/bin/cat").stdin(Stdio::piped()).uid_of(12345).spawn().expect("cat");
    let mut actor = Actor::start();
    rig.clear();
    let before = boot_ns();
    let pid = target.id();
    let said = actor.does(&format!("a=call(101,16,{pid},0,0); os.waitpid({pid},0x40000000)\nsay(a)"));
    assert_eq!(said, "0");
    let (record, told) = first(&mut rig, ActionOp::Ptrace, actor.pid());
    same_process(&record.task, actor.pid());
    let seen = told.target.expect("a target");
    same_process(&seen, pid);
    assert_eq!((seen.comm.as_str(), seen.uid, seen.euid, seen.gid, seen.tid), ("cat", 12345, 12345, 0, pid));
    assert_eq!((seen.auid, seen.cgroup_id), (record.task.auid, record.task.cgroup_id));
    assert_eq!((told.call, told.result, told.count, told.values[0]), (101, 0, 1, 16));
    assert_eq!(record.flags, RecordFlags(0));
    assert!(record.time_boot_ns > before && record.time_boot_ns < boot_ns());

    // A debugger's pokes are told once a second; those held back by the next one.
    let poke = format!(
        "w=ctypes.c_long(call(101,2,{pid},mapped,0)).value\n[call(101,4,{pid},mapped,0x90) for _ in range(5)]; time.sleep(1.2); say(call(101,4,{pid},mapped,0x90))"
    );
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("a stack");
    let address = u64::from_str_radix(stack.split('-').next().expect("range"), 16).expect("hex");
    assert_eq!(actor.does(&poke.replace("mapped", &address.to_string())), "0");
    let is_poke = |record: &Record| action(record, ActionOp::Ptrace, actor.child.id()).filter(|(_, action)| action.values[0] == 4);
    let records = rig.until(|records| records.iter().filter_map(is_poke).count() == 2);
    let pokes: Vec<Action> = records.iter().filter_map(is_poke).map(|(_, action)| action).collect();
    assert_eq!([pokes[0].count, pokes[1].count], [1, 5], "four were held back");
    assert_eq!((pokes[0].values[2], pokes[0].values[3]), (address, 0x90));
    assert_eq!(actor.does(&format!("say(call(101,17,{pid},0,0))")), "0");
    // A refused access is told too.
    let mut nobody = Actor::of(Command::new("python3").uid_of(23456));
    assert_eq!(nobody.does(&format!("say(call(101,0x4206,{pid},0,0),ctypes.get_errno())")), "-1 1");
    let (_, refused) = first(&mut rig, ActionOp::Ptrace, nobody.pid());
    assert_eq!((refused.result, refused.values[0], refused.target.expect("a target").pid), (-1, 0x4206, pid));
    nobody.end();
    // And one that asks for it.
    assert!(actor.does("pid=os.fork()\nif pid==0:\n call(101,0,0,0,0); os._exit(0)\nelse:\n os.waitpid(pid,0); say(pid)").parse::<u32>().is_ok());
    let (asked, request) = rig.first(|record| match &record.body {
        Body::Action(action) if action.op == ActionOp::Ptrace && action.values[0] == 0 => Some((record.clone(), (**action).clone())),
        _ => None,
    });
    assert_eq!((asked.task.parent_pid, request.target.expect("the parent").pid), (actor.pid(), actor.pid()));
    actor.end();
    drop(target.stdin.take());
    target.wait().expect("ends");
}

/// `Command::uid` by another name: the trait stays out of every test's imports.
trait AsUser {
    fn uid_of(&mut self, uid: u32) -> &mut Self;
}

impl AsUser for Command {
    fn uid_of(&mut self, uid: u32) -> &mut Self {
        std::os::unix::process::CommandExt::uid(self, uid)
    }
}

#[test]
fn reading_and_writing_another_process_tells_address_and_bytes() {
    let Some(mut rig) = rig("reading_and_writing_another_process_tells_address_and_bytes") else { return };
    let (mut target, mut actor) = (Actor::start(), Actor::start());
    rig.clear();
    let address: u64 = target.does("b=ctypes.create_string_buffer(4096); say(ctypes.addressof(b))").parse().expect("address");
    let pid = target.pid();
    let vectors = "def vm(number,length):\n o=ctypes.create_string_buffer(4096)\n l=(ctypes.c_uint64*2)(ctypes.addressof(o),length); r=(ctypes.c_uint64*2)(ADDRESS,length)\n return call(number,PID,ctypes.addressof(l),1,ctypes.addressof(r),1,0)\n";
    let vectors = vectors.replace("ADDRESS", &address.to_string()).replace("PID", &pid.to_string());
    assert_eq!(actor.does(&format!("{vectors}say(vm(310,100))")), "100");
    let (record, told) = first(&mut rig, ActionOp::ReadMemory, actor.pid());
    same_process(&record.task, actor.pid());
    same_process(told.target.as_ref().expect("a target"), pid);
    assert_eq!((told.call, told.result, told.count, told.values[0], told.values[1]), (310, 100, 1, address, 100));
    assert_eq!(actor.does("[vm(311,64) for _ in range(11)]; time.sleep(1.1); say(vm(311,64))"), "64");
    let is_write = |record: &Record| action(record, ActionOp::WriteMemory, actor.child.id());
    let records = rig.until(|records| records.iter().filter_map(is_write).count() == 2);
    let writes: Vec<Action> = records.iter().filter_map(is_write).map(|(_, action)| action).collect();
    assert_eq!(
        [(writes[0].count, writes[0].values[1]), (writes[1].count, writes[1].values[1])],
        [(1, 64), (11, 11 * 64)],
        "bytes are never lost, records are few"
    );
    assert_eq!((writes[1].call, writes[1].values[0]), (311, address));
    let held = rig.sensor().counters().expect("counters").errors.into_iter().find(|(name, _)| name == "action_repeat").expect("counted").1;
    assert!(held >= 10);
    // A process that reads itself makes no record; one that is not there is no access, and counted.
    assert_eq!(target.does(&format!("{}say(vm(310,8))", vectors)), "8");
    let nobody = vectors.replace(&format!("(number,{pid},"), "(number,4194303,").replace("def vm", "def no");
    assert_eq!(actor.does(&format!("{nobody}say(no(310,8))")), "-1");
    actor.end();
    let end = Instant::now() + Duration::from_millis(200);
    let mut records = Vec::new();
    while Instant::now() < end {
        rig.sensor().drain(&mut |record| records.push(record), 1 << 20);
    }
    assert_eq!(records.iter().filter(|record| action(record, ActionOp::ReadMemory, pid).is_some()).count(), 0);
    target.end();
}

#[test]
fn a_number_is_looked_up_in_the_callers_own_pid_namespace() {
    let Some(mut rig) = rig("a_number_is_looked_up_in_the_callers_own_pid_namespace") else { return };
    let mut actor = Actor::of(Command::new("unshare").args(["--pid", "--fork", "--kill-child", "python3"]));
    rig.clear();
    let inner: u32 = actor.does("pid=os.fork()\nif pid==0:\n time.sleep(30); os._exit(0)\nsay(pid)").parse().expect("pid");
    assert!(inner < 100, "numbers start anew: {inner}");
    assert_eq!(actor.does("say(call(101,16,pid,0,0))"), "0");
    let (record, told) = rig.first(|record| match &record.body {
        Body::Action(action) if action.op == ActionOp::Ptrace && action.values[0] == 16 => Some((record.clone(), (**action).clone())),
        _ => None,
    });
    let target = told.target.expect("a target");
    assert_eq!(target.parent_pid, record.task.pid, "the child of the actor, by the host's numbers");
    assert_ne!(target.pid, inner);
    assert_eq!(stat_field(target.pid, 4), u64::from(record.task.pid));
    actor.end();
}

#[test]
fn a_descriptor_taken_from_another_process_is_told_with_its_file() {
    let Some(mut rig) = rig("a_descriptor_taken_from_another_process_is_told_with_its_file") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, b"weights").expect("file");
    let (mut target, mut actor) = (Actor::start(), Actor::start());
    let there: u64 = target.does(&format!("f=open('{}'); say(f.fileno())", path.display())).parse().expect("descriptor");
    rig.clear();
    let said = actor.does(&format!("p=os.pidfd_open({}); say(call(438,p,{there},0))", target.pid()));
    let (record, told) = first(&mut rig, ActionOp::TakeDescriptor, actor.pid());
    same_process(&record.task, actor.pid());
    same_process(told.target.as_ref().expect("a target"), target.pid());
    assert_eq!((told.call, told.count, told.values[0], told.values[2].to_string()), (438, 1, there, said.clone()));
    assert_eq!(told.result.to_string(), said);
    assert_eq!(told.texts[0], rig::path_bytes(&path));
    actor.end();
    target.end();
}

#[test]
fn opening_the_memory_of_another_process_is_told_by_whatever_way() {
    let Some(mut rig) = rig("opening_the_memory_of_another_process_is_told_by_whatever_way") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let (mut target, mut actor) = (Actor::start(), Actor::start());
    rig.clear();
    let pid = target.pid();
    std::os::unix::fs::symlink(format!("/proc/{pid}/environ"), folder.path().join("harmless")).expect("link");
    let opened = [
        (format!("/proc/{pid}/mem"), "os.O_RDWR", "mem", 3),
        (folder.path().join("harmless").display().to_string(), "os.O_RDONLY", "environ", 1),
        (format!("/proc/{pid}/task/{pid}/maps"), "os.O_RDONLY", "maps", 1),
        (format!("/proc/{pid}/smaps"), "os.O_RDONLY", "smaps", 1),
        (format!("/proc/{pid}/pagemap"), "os.O_RDONLY", "pagemap", 1),
    ];
    for (path, how, name, mode) in opened {
        assert_eq!(actor.does(&format!("os.close(os.open('{path}',{how})); say('done')")), "done");
        let (record, told) = first(&mut rig, ActionOp::ProcOpen, actor.pid());
        same_process(&record.task, actor.pid());
        same_process(told.target.as_ref().expect("a target"), pid);
        assert_eq!((told.texts[0].as_slice(), told.values[0], told.count), (name.as_bytes(), mode, 1));
    }
    // Its own, what everybody reads of everybody, and a file of that name elsewhere.
    std::fs::write(folder.path().join("mem"), b"").expect("file");
    let quiet = format!("[open(p).close() for p in ('/proc/self/maps','/proc/{pid}/stat','{}/mem')]; say('done')", folder.path().display());
    assert_eq!(target.does(&quiet), "done");
    assert_eq!(actor.does(&format!("os.close(os.open('/proc/{pid}/mem',os.O_RDONLY)); say('done')")), "done");
    let records = rig.until(|records| records.iter().any(|record| action(record, ActionOp::ProcOpen, actor.child.id()).is_some()));
    assert_eq!(records.iter().filter(|record| action(record, ActionOp::ProcOpen, pid).is_some()).count(), 0);
    actor.end();
    target.end();
}

#[test]
fn a_32_bit_call_changes_ids_and_is_told() {
    let test = "a_32_bit_call_changes_ids_and_is_told";
    let Some(mut rig) = rig(test) else { return };
    let mut actor = Actor::start();
    // push rbx; mov eax,208 (setresuid32); mov ebx,7; mov ecx,7; mov edx,0; int 0x80; pop rbx; ret
    let code = "c=mmap.mmap(-1,4096,prot=7); c.write(bytes.fromhex('53b8d0000000bb07000000b907000000ba00000000cd805bc3'))\n\
                a=ctypes.addressof(ctypes.c_char.from_buffer(c)); f=ctypes.CFUNCTYPE(ctypes.c_int)(a)\n\
                pid=os.fork()\nif pid==0:\n f(); os._exit(os.getuid())\n\
                say(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]),pid)";
    rig.clear();
    let said = actor.does(code);
    let Some(pid) = said.strip_prefix("7 ").and_then(|pid| pid.parse().ok()) else {
        return rig::skipped(test, &format!("this kernel takes no 32-bit calls ({said})"));
    };
    let (record, told) = first(&mut rig, ActionOp::SetIds, pid);
    assert_eq!((told.call, told.values[3], record.task.uid), (117, 7 << 32 | 7, 7), "told as the call that it is");
    actor.end();
}

#[test]
fn ids_and_capabilities_that_change_without_an_exec_are_told_before_and_after() {
    let Some(mut rig) = rig("ids_and_capabilities_that_change_without_an_exec_are_told_before_and_after") else { return };
    let mut actor = Actor::start();
    rig.clear();
    let own = u64::from_str_radix(&status(actor.pid(), "CapEff:"), 16).expect("hex");
    assert_eq!(actor.does("os.setresgid(7,8,9); say('done')"), "done");
    let (record, told) = first(&mut rig, ActionOp::SetIds, actor.pid());
    same_process(&record.task, actor.pid());
    assert_eq!((told.call, told.result, told.count), (119, 0, 1));
    if told.values[6] == 1 {
        assert_eq!(told.values[..3], [0, 0, own]);
    } else {
        assert_eq!(told.values[..3], told.values[3..6], "behind the dispatcher those before the first call are not known");
    }
    assert_eq!(told.values[3..6], [0, 8 << 32 | 7, own]);
    assert_eq!(actor.does("os.setresuid(1001,1002,0); say('done')"), "done");
    let (_, told) = first(&mut rig, ActionOp::SetIds, actor.pid());
    assert_eq!((told.call, &told.values[..6]), (117, [0, 8 << 32 | 7, own, 1002 << 32 | 1001, 8 << 32 | 7, 0].as_slice()), "capabilities go with root");
    // Back to root by the saved id: a gain without any exec.
    assert_eq!(actor.does("os.seteuid(0); say('done')"), "done");
    let (record, told) = first(&mut rig, ActionOp::SetIds, actor.pid());
    assert_eq!((told.values[0], told.values[3], told.values[5]), (1002 << 32 | 1001, 1001, own));
    assert_eq!((record.task.uid, record.task.euid), (1001, 0), "the record's own ids are those after it");
    assert_eq!(actor.does("os.seteuid(0); os.setresuid(1001,0,0); say('done')"), "done", "nothing changes");
    let caps = "h=(ctypes.c_uint32*2)(0x20080522,0); d=(ctypes.c_uint32*6)(1<<7,1<<7,0,0,0,0); say(call(126,ctypes.addressof(h),ctypes.addressof(d)))";
    assert_eq!(actor.does(caps), "0");
    let (_, told) = first(&mut rig, ActionOp::SetIds, actor.pid());
    assert_eq!((told.call, told.values[2], told.values[5]), (126, own, 1 << 7));
    actor.end();
}

fn status(pid: u32, label: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    text.lines().find_map(|line| line.strip_prefix(label)).expect("label").trim().to_owned()
}

fn inum(pid: u32, kind: &str) -> u64 {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace");
    link.to_str().expect("text").split(['[', ']']).nth(1).expect("inode").parse().expect("number")
}

#[test]
fn new_and_entered_namespaces_are_told() {
    let Some(mut rig) = rig("new_and_entered_namespaces_are_told") else { return };
    let (mut actor, mut other) = (Actor::start(), Actor::start());
    rig.clear();
    // CLONE_NEWNS | CLONE_NEWNET; CLONE_FILES alone is no namespace.
    assert_eq!(actor.does("call(272,0x400); say(call(272,0x40020000))"), "0");
    let (record, told) = first(&mut rig, ActionOp::Unshare, actor.pid());
    same_process(&record.task, actor.pid());
    let pid = actor.pid();
    assert_eq!((told.call, told.result, told.count), (272, 0, 1));
    assert_eq!(told.values[..5], [0x4002_0000, inum(pid, "mnt"), inum(pid, "pid_for_children"), inum(pid, "net"), inum(pid, "user")]);
    assert_ne!(told.values[3], inum(std::process::id(), "net"));
    assert_eq!(other.does(&format!("f=open('/proc/{pid}/ns/net'); say(call(308,f.fileno(),0x40000000))")), "0");
    let (_, told) = first(&mut rig, ActionOp::Setns, other.pid());
    assert_eq!((told.call, told.values[0], told.values[3]), (308, 0x4000_0000, inum(pid, "net")));
    actor.end();
    other.end();
}

#[test]
fn mounts_and_their_kin_are_told_in_the_callers_words() {
    let Some(mut rig) = rig("mounts_and_their_kin_are_told_in_the_callers_words") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    std::fs::create_dir_all(&a).expect("folder");
    std::fs::create_dir_all(&b).expect("folder");
    let (a, b) = (a.to_str().expect("text"), b.to_str().expect("text"));
    let mut actor = Actor::start();
    rig.clear();
    // A namespace of its own, nothing of which comes back to this host.
    assert_eq!(actor.does("call(272,0x20000); say(call(165,b'none',b'/',None,0x44000,None))"), "0");
    assert_eq!(actor.does(&format!("say(call(165,b'picket-test',b'{a}',b'tmpfs',6,None))")), "0");
    let (record, told) = rig.first(|record| action(record, ActionOp::Mount, actor.pid()).filter(|(_, action)| action.texts[0] == b"tmpfs"));
    same_process(&record.task, actor.pid());
    assert_eq!((told.call, told.result, told.count, told.values[0]), (165, 0, 1, 6));
    assert_eq!(told.texts, [b"tmpfs".to_vec(), b"picket-test".to_vec(), a.as_bytes().to_vec()]);
    assert_ne!(actor.does(&format!("t=call(428,-100,b'{a}',1); say(t)")), "-1");
    let (_, told) = first(&mut rig, ActionOp::OpenTree, actor.pid());
    assert_eq!((told.call, told.values[0], told.texts[0].as_slice()), (428, 1, a.as_bytes()));
    assert_eq!(actor.does(&format!("say(call(429,t,b'',-100,b'{b}',4))")), "0");
    let (_, told) = first(&mut rig, ActionOp::MoveMount, actor.pid());
    assert_eq!((told.call, told.values[0], told.texts[1].as_slice()), (429, 4, b.as_bytes()));
    assert_eq!(actor.does(&format!("r=(ctypes.c_uint64*4)(1,0,0,0); say(call(442,-100,b'{b}',0,ctypes.addressof(r),32))")), "0");
    let (_, told) = first(&mut rig, ActionOp::MountSetattr, actor.pid());
    assert_eq!((told.call, told.texts[0].as_slice()), (442, b.as_bytes()));
    assert_eq!(actor.does(&format!("say(call(166,b'{b}',2))")), "0");
    let (_, told) = first(&mut rig, ActionOp::Umount, actor.pid());
    assert_eq!((told.call, told.values[0], told.texts[0].as_slice()), (166, 2, b.as_bytes()));
    assert_eq!(actor.does(&format!("os.makedirs('{a}/old'); say(call(155,b'{a}',b'{a}/old'))")), "0");
    let (_, told) = first(&mut rig, ActionOp::PivotRoot, actor.pid());
    assert_eq!((told.call, told.texts[0].as_slice(), told.texts[1].as_slice()), (155, a.as_bytes(), format!("{a}/old").as_bytes()));
    assert_eq!(actor.does("say(call(161,b'/old'))"), "0");
    let (_, told) = first(&mut rig, ActionOp::Chroot, actor.pid());
    assert_eq!((told.call, told.texts[0].as_slice()), (161, b"/old".as_slice()));
    // A refused one changes nothing and is not told.
    assert_eq!(actor.does("say(call(166,b'/no such place',0))"), "-1");
    actor.end();
}

#[test]
fn a_file_in_memory_and_its_execution_are_told() {
    let Some(mut rig) = rig("a_file_in_memory_and_its_execution_are_told") else { return };
    let mut actor = Actor::start();
    rig.clear();
    let inode: u64 = actor.does("fd=os.memfd_create('payload'); say(os.fstat(fd).st_ino)").parse().expect("inode");
    let (record, told) = first(&mut rig, ActionOp::Memfd, actor.pid());
    same_process(&record.task, actor.pid());
    assert_eq!((told.call, told.count, told.values[0], told.values[1]), (319, 1, 1, inode));
    assert_eq!(told.texts[0], b"payload");
    let run = "os.write(fd,open('/usr/bin/true','rb').read())\npid=os.fork()\nif pid==0: os.execve(fd,['quiet'],{})\nelse: os.waitpid(pid,0); say(pid)";
    let pid: u32 = actor.does(run).parse().expect("pid");
    let record = rig.first(|record| (record.task.pid == pid).then(|| exec(record).map(|_| record.clone())).flatten());
    assert!(record.flags.contains(RecordFlags::EXE_MEMFD) && record.flags.contains(RecordFlags::EXE_BY_DESCRIPTOR), "{:?}", record.flags);
    assert!(!record.flags.contains(RecordFlags::EXE_DELETED));
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("gone");
    std::fs::copy("/usr/bin/true", &path).expect("copy");
    let run = "f=os.open('PATH',os.O_RDONLY); os.unlink('PATH')\npid=os.fork()\nif pid==0: os.execve(f,['quiet'],{})\nelse: os.waitpid(pid,0); say(pid)";
    let pid: u32 = actor.does(&run.replace("PATH", path.to_str().expect("text"))).parse().expect("pid");
    let record = rig.first(|record| (record.task.pid == pid).then(|| exec(record).map(|_| record.clone())).flatten());
    assert!(record.flags.contains(RecordFlags::EXE_DELETED) && record.flags.contains(RecordFlags::EXE_BY_DESCRIPTOR), "{:?}", record.flags);
    assert!(!record.flags.contains(RecordFlags::EXE_MEMFD));
    assert!(exec(&record).expect("exec").exe_path.ends_with(b"/gone"));
    let plain: u32 = actor.does("pid=os.fork()\nif pid==0: os.execv('/usr/bin/true',['true'])\nelse: os.waitpid(pid,0); say(pid)").parse().expect("pid");
    let record = rig.first(|record| (record.task.pid == plain).then(|| exec(record).map(|_| record.clone())).flatten());
    assert_eq!(record.flags, RecordFlags(0));
    actor.end();
}

#[test]
fn executable_memory_that_is_no_installed_program_is_told_once() {
    let Some(mut rig) = rig("executable_memory_that_is_no_installed_program_is_told_once") else { return };
    let mut actor = Actor::start();
    rig.clear();
    let map = "def m(fd,prot,flags): return call(9,0,8192,prot,flags,fd,0)\nx=m(-1,7,0x22); m(-1,7,0x22); say(x)";
    let address: u64 = actor.does(map).parse().expect("address");
    let (record, told) = first(&mut rig, ActionOp::Map, actor.pid());
    same_process(&record.task, actor.pid());
    assert_eq!((told.call, told.count), (9, 1));
    assert_eq!(told.values, [address, 8192, 7, 0x22, 0, 0, 0, MapOrigin::Anonymous as u64]);
    assert_eq!(MapOrigin::from_value(told.values[7]), Some(MapOrigin::Anonymous));

    let place = std::env::temp_dir().join(format!("picket-map-{}.so", std::process::id()));
    std::fs::write(&place, vec![0x90_u8; 8192]).expect("file");
    let file = std::fs::metadata(&place).expect("metadata");
    assert!(actor.does(&format!("f=os.open('{}',0); say(m(f,5,2))", place.display())).parse::<u64>().is_ok());
    let (record, told) = first(&mut rig, ActionOp::Map, actor.pid());
    assert_eq!((told.call, told.values[2], told.values[3]), (9, 5, 2));
    assert_eq!(MapOrigin::from_value(told.values[7]), Some(MapOrigin::WritablePlace));
    assert_eq!(told.texts[0], rig::path_bytes(&place));
    assert_eq!((told.values[4], told.values[6]), (file.st_ino(), u64::from(file.st_mode()) << 32));
    assert_eq!(told.values[5], nix::sys::stat::major(file.st_dev()) << 20 | nix::sys::stat::minor(file.st_dev()));
    assert_eq!(record.flags, RecordFlags(0));

    assert!(actor.does("g=os.memfd_create('lib'); os.ftruncate(g,8192); say(m(g,5,2))").parse::<u64>().is_ok());
    let (record, told) = first(&mut rig, ActionOp::Map, actor.pid());
    assert_eq!(MapOrigin::from_value(told.values[7]), Some(MapOrigin::Memfd));
    assert!(told.texts[0].ends_with(b"memfd:lib") && record.flags.contains(RecordFlags::PATH_DETACHED), "{:?}", String::from_utf8_lossy(&told.texts[0]));

    std::fs::remove_file(&place).expect("removes");
    let mut second = Actor::start();
    assert!(second.does("def m(fd,prot,flags): return call(9,0,8192,prot,flags,fd,0)\nsay(m(os.open('/usr/bin/true',0),5,2))").parse::<u64>().is_ok());
    assert!(actor.does("say(m(f,5,2))").parse::<u64>().is_ok(), "the same file again, by the same process");
    let again = format!("f=os.open('/proc/{}/fd/'+'FD',0); say(m(f,5,2))", actor.pid()).replace("FD", &actor.does("say(f)"));
    assert!(second.does(&again).parse::<u64>().is_ok());
    let (_, told) = first(&mut rig, ActionOp::Map, second.pid());
    assert_eq!(MapOrigin::from_value(told.values[7]), Some(MapOrigin::Deleted), "an installed program made no record before");

    // mprotect of a private page of its own.
    let mut third = Actor::start();
    let page: u64 = third.does("p=call(9,0,4096,3,0x22,-1,0); call(10,p,4096,1); say(p if call(10,p,4096,5)==0 else 0)").parse().expect("address");
    if attached(&mut rig, "executable_protection", "executable_memory_that_is_no_installed_program_is_told_once (mprotect)") {
        let (_, told) = first(&mut rig, ActionOp::Map, third.pid());
        assert_eq!((told.call, told.values), (10, [page, 4096, 5, 0, 0, 0, 0, MapOrigin::Anonymous as u64]));
    }
    for actor in [actor, second, third] {
        actor.end();
    }
}

#[test]
fn a_bpf_program_of_another_process_is_told() {
    let Some(mut rig) = rig("a_bpf_program_of_another_process_is_told") else { return };
    let mut actor = Actor::start();
    rig.clear();
    // A socket filter: `r0 = 0; exit`.
    let script = "import struct
code=ctypes.create_string_buffer(struct.pack('<QQ',0xb7,0x95)); licence=ctypes.create_string_buffer(b'GPL')
attr=ctypes.create_string_buffer(struct.pack('<IIQQIIQII16s',1,2,ctypes.addressof(code),ctypes.addressof(licence),0,0,0,0,0,b'harmless')+bytes(72))
fd=call(321,5,ctypes.addressof(attr),128)
say(fd)";
    let fd: i64 = actor.does(script).parse().expect("descriptor");
    assert!(fd >= 0);
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", actor.pid())).expect("fdinfo");
    let of = |label: &str| info.lines().find_map(|line| line.strip_prefix(label)).expect("label").trim().to_owned();
    let (record, told) = first(&mut rig, ActionOp::BpfLoad, actor.pid());
    same_process(&record.task, actor.pid());
    assert_eq!((told.call, i64::from(told.result), told.count), (321, fd, 1));
    assert_eq!((told.values[0].to_string(), told.values[1]), (of("prog_id:"), 1));
    let tag: String = told.values[2].to_ne_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(tag, of("prog_tag:"));
    assert_eq!(told.texts[0], b"harmless");
    actor.end();
}

#[test]
fn a_step_of_the_clock_is_told_and_a_reading_is_not() {
    let Some(mut rig) = rig("a_step_of_the_clock_is_told_and_a_reading_is_not") else { return };
    let mut actor = Actor::start();
    rig.clear();
    // To the time it is: no other test is disturbed.
    assert!(!actor.does("x=ctypes.create_string_buffer(256); call(159,ctypes.addressof(x)); t=time.time(); time.clock_settime(0,t); say(int(t))").is_empty());
    let (record, told) = rig.first(|record| match &record.body {
        Body::Action(action) if record.task.pid == actor.pid() && matches!(action.op, ActionOp::ClockSet | ActionOp::ClockStep) => {
            Some((record.clone(), (**action).clone()))
        }
        _ => None,
    });
    same_process(&record.task, actor.pid());
    assert_eq!((told.op, told.call, told.result, told.count, told.values[0]), (ActionOp::ClockSet, 227, 0, 1, 0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(told.values[1]) < 30 && told.values[2] < 1_000_000_000, "{:?}", told.values);
    let step = "x=ctypes.create_string_buffer(struct.pack('<I',0x2100)+bytes(68)+struct.pack('<qq',0,7)+bytes(168)); say(call(305,0,ctypes.addressof(x)) >= 0)";
    assert_eq!(actor.does(&format!("import struct\n{step}")), "True");
    let (_, told) = first(&mut rig, ActionOp::ClockStep, actor.pid());
    assert_eq!((told.call, told.values[0], told.values[3]), (305, 0, 0x2100));
    assert!(now.abs_diff(told.values[1]) < 30 && told.values[2] < 1_000_000_000, "the time after it: {:?}", told.values);
    actor.end();
}

const RING: &str = "import struct
params=ctypes.create_string_buffer(120)
ring=call(425,64,ctypes.addressof(params))
p=struct.unpack('<30I',params.raw)
sq_entries,sq=p[0],p[10:20]
def area(size,offset): return mmap.mmap(ring,size,flags=mmap.MAP_SHARED,offset=offset)
rings=area(sq[6]+sq_entries*4,0); sqes=area(64*sq_entries,0x10000000)
def word(at): return struct.unpack_from('<I',rings,at)[0]
def nops(n):
    for _ in range(n):
        tail=word(sq[1]); i=tail&word(sq[2])
        sqes[64*i:64*i+64]=bytes(64); struct.pack_into('<I',rings,sq[6]+4*i,i); struct.pack_into('<I',rings,sq[1],(tail+1)&0xffffffff)
    done=call(426,ring,n,0,0,0,0)
    return done
";

#[test]
fn submissions_to_a_ring_are_summed_and_the_rest_is_told_at_the_end() {
    let test = "submissions_to_a_ring_are_summed_and_the_rest_is_told_at_the_end";
    let Some(mut rig) = rig(test) else { return };
    if !attached(&mut rig, "io_uring", test) {
        return;
    }
    let mut actor = Actor::start();
    rig.clear();
    let said = actor.does(&format!("{RING}say(ring,ctypes.get_errno())"));
    assert!(!said.starts_with('-'), "a ring: {said}");
    assert_eq!(actor.does("say(nops(1)+sum(nops(10) for _ in range(30)))"), "301");
    let pid = actor.pid();
    let (record, told) = first(&mut rig, ActionOp::RingSubmit, pid);
    same_process(&record.task, pid);
    assert_eq!((told.count, told.values[0], told.call), (1, 0, 0), "the first at once; IORING_OP_NOP is 0");
    actor.end();
    let (record, told) = first(&mut rig, ActionOp::RingSubmit, pid);
    assert_eq!((told.count, told.values[0], record.task.pid), (300, 0, pid), "the rest at the end, none lost");
}

#[test]
fn a_ring_that_falls_silent_is_told_while_its_process_lives() {
    let test = "a_ring_that_falls_silent_is_told_while_its_process_lives";
    let Some(mut rig) = rig(test) else { return };
    if !attached(&mut rig, "io_uring", test) || !attached(&mut rig, "io_uring_sweep", test) {
        return;
    }
    let mut actor = Actor::start();
    rig.clear();
    actor.does(&format!("{RING}say('set')"));
    assert_eq!(actor.does("say(nops(1)+nops(20))"), "21");
    let pid = actor.pid();
    assert_eq!(first(&mut rig, ActionOp::RingSubmit, pid).1.count, 1);
    assert_eq!(first(&mut rig, ActionOp::RingSubmit, pid).1.count, 20, "without another submission");
    actor.end();
}

#[test]
fn a_signal_to_the_agent_names_its_sender_and_others_are_left_out() {
    let test = "a_signal_to_the_agent_names_its_sender_and_others_are_left_out";
    let Some(alone) = rig(test) else { return };
    drop(alone);
    let mut agent = Actor::start();
    assert_eq!(agent.does("import signal; signal.signal(signal.SIGUSR1,lambda *_:None); say('set')"), "set");
    let config = SensorConfig { ring_bytes: 1 << 20, own_pids: vec![agent.pid()], extensions: Vec::new(), ..SensorConfig::default() };
    let mut sensor = match Sensor::load(&config) {
        Ok(sensor) => sensor,
        Err(error) => return rig::skipped(test, &error.to_string()),
    };
    let (mut actor, mut bystander) = (Actor::start(), Actor::start());
    let (target, other) = (agent.pid(), bystander.pid());
    assert_eq!(bystander.does("import signal; signal.signal(signal.SIGUSR1,lambda *_:None); say('set')"), "set");
    assert_eq!(agent.does("os.kill(os.getpid(),signal.SIGUSR1); say('own')"), "own");
    assert_eq!(actor.does(&format!("os.kill({other},10); os.kill({target},10); say('sent')")), "sent");
    let mut records = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while !records.iter().any(|record| action(record, ActionOp::Signal, actor.pid()).is_some()) {
        assert!(Instant::now() < end, "the signal is told");
        sensor.drain(&mut |record| records.push(record), 1 << 20);
        std::thread::sleep(Duration::from_millis(5));
    }
    let signals: Vec<(Record, Action)> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Action(action) if action.op == ActionOp::Signal => Some((record.clone(), (**action).clone())),
            _ => None,
        })
        .collect();
    assert_eq!(signals.len(), 1, "{signals:?}");
    let (record, told) = &signals[0];
    same_process(&record.task, actor.pid());
    same_process(told.target.as_ref().expect("a target"), target);
    assert_eq!((told.values[0], told.values[2], told.count, told.call), (10, 0, 1, 0));
    for actor in [actor, bystander, agent] {
        actor.end();
    }
}
