//! The kinds that are rarer than processes, files and flows, both ways.

use picket_event::{
    self as model, Activity,
    limits::{DETAIL_BYTES_MAX, DNS_ANSWERS_MAX, EVIDENCE_MAX, GPU_PROCESSES_MAX, LIST_MAX, NAME_BYTES_MAX},
};

use crate::v1::{self, event::Activity as Wire};

use super::{
    ConvertError,
    from_wire::{endpoint, known, name, narrow, path, text},
};

/// Of an activity that is none of the common five.
pub(super) fn to_wire(activity: Activity) -> Wire {
    match activity {
        Activity::Process(activity) => Wire::Process(activity.into()),
        Activity::File(activity) => Wire::File(activity.into()),
        Activity::Network(activity) => Wire::Network(activity.into()),
        Activity::Loss(loss) => Wire::Loss(loss.into()),
        Activity::Sensor(state) => Wire::Sensor(v1::SensorState { kind: u32::from(state.kind as u8), report: state.report.to_string() }),
        Activity::Memory(activity) => Wire::Memory((*activity).into()),
        Activity::Module(activity) => Wire::Module(v1::ModuleActivity {
            file: Some(activity.file.into()),
            base_address: activity.base_address,
            size_bytes: activity.size_bytes,
            permissions: activity.permissions.0,
        }),
        Activity::KernelExtension(activity) => Wire::KernelExtension((*activity).into()),
        Activity::Kernel(activity) => Wire::Kernel(v1::KernelActivity {
            operation: activity.operation,
            count: activity.count,
            detail: activity.detail,
            process: activity.process.map(Into::into),
        }),
        Activity::Dns(activity) => Wire::Dns((*activity).into()),
        Activity::Scan(activity) => Wire::Scan((*activity).into()),
        Activity::Finding(finding) => Wire::Finding((*finding).into()),
        Activity::Compliance(finding) => Wire::Compliance((*finding).into()),
        Activity::Gpu(state) => Wire::Gpu((*state).into()),
    }
}

/// Of an activity that is none of the common five.
pub(super) fn from_wire(activity: Wire) -> Result<Activity, ConvertError> {
    Ok(match activity {
        Wire::Process(activity) => Activity::Process(activity.try_into()?),
        Wire::File(activity) => Activity::File(activity.try_into()?),
        Wire::Network(activity) => Activity::Network(activity.try_into()?),
        Wire::Loss(loss) => Activity::Loss(loss.try_into()?),
        Wire::Sensor(state) => Activity::Sensor(state.try_into()?),
        Wire::Memory(activity) => Activity::Memory(Box::new(activity.try_into()?)),
        Wire::Module(activity) => Activity::Module(Box::new(model::ModuleActivity {
            file: activity.file.ok_or(ConvertError::Missing { field: "module.file" })?.try_into()?,
            base_address: activity.base_address,
            size_bytes: activity.size_bytes,
            permissions: model::Protection(activity.permissions),
        })),
        Wire::KernelExtension(activity) => Activity::KernelExtension(Box::new(activity.try_into()?)),
        Wire::Kernel(activity) => Activity::Kernel(Box::new(model::KernelActivity {
            operation: name(activity.operation, "kernel.operation")?,
            count: activity.count,
            detail: text(activity.detail, DETAIL_BYTES_MAX, "kernel.detail")?,
            process: activity.process.map(TryInto::try_into).transpose()?,
        })),
        Wire::Dns(activity) => Activity::Dns(Box::new(activity.try_into()?)),
        Wire::Scan(activity) => Activity::Scan(Box::new(activity.try_into()?)),
        Wire::Finding(finding) => Activity::Finding(Box::new(finding.try_into()?)),
        Wire::Compliance(finding) => Activity::Compliance(Box::new(finding.try_into()?)),
        Wire::Gpu(state) => Activity::Gpu(Box::new(state.try_into()?)),
    })
}

impl From<model::MemoryActivity> for v1::MemoryActivity {
    fn from(activity: model::MemoryActivity) -> Self {
        Self {
            activity_id: u32::from(activity.kind as u8),
            method: u32::from(activity.method as u8),
            process: activity.process.map(Into::into),
            base_address: activity.base_address,
            size_bytes: activity.size_bytes,
            permissions: activity.permissions.0,
        }
    }
}

