//! The kinds that are rarer than processes, files and flows.

use picket_event::{
    Activity, Actor, Completeness, ComplianceFinding, ComplianceStatus, Confidence, DetectionFinding, DnsActivity, DnsActivityKind, DnsAnswer, Endpoint,
    Evidence, File, FindingActivityKind, FindingRule, GpuProcess, GpuState, KernelActivity, KernelExtensionActivity, KernelExtensionActivityKind,
    KernelExtensionKind, MemoryActivity, MemoryActivityKind, ModuleActivity, Process, ProcessMethod, Protection, RuleKind, ScanActivity, ScanActivityKind,
    ScanCounts, ScanTrigger, Sha256, Timestamp, Transport, Verdict,
};

use super::{START, process};

type Named = (&'static str, Option<Actor>, Activity);

pub(super) fn push(all: &mut Vec<Named>, full: bool) {
    let who = || full.then(|| Actor { process: process(4021) });
    for (name, kind, method) in [
        ("Memory Activity: Read", MemoryActivityKind::Read, ProcessMethod::ProcessVmRead),
        ("Memory Activity: Write", MemoryActivityKind::Write, ProcessMethod::ProcessVmWrite),
        ("Memory Activity: Map View", MemoryActivityKind::Map, ProcessMethod::Mprotect),
    ] {
        all.push((name, who(), memory(kind, method, full)));
    }
    all.push(("Module Activity: Load", who(), module(full)));
    all.push(("Kernel Extension Activity: Load", who(), extension(KernelExtensionKind::BpfProgram, KernelExtensionActivityKind::Load, full)));
    all.push(("Kernel Extension Activity: Unload", who(), extension(KernelExtensionKind::Module, KernelExtensionActivityKind::Unload, full)));
    all.push(("Kernel Activity: Invoke", who(), kernel(full)));
    all.push(("DNS Activity: Query", who(), dns(DnsActivityKind::Query, full)));
    all.push(("DNS Activity: Response", who(), dns(DnsActivityKind::Response, full)));
    all.push(("Scan Activity: Started", None, scan(ScanActivityKind::Started, full)));
    all.push(("Scan Activity: Completed", None, scan(ScanActivityKind::Completed, full)));
    all.push(("Scan Activity: Error", None, scan(ScanActivityKind::Error, full)));
    all.push(("Detection Finding: Create", who(), finding(full)));
    all.push(("Compliance Finding: Create", None, compliance(full)));
    all.push(("Device Inventory Info: Collect (GPU)", None, gpu(full)));
}

fn memory(kind: MemoryActivityKind, method: ProcessMethod, full: bool) -> Activity {
    Activity::Memory(Box::new(MemoryActivity {
        kind,
        method,
        process: full.then(|| process(4100)),
        base_address: if full { 0x7f00_dead_0000 } else { 0 },
        size_bytes: if full { 4096 } else { 0 },
        permissions: if full { Protection(Protection::READ.0 | Protection::EXEC.0) } else { Protection::default() },
    }))
}

fn module(full: bool) -> Activity {
    let file = File { path: String::from("/dev/shm/libx.so"), ..File::default() };
    let file = if full { File { inode: 77, device: 1 << 20, mode: 0o100_755, asset_class: String::from("code"), ..file } } else { file };
    let permissions = if full { Protection::EXEC } else { Protection::default() };
    Activity::Module(Box::new(ModuleActivity { file, base_address: u64::from(full) * 0x7f00, size_bytes: u64::from(full) * 8192, permissions }))
}

fn extension(extension: KernelExtensionKind, kind: KernelExtensionActivityKind, full: bool) -> Activity {
    let bpf = extension == KernelExtensionKind::BpfProgram && full;
    let text = |value: &str, shown: bool| String::from(if shown { value } else { "" });
    Activity::KernelExtension(Box::new(KernelExtensionActivity {
        kind,
        extension,
        name: String::from("hide_files"),
        path: text("/lib/modules/hide_files.ko", full && !bpf),
        bpf_type: text("kprobe", bpf),
        bpf_tag: text("3b185187f1855c4c", bpf),
        bpf_id: if bpf { 812 } else { 0 },
    }))
}

fn kernel(full: bool) -> Activity {
    let target = Process { container: None, ..process(4100) };
    Activity::Kernel(Box::new(KernelActivity {
        operation: String::from("io_uring"),
        count: if full { 1_204 } else { 1 },
        detail: String::from(if full { "IORING_OP_READ" } else { "" }),
        process: full.then_some(target),
    }))
}

fn dns(kind: DnsActivityKind, full: bool) -> Activity {
    let answers = vec![
        DnsAnswer { rdata: String::from("cdn.example.net"), record_type: 5, ttl_s: 300 },
        DnsAnswer { rdata: String::from("203.0.113.9"), record_type: 1, ttl_s: 60 },
    ];
    let response = kind == DnsActivityKind::Response;
    Activity::Dns(Box::new(DnsActivity {
        kind,
        hostname: String::from("weights.example.com"),
        query_type: 1,
        query_class: 1,
        packet_id: 0x1234,
        answers: if response && full { answers } else { Vec::new() },
        rcode: response.then_some(if full { 0 } else { 3 }),
        transport: Transport::Udp,
        src: Endpoint { ip: [10, 20, 0, 7].into(), port: 40_001 },
        dst: Endpoint { ip: [10, 20, 0, 2].into(), port: 53 },
        flow_uid: u64::from(full) * 88_002,
        asked: (response && full).then_some(Timestamp(1_760_000_000_000_000_000)),
    }))
}

fn scan(kind: ScanActivityKind, full: bool) -> Activity {
    let text = |value: &str| String::from(if full { value } else { "" });
    let counts = ScanCounts { files: 512, bytes: 13_400_000_000, detections: 1, skipped: 2, trusted: 400 };
    Activity::Scan(Box::new(ScanActivity {
        kind,
        scan_uid: String::from("0199a2c4"),
        name: text("/models"),
        trigger: if full { ScanTrigger::FileChanged } else { ScanTrigger::Manual },
        command_uid: text("0199a2c3"),
        policy_name: text("default"),
        policy_version: text("3"),
        since: Timestamp(START.0 - 2_000_000_000),
        until: (full && kind != ScanActivityKind::Started).then_some(START),
        counts: if full && kind != ScanActivityKind::Started { counts } else { ScanCounts::default() },
        detail: text(if kind == ScanActivityKind::Error { "the worker was ended by signal 31" } else { "" }),
    }))
}

fn finding(full: bool) -> Activity {
    let text = |value: &str| String::from(if full { value } else { "" });
    let file = File {
        path: String::from("/models/llama/pytorch_model.bin"),
        size_bytes: Some(4_096),
        inode: 9_000_002,
        asset_class: String::from("model"),
        sha256: Some(Sha256([0x5e; 32])),
        ..File::default()
    };
    let evidence =
        Evidence { member: String::from("archive/data.pkl"), offset: Some(117), key: String::from("REDUCE"), text: String::from("posix.system('id')") };
    Activity::Finding(Box::new(DetectionFinding {
        kind: FindingActivityKind::Create,
        uid: String::from("5e5e-pickle"),
        rule: FindingRule { uid: String::from("PICKET-PICKLE-EXEC"), version: text("4"), title: text("Pickle that executes"), kind: RuleKind::Scanner },
        title: String::from("A pickle calls posix.system"),
        explanation: text("Loading this file runs a shell command."),
        verdict: Verdict::Malicious,
        confidence: if full { Confidence::High } else { Confidence::Unknown },
        completeness: if full { Completeness::Partial(vec![String::from("member archive/data/7 is encrypted")]) } else { Completeness::Full },
        file: full.then_some(file),
        process: full.then(|| process(4100)),
        evidence: if full { vec![evidence, Evidence { text: String::from("second place"), ..Evidence::default() }] } else { Vec::new() },
        techniques: if full { ["T1195.002", "T1059", "TA0002", "AML.T0010", "AML.T0011.000"].map(String::from).to_vec() } else { Vec::new() },
        related_events: if full { vec![String::from("7d0f3c52:4700")] } else { Vec::new() },
        scan_uid: text("0199a2c4"),
    }))
}

fn compliance(full: bool) -> Activity {
    let text = |value: &str| String::from(if full { value } else { "" });
    let list = |value: &str| if full { vec![String::from(value)] } else { Vec::new() };
    Activity::Compliance(Box::new(ComplianceFinding {
        kind: FindingActivityKind::Create,
        uid: String::from("docker-socket"),
        check_uid: String::from("PICKET-POSTURE-DOCKER-SOCKET"),
        check_version: text("1"),
        title: String::from("The Docker socket is not open to all"),
        explanation: text("Anybody on this host can start privileged containers."),
        status: if full { ComplianceStatus::Fail } else { ComplianceStatus::Unknown },
        evidence: list("/run/docker.sock has mode 0666"),
        remediation: text("chmod 0660 /run/docker.sock"),
        standards: list("CIS Docker 3.15"),
    }))
}

fn gpu(full: bool) -> Activity {
    if !full {
        return Activity::Gpu(Box::default());
    }
    Activity::Gpu(Box::new(GpuState {
        uuid: String::from("GPU-5b1f7a52-8f4e-4c39-9a56-0d9f6c2f3a11"),
        name: String::from("NVIDIA H200"),
        index: 0,
        driver_version: String::from("570.124.06"),
        memory_used_bytes: 70 << 30,
        memory_total_bytes: 141 << 30,
        utilization_percent: Some(97),
        mig_enabled: Some(false),
        mig_devices: vec![String::from("MIG-0")],
        processes: vec![GpuProcess { pid: 4021, uid: String::from("4f1c2a9b-f0000000-4021-1"), memory_bytes: Some(70 << 30) }],
    }))
}
