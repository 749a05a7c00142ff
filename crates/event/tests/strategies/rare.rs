//! Kinds that are rarer than processes, files and flows.

use picket_event::{
    Activity, Completeness, ComplianceFinding, ComplianceStatus, Confidence, DetectionFinding, DnsActivity, DnsActivityKind, DnsAnswer, Evidence,
    FindingActivityKind, FindingRule, GpuProcess, GpuState, KernelActivity, KernelExtensionActivity, KernelExtensionActivityKind, KernelExtensionKind,
    MemoryActivity, MemoryActivityKind, ModuleActivity, ProcessMethod, Protection, RuleKind, ScanActivity, ScanActivityKind, ScanCounts, ScanTrigger,
    Transport, Verdict,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{endpoint, file, process, text, time};

pub(super) fn activity() -> impl Strategy<Value = Activity> {
    // On the heap: together they are larger than a test's stack.
    prop_oneof![
        memory().boxed(),
        module().boxed(),
        kernel_extension().boxed(),
        kernel().boxed(),
        dns().boxed(),
        scan().boxed(),
        finding().boxed(),
        compliance().boxed(),
        gpu().boxed()
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..3)
}

fn memory() -> impl Strategy<Value = Activity> {
    let what = (select(MemoryActivityKind::ALL), select(ProcessMethod::ALL), any::<[u64; 2]>(), any::<u32>());
    (what, option::of(process())).prop_map(|((kind, method, [base_address, size_bytes], permissions), process)| {
        Activity::Memory(Box::new(MemoryActivity { kind, method, process, base_address, size_bytes, permissions: Protection(permissions) }))
    })
}

fn module() -> impl Strategy<Value = Activity> {
    (file(), any::<[u64; 2]>(), any::<u32>()).prop_map(|(file, [base_address, size_bytes], permissions)| {
        Activity::Module(Box::new(ModuleActivity { file, base_address, size_bytes, permissions: Protection(permissions) }))
    })
}

fn kernel_extension() -> impl Strategy<Value = Activity> {
    (select(KernelExtensionActivityKind::ALL), select(KernelExtensionKind::ALL), text(), text(), text(), text(), any::<u32>()).prop_map(
        |(kind, extension, name, path, bpf_type, bpf_tag, bpf_id)| {
            Activity::KernelExtension(Box::new(KernelExtensionActivity { kind, extension, name, path, bpf_type, bpf_tag, bpf_id }))
        },
    )
}

fn kernel() -> impl Strategy<Value = Activity> {
    (text(), any::<u64>(), text(), option::of(process()))
        .prop_map(|(operation, count, detail, process)| Activity::Kernel(Box::new(KernelActivity { operation, count, detail, process })))
}

fn dns() -> impl Strategy<Value = Activity> {
    let answer = (text(), any::<u16>(), any::<u32>()).prop_map(|(rdata, record_type, ttl_s)| DnsAnswer { rdata, record_type, ttl_s });
    let question = (select(DnsActivityKind::ALL), text(), any::<[u16; 3]>(), option::of(any::<u16>()), vec(answer, 0..3));
    let flow = (select(vec![Transport::Tcp, Transport::Udp]), endpoint(), endpoint(), any::<u64>(), option::of(time()));
    (question, flow).prop_map(|((kind, hostname, [query_type, query_class, packet_id], rcode, answers), (transport, src, dst, flow_uid, asked))| {
        Activity::Dns(Box::new(DnsActivity { kind, hostname, query_type, query_class, packet_id, answers, rcode, transport, src, dst, flow_uid, asked }))
    })
}

fn scan() -> impl Strategy<Value = Activity> {
    let texts = (text(), text(), text(), text(), text(), text());
    let kind = (select(ScanActivityKind::ALL), select(ScanTrigger::ALL), time(), option::of(time()), any::<[u64; 5]>());
    (texts, kind).prop_map(|(texts, (kind, trigger, since, until, [files, bytes, detections, skipped, trusted]))| {
        let (scan_uid, name, command_uid, policy_name, policy_version, detail) = texts;
        let counts = ScanCounts { files, bytes, detections, skipped, trusted };
        Activity::Scan(Box::new(ScanActivity { kind, scan_uid, name, trigger, command_uid, policy_name, policy_version, since, until, counts, detail }))
    })
}

fn finding() -> impl Strategy<Value = Activity> {
    let evidence = (text(), option::of(any::<u64>()), text(), text()).prop_map(|(member, offset, key, text)| Evidence { member, offset, key, text });
    let rule = (text(), text(), text(), select(RuleKind::ALL)).prop_map(|(uid, version, title, kind)| FindingRule { uid, version, title, kind });
    let completeness = prop_oneof![Just(Completeness::Full), texts().prop_map(Completeness::Partial)];
    let judgement = (select(FindingActivityKind::ALL), select(Verdict::ALL), select(Confidence::ALL), completeness, rule);
    let lists = (vec(evidence, 0..3), texts(), texts());
    ((text(), text(), text(), text()), judgement, lists, option::of(file()), option::of(process())).prop_map(|(texts, judgement, lists, file, process)| {
        let (uid, title, explanation, scan_uid) = texts;
        let (kind, verdict, confidence, completeness, rule) = judgement;
        let (evidence, techniques, related_events) = lists;
        Activity::Finding(Box::new(DetectionFinding {
            kind,
            uid,
            rule,
            title,
            explanation,
            verdict,
            confidence,
            completeness,
            file,
            process,
            evidence,
            techniques,
            related_events,
            scan_uid,
        }))
    })
}

fn compliance() -> impl Strategy<Value = Activity> {
    let texts_of = (text(), text(), text(), text(), text(), text());
    (select(FindingActivityKind::ALL), select(ComplianceStatus::ALL), texts_of, texts(), texts()).prop_map(
        |(kind, status, (uid, check_uid, check_version, title, explanation, remediation), evidence, standards)| {
            Activity::Compliance(Box::new(ComplianceFinding {
                kind,
                uid,
                check_uid,
                check_version,
                title,
                explanation,
                status,
                evidence,
                remediation,
                standards,
            }))
        },
    )
}

fn gpu() -> impl Strategy<Value = Activity> {
    let process = (any::<u32>(), text(), option::of(any::<u64>())).prop_map(|(pid, uid, memory_bytes)| GpuProcess { pid, uid, memory_bytes });
    let texts_of = (text(), text(), text());
    let state = (any::<u32>(), any::<[u64; 2]>(), option::of(any::<u8>()), option::of(any::<bool>()));
    (texts_of, state, texts(), vec(process, 0..3)).prop_map(|((uuid, name, driver_version), state, mig_devices, processes)| {
        let (index, [memory_used_bytes, memory_total_bytes], utilization_percent, mig_enabled) = state;
        Activity::Gpu(Box::new(GpuState {
            uuid,
            name,
            index,
            driver_version,
            memory_used_bytes,
            memory_total_bytes,
            utilization_percent,
            mig_enabled,
            mig_devices,
            processes,
        }))
    })
}