impl TryFrom<v1::MemoryActivity> for model::MemoryActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::MemoryActivity) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: known(activity.activity_id, "memory.activity_id", model::MemoryActivityKind::from_id)?,
            method: known(activity.method, "memory.method", model::ProcessMethod::from_id)?,
            process: activity.process.map(TryInto::try_into).transpose()?,
            base_address: activity.base_address,
            size_bytes: activity.size_bytes,
            permissions: model::Protection(activity.permissions),
        })
    }
}

impl From<model::KernelExtensionActivity> for v1::KernelExtensionActivity {
    fn from(activity: model::KernelExtensionActivity) -> Self {
        Self {
            activity_id: u32::from(activity.kind as u8),
            extension: u32::from(activity.extension as u8),
            name: activity.name,
            path: activity.path,
            bpf_type: activity.bpf_type,
            bpf_tag: activity.bpf_tag,
            bpf_id: activity.bpf_id,
        }
    }
}

impl TryFrom<v1::KernelExtensionActivity> for model::KernelExtensionActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::KernelExtensionActivity) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: known(activity.activity_id, "kernel_extension.activity_id", model::KernelExtensionActivityKind::from_id)?,
            extension: known(activity.extension, "kernel_extension.extension", model::KernelExtensionKind::from_id)?,
            name: name(activity.name, "kernel_extension.name")?,
            path: path(activity.path, "kernel_extension.path")?,
            bpf_type: name(activity.bpf_type, "kernel_extension.bpf_type")?,
            bpf_tag: name(activity.bpf_tag, "kernel_extension.bpf_tag")?,
            bpf_id: activity.bpf_id,
        })
    }
}

impl From<model::DnsActivity> for v1::DnsActivity {
    fn from(activity: model::DnsActivity) -> Self {
        Self {
            activity_id: u32::from(activity.kind as u8),
            hostname: activity.hostname,
            query_type: activity.query_type.into(),
            query_class: activity.query_class.into(),
            packet_id: activity.packet_id.into(),
            answers: activity
                .answers
                .into_iter()
                .map(|answer| v1::DnsAnswer { rdata: answer.rdata, record_type: answer.record_type.into(), ttl_s: answer.ttl_s })
                .collect(),
            rcode: activity.rcode.map(Into::into),
            transport: u32::from(activity.transport as u8),
            src: Some(activity.src.into()),
            dst: Some(activity.dst.into()),
            flow_uid: activity.flow_uid,
            asked_ns: activity.asked.map(|asked| asked.0),
        }
    }
}

impl TryFrom<v1::DnsActivity> for model::DnsActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::DnsActivity) -> Result<Self, ConvertError> {
        let answer = |answer: v1::DnsAnswer| {
            Ok(model::DnsAnswer {
                rdata: text(answer.rdata, DETAIL_BYTES_MAX, "dns.answers.rdata")?,
                record_type: narrow(answer.record_type, "dns.answers.record_type")?,
                ttl_s: answer.ttl_s,
            })
        };
        Ok(Self {
            kind: known(activity.activity_id, "dns.activity_id", model::DnsActivityKind::from_id)?,
            hostname: name(activity.hostname, "dns.hostname")?,
            query_type: narrow(activity.query_type, "dns.query_type")?,
            query_class: narrow(activity.query_class, "dns.query_class")?,
            packet_id: narrow(activity.packet_id, "dns.packet_id")?,
            answers: few(activity.answers, DNS_ANSWERS_MAX, "dns.answers")?.into_iter().map(answer).collect::<Result<_, ConvertError>>()?,
            rcode: activity.rcode.map(|code| narrow(code, "dns.rcode")).transpose()?,
            transport: known(activity.transport, "dns.transport", model::Transport::from_number)?,
            src: endpoint(activity.src, "dns.src")?,
            dst: endpoint(activity.dst, "dns.dst")?,
            flow_uid: activity.flow_uid,
            asked: activity.asked_ns.map(model::Timestamp),
        })
    }
}

impl From<model::ScanActivity> for v1::ScanActivity {
    fn from(activity: model::ScanActivity) -> Self {
        Self {
            activity_id: u32::from(activity.kind as u8),
            scan_uid: activity.scan_uid,
            name: activity.name,
            trigger: u32::from(activity.trigger as u8),
            command_uid: activity.command_uid,
            policy_name: activity.policy_name,
            policy_version: activity.policy_version,
            since_ns: activity.since.0,
            until_ns: activity.until.map(|until| until.0),
            files: activity.counts.files,
            bytes: activity.counts.bytes,
            detections: activity.counts.detections,
            skipped: activity.counts.skipped,
            trusted: activity.counts.trusted,
            detail: activity.detail,
        }
    }
}

