//! What a process does to others, to itself and to the kernel.

use picket_ebpf::record::{Action, ActionOp, MapOrigin, Task};
use picket_event::{
    Activity, Actor, EventFlags, File, KernelActivity, KernelExtensionActivity, KernelExtensionActivityKind, KernelExtensionKind, MemoryActivity,
    MemoryActivityKind, ModuleActivity, Process, ProcessActivity, ProcessActivityKind, ProcessMethod, Protection, User,
};

use super::{Pipeline, action_names as names, key_of, text};

/// Requests of ptrace: `PTRACE_TRACEME`, the two that read memory, the two that attach. The other recorded ones change the tracee.
const TRACEME: u64 = 0;
const PEEKS: [u64; 2] = [1, 2];
const ATTACHES: [u64; 2] = [16, 0x4206];

impl Pipeline {
    pub(super) fn action(&mut self, task: &Task, action: &Action, flags: &mut EventFlags) -> (Option<Actor>, Activity) {
        let known = self.table.get(key_of(task)).map(|entry| (entry.user.clone(), entry.capabilities));
        let actor = self.actor(task, flags);
        let [first, second, third, ..] = action.values;
        let target = action.target.as_ref().and_then(|target| self.actor(target, &mut EventFlags::default())).map(|target| target.process);
        let activity = match action.op {
            ActionOp::Ptrace if action.result >= 0 => return traced(first, third, actor, target),
            ActionOp::ReadMemory if action.result >= 0 => memory(MemoryActivityKind::Read, ProcessMethod::ProcessVmRead, target, first, second),
            ActionOp::WriteMemory if action.result >= 0 => memory(MemoryActivityKind::Write, ProcessMethod::ProcessVmWrite, target, first, second),
            ActionOp::TakeDescriptor if action.result >= 0 => reached(ProcessActivityKind::Open, ProcessMethod::Pidfd, target),
            ActionOp::ProcOpen => reached(ProcessActivityKind::Open, names::proc_method(&text::text(&action.texts[0])), target),
            ActionOp::SetIds => return self.set_ids(task, action, actor, known),
            ActionOp::Map => self.mapped(action),
            ActionOp::ModuleLoad | ActionOp::ModuleUnload | ActionOp::BpfLoad => Activity::KernelExtension(Box::new(extension(action))),
            _ => Activity::Kernel(Box::new(KernelActivity {
                operation: names::operation(action).to_owned(),
                count: u64::from(action.count),
                detail: names::detail(action),
                process: target,
            })),
        };
        (actor, activity)
    }

    /// The process as it is now; its actor is who it was before: what the kernel tells, else what was known here.
    fn set_ids(&mut self, task: &Task, action: &Action, actor: Option<Actor>, known: Option<(User, u64)>) -> (Option<Actor>, Activity) {
        let [users, groups, capabilities, _, _, after, told, _] = action.values;
        let method = names::ids_method(action.call);
        let Some(mut before) = actor else {
            return (None, reached(ProcessActivityKind::SetUserId, method, None));
        };
        if let Some(entry) = self.table.get(key_of(task)) {
            entry.capabilities = after;
        }
        let mut process = before.process.clone();
        process.capabilities = after;
        if told == 1 {
            let uid = low(users);
            before.process.user = User { uid, euid: high(users), gid: low(groups), auid: process.user.auid, name: self.users.name(uid) };
            before.process.capabilities = capabilities;
        } else if let Some((user, capabilities)) = known {
            before.process.user = user;
            before.process.capabilities = capabilities;
        }
        (Some(before), reached(ProcessActivityKind::SetUserId, method, Some(process)))
    }

    fn mapped(&mut self, action: &Action) -> Activity {
        let [base_address, size_bytes, protection, _, inode, device, owner, origin] = action.values;
        let permissions = Protection(low(protection));
        let method = if action.call == names::NR_MMAP { ProcessMethod::Mmap } else { ProcessMethod::Mprotect };
        if MapOrigin::from_value(origin) == Some(MapOrigin::Anonymous) {
            return Activity::Memory(Box::new(MemoryActivity { kind: MemoryActivityKind::Map, method, process: None, base_address, size_bytes, permissions }));
        }
        let path = text::text(&action.texts[0]);
        let file = File {
            asset_class: self.asset_class(0, &path),
            path,
            inode,
            device: low(device),
            size_bytes: None,
            mode: u16::try_from(owner >> 32).unwrap_or_default(),
            owner_uid: low(owner),
            sha256: None,
        };
        Activity::Module(Box::new(ModuleActivity { file, base_address, size_bytes, permissions }))
    }
}

fn low(pair: u64) -> u32 {
    u32::try_from(pair & 0xffff_ffff).unwrap_or_default()
}

fn high(pair: u64) -> u32 {
    low(pair >> 32)
}

fn reached(kind: ProcessActivityKind, method: ProcessMethod, process: Option<Process>) -> Activity {
    Activity::Process(ProcessActivity { kind, process: process.unwrap_or_default(), method })
}

fn memory(kind: MemoryActivityKind, method: ProcessMethod, process: Option<Process>, base_address: u64, size_bytes: u64) -> Activity {
    Activity::Memory(Box::new(MemoryActivity { kind, method, process, base_address, size_bytes, permissions: Protection::default() }))
}

/// Who asks to be traced is the one reached for, by its parent.
fn traced(request: u64, address: u64, actor: Option<Actor>, target: Option<Process>) -> (Option<Actor>, Activity) {
    let method = ProcessMethod::Ptrace;
    if request == TRACEME {
        let tracee = actor.map(|actor| actor.process);
        return (target.map(|process| Actor { process }), reached(ProcessActivityKind::Open, method, tracee));
    }
    if PEEKS.contains(&request) {
        return (actor, memory(MemoryActivityKind::Read, method, target, address, 0));
    }
    let kind = if ATTACHES.contains(&request) { ProcessActivityKind::Open } else { ProcessActivityKind::Inject };
    (actor, reached(kind, method, target))
}

fn extension(action: &Action) -> KernelExtensionActivity {
    let [id, kind, tag, ..] = action.values;
    let bpf = action.op == ActionOp::BpfLoad;
    KernelExtensionActivity {
        kind: if action.op == ActionOp::ModuleUnload { KernelExtensionActivityKind::Unload } else { KernelExtensionActivityKind::Load },
        extension: if bpf { KernelExtensionKind::BpfProgram } else { KernelExtensionKind::Module },
        name: text::text(&action.texts[0]),
        path: String::new(),
        bpf_type: if bpf { names::bpf_type(kind) } else { String::new() },
        bpf_tag: if bpf { tag.to_ne_bytes().iter().map(|byte| format!("{byte:02x}")).collect() } else { String::new() },
        bpf_id: low(id),
    }
}