impl TryFrom<v1::ScanActivity> for model::ScanActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::ScanActivity) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: known(activity.activity_id, "scan.activity_id", model::ScanActivityKind::from_id)?,
            scan_uid: name(activity.scan_uid, "scan.scan_uid")?,
            name: name(activity.name, "scan.name")?,
            trigger: known(activity.trigger, "scan.trigger", model::ScanTrigger::from_id)?,
            command_uid: name(activity.command_uid, "scan.command_uid")?,
            policy_name: name(activity.policy_name, "scan.policy_name")?,
            policy_version: name(activity.policy_version, "scan.policy_version")?,
            since: model::Timestamp(activity.since_ns),
            until: activity.until_ns.map(model::Timestamp),
            counts: model::ScanCounts {
                files: activity.files,
                bytes: activity.bytes,
                detections: activity.detections,
                skipped: activity.skipped,
                trusted: activity.trusted,
            },
            detail: text(activity.detail, DETAIL_BYTES_MAX, "scan.detail")?,
        })
    }
}

impl From<model::DetectionFinding> for v1::DetectionFinding {
    fn from(finding: model::DetectionFinding) -> Self {
        let evidence = |one: model::Evidence| v1::Evidence { member: one.member, offset: one.offset, key: one.key, text: one.text };
        Self {
            activity_id: u32::from(finding.kind as u8),
            uid: finding.uid,
            rule_uid: finding.rule.uid,
            rule_version: finding.rule.version,
            rule_title: finding.rule.title,
            rule_kind: u32::from(finding.rule.kind as u8),
            title: finding.title,
            explanation: finding.explanation,
            verdict: u32::from(finding.verdict as u8),
            confidence: u32::from(finding.confidence as u8),
            incomplete: match finding.completeness {
                model::Completeness::Full => None,
                model::Completeness::Partial(reasons) => Some(v1::Incomplete { reasons }),
            },
            file: finding.file.map(Into::into),
            process: finding.process.map(Into::into),
            evidence: finding.evidence.into_iter().map(evidence).collect(),
            techniques: finding.techniques,
            related_events: finding.related_events,
            scan_uid: finding.scan_uid,
        }
    }
}

impl TryFrom<v1::DetectionFinding> for model::DetectionFinding {
    type Error = ConvertError;

    fn try_from(finding: v1::DetectionFinding) -> Result<Self, ConvertError> {
        let evidence = |one: v1::Evidence| {
            Ok(model::Evidence {
                member: text(one.member, DETAIL_BYTES_MAX, "finding.evidence.member")?,
                offset: one.offset,
                key: name(one.key, "finding.evidence.key")?,
                text: text(one.text, DETAIL_BYTES_MAX, "finding.evidence.text")?,
            })
        };
        Ok(Self {
            kind: known(finding.activity_id, "finding.activity_id", model::FindingActivityKind::from_id)?,
            uid: name(finding.uid, "finding.uid")?,
            rule: model::FindingRule {
                uid: name(finding.rule_uid, "finding.rule_uid")?,
                version: name(finding.rule_version, "finding.rule_version")?,
                title: name(finding.rule_title, "finding.rule_title")?,
                kind: known(finding.rule_kind, "finding.rule_kind", model::RuleKind::from_id)?,
            },
            title: name(finding.title, "finding.title")?,
            explanation: text(finding.explanation, DETAIL_BYTES_MAX, "finding.explanation")?,
            verdict: known(finding.verdict, "finding.verdict", model::Verdict::from_id)?,
            confidence: known(finding.confidence, "finding.confidence", model::Confidence::from_id)?,
            completeness: match finding.incomplete {
                None => model::Completeness::Full,
                Some(incomplete) => model::Completeness::Partial(names(incomplete.reasons, "finding.incomplete.reasons")?),
            },
            file: finding.file.map(TryInto::try_into).transpose()?,
            process: finding.process.map(TryInto::try_into).transpose()?,
            evidence: few(finding.evidence, EVIDENCE_MAX, "finding.evidence")?.into_iter().map(evidence).collect::<Result<_, ConvertError>>()?,
            techniques: names(finding.techniques, "finding.techniques")?,
            related_events: names(finding.related_events, "finding.related_events")?,
            scan_uid: name(finding.scan_uid, "finding.scan_uid")?,
        })
    }
}

impl From<model::ComplianceFinding> for v1::ComplianceFinding {
    fn from(finding: model::ComplianceFinding) -> Self {
        Self {
            activity_id: u32::from(finding.kind as u8),
            uid: finding.uid,
            check_uid: finding.check_uid,
            check_version: finding.check_version,
            title: finding.title,
            explanation: finding.explanation,
            status: u32::from(finding.status as u8),
            evidence: finding.evidence,
            remediation: finding.remediation,
            standards: finding.standards,
        }
    }
}

impl TryFrom<v1::ComplianceFinding> for model::ComplianceFinding {
    type Error = ConvertError;

    fn try_from(finding: v1::ComplianceFinding) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: known(finding.activity_id, "compliance.activity_id", model::FindingActivityKind::from_id)?,
            uid: name(finding.uid, "compliance.uid")?,
            check_uid: name(finding.check_uid, "compliance.check_uid")?,
            check_version: name(finding.check_version, "compliance.check_version")?,
            title: name(finding.title, "compliance.title")?,
            explanation: text(finding.explanation, DETAIL_BYTES_MAX, "compliance.explanation")?,
            status: known(finding.status, "compliance.status", model::ComplianceStatus::from_id)?,
            evidence: texts(finding.evidence, EVIDENCE_MAX, DETAIL_BYTES_MAX, "compliance.evidence")?,
            remediation: text(finding.remediation, DETAIL_BYTES_MAX, "compliance.remediation")?,
            standards: names(finding.standards, "compliance.standards")?,
        })
    }
}

impl From<model::GpuState> for v1::GpuState {
    fn from(state: model::GpuState) -> Self {
        let process = |one: model::GpuProcess| v1::GpuProcess { pid: one.pid, uid: one.uid, memory_bytes: one.memory_bytes };
        Self {
            uuid: state.uuid,
            name: state.name,
            index: state.index,
            driver_version: state.driver_version,
            memory_used_bytes: state.memory_used_bytes,
            memory_total_bytes: state.memory_total_bytes,
            utilization_percent: state.utilization_percent.map(Into::into),
            mig_enabled: state.mig_enabled,
            mig_devices: state.mig_devices,
            processes: state.processes.into_iter().map(process).collect(),
        }
    }
}

impl TryFrom<v1::GpuState> for model::GpuState {
    type Error = ConvertError;

    fn try_from(state: v1::GpuState) -> Result<Self, ConvertError> {
        let process = |one: v1::GpuProcess| Ok(model::GpuProcess { pid: one.pid, uid: name(one.uid, "gpu.processes.uid")?, memory_bytes: one.memory_bytes });
        Ok(Self {
            uuid: name(state.uuid, "gpu.uuid")?,
            name: name(state.name, "gpu.name")?,
            index: state.index,
            driver_version: name(state.driver_version, "gpu.driver_version")?,
            memory_used_bytes: state.memory_used_bytes,
            memory_total_bytes: state.memory_total_bytes,
            utilization_percent: state.utilization_percent.map(|percent| narrow(percent, "gpu.utilization_percent")).transpose()?,
            mig_enabled: state.mig_enabled,
            mig_devices: names(state.mig_devices, "gpu.mig_devices")?,
            processes: few(state.processes, GPU_PROCESSES_MAX, "gpu.processes")?.into_iter().map(process).collect::<Result<_, ConvertError>>()?,
        })
    }
}

fn few<T>(list: Vec<T>, max: usize, field: &'static str) -> Result<Vec<T>, ConvertError> {
    let length = list.len();
    if length > max { Err(ConvertError::TooLong { field, length, max }) } else { Ok(list) }
}

fn texts(list: Vec<String>, count_max: usize, bytes_max: usize, field: &'static str) -> Result<Vec<String>, ConvertError> {
    few(list, count_max, field)?.into_iter().map(|value| text(value, bytes_max, field)).collect()
}

fn names(list: Vec<String>, field: &'static str) -> Result<Vec<String>, ConvertError> {
    texts(list, LIST_MAX, NAME_BYTES_MAX, field)
}
