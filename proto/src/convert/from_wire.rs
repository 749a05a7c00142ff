//! Wire to model: unknown numbers, over-long texts, broken addresses and reports are errors. Texts are moved, not copied.

use std::net::IpAddr;

use picket_event::{
    self as model,
    limits::{
        CMD_LINE_BYTES_MAX, DETAIL_BYTES_MAX, ENVIRONMENT_VALUE_BYTES_MAX, ENVIRONMENT_VARS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX,
        REPORT_BYTES_MAX,
    },
};

use crate::v1;

use super::ConvertError;

impl TryFrom<v1::Event> for model::Event {
    type Error = ConvertError;

    fn try_from(event: v1::Event) -> Result<Self, ConvertError> {
        Ok(Self {
            time: model::Timestamp(event.time_ns),
            severity: severity(event.severity)?,
            flags: model::EventFlags(event.flags),
            actor: event.actor.map(|process| Ok::<_, ConvertError>(model::Actor { process: process.try_into()? })).transpose()?,
            activity: match event.activity.ok_or(ConvertError::Missing { field: "activity" })? {
                v1::event::Activity::Process(activity) => model::Activity::Process(activity.try_into()?),
                v1::event::Activity::File(activity) => model::Activity::File(activity.try_into()?),
                v1::event::Activity::Network(activity) => model::Activity::Network(activity.try_into()?),
                v1::event::Activity::Loss(loss) => model::Activity::Loss(loss.try_into()?),
                v1::event::Activity::Sensor(state) => model::Activity::Sensor(state.try_into()?),
                rare => super::rare::from_wire(rare)?,
            },
        })
    }
}

fn severity(id: u32) -> Result<model::Severity, ConvertError> {
    match id {
        0 => Ok(model::Severity::Informational),
        1..=6 => Ok(model::Severity::from_id(id.cast_signed())),
        _ => Err(ConvertError::Unknown { field: "severity", value: id.into() }),
    }
}

impl TryFrom<v1::Process> for model::Process {
    type Error = ConvertError;

    fn try_from(process: v1::Process) -> Result<Self, ConvertError> {
        let length = process.environment.len();
        if length > ENVIRONMENT_VARS_MAX {
            return Err(ConvertError::TooLong { field: "process.environment", length, max: ENVIRONMENT_VARS_MAX });
        }
        Ok(Self {
            uid: uid(process.uid, "process.uid")?,
            pid: process.pid,
            tid: process.tid,
            name: name(process.name, "process.name")?,
            path: path(process.path, "process.path")?,
            exe_inode: process.exe_inode,
            exe_device: process.exe_device,
            exe_flags: model::ExeFlags(narrow(process.exe_flags, "process.exe_flags")?),
            cmd_line: text(process.cmd_line, CMD_LINE_BYTES_MAX, "process.cmd_line")?,
            working_directory: path(process.working_directory, "process.working_directory")?,
            user: process.user.map(TryInto::try_into).transpose()?.unwrap_or_default(),
            created_time: model::Timestamp(process.created_time_ns),
            capabilities: process.capabilities,
            namespaces: process.namespaces.map(Into::into).unwrap_or_default(),
            cgroup: path(process.cgroup, "process.cgroup")?,
            tty: name(process.tty, "process.tty")?,
            environment: process.environment.into_iter().map(variable).collect::<Result<_, _>>()?,
            exec_tree: uid(process.exec_tree, "process.exec_tree")?,
            role: model::ProcessRole::from_id(process.role).ok_or(ConvertError::Unknown { field: "process.role", value: process.role.into() })?,
            container: process.container.map(TryInto::try_into).transpose()?,
            job: process.job.map(TryInto::try_into).transpose()?,
            parent: process.parent.map(TryInto::try_into).transpose()?,
        })
    }
}

fn variable(variable: v1::EnvironmentVariable) -> Result<(String, String), ConvertError> {
    Ok((name(variable.name, "process.environment.name")?, text(variable.value, ENVIRONMENT_VALUE_BYTES_MAX, "process.environment.value")?))
}

impl TryFrom<v1::ParentProcess> for model::ParentProcess {
    type Error = ConvertError;

    fn try_from(parent: v1::ParentProcess) -> Result<Self, ConvertError> {
        Ok(Self {
            uid: uid(parent.uid, "process.parent.uid")?,
            pid: parent.pid,
            name: name(parent.name, "process.parent.name")?,
            path: path(parent.path, "process.parent.path")?,
            cmd_line: text(parent.cmd_line, CMD_LINE_BYTES_MAX, "process.parent.cmd_line")?,
        })
    }
}

impl TryFrom<v1::User> for model::User {
    type Error = ConvertError;

    fn try_from(user: v1::User) -> Result<Self, ConvertError> {
        Ok(Self { uid: user.uid, euid: user.euid, gid: user.gid, auid: user.auid.unwrap_or(u32::MAX), name: name(user.name, "process.user.name")? })
    }
}

impl From<v1::Namespaces> for model::Namespaces {
    fn from(namespaces: v1::Namespaces) -> Self {
        Self { mnt: namespaces.mnt, pid: namespaces.pid, net: namespaces.net, user: namespaces.user }
    }
}

impl TryFrom<v1::Container> for model::Container {
    type Error = ConvertError;

    fn try_from(container: v1::Container) -> Result<Self, ConvertError> {
        Ok(Self {
            uid: name(container.uid, "process.container.uid")?,
            name: name(container.name, "process.container.name")?,
            image: name(container.image, "process.container.image")?,
            runtime: name(container.runtime, "process.container.runtime")?,
            pod_uid: name(container.pod_uid, "process.container.pod_uid")?,
            pod_name: name(container.pod_name, "process.container.pod_name")?,
            pod_namespace: name(container.pod_namespace, "process.container.pod_namespace")?,
        })
    }
}

impl TryFrom<v1::Job> for model::Job {
    type Error = ConvertError;

    fn try_from(job: v1::Job) -> Result<Self, ConvertError> {
        Ok(Self {
            scheduler: name(job.scheduler, "process.job.scheduler")?,
            uid: name(job.uid, "process.job.uid")?,
            step: name(job.step, "process.job.step")?,
            rank: job.rank,
        })
    }
}

impl TryFrom<v1::ProcessActivity> for model::ProcessActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::ProcessActivity) -> Result<Self, ConvertError> {
        use v1::process_activity::Kind;
        let kind = match activity.kind() {
            Kind::Fork => model::ProcessActivityKind::Launch(model::LaunchType::Fork),
            Kind::Exec => model::ProcessActivityKind::Launch(model::LaunchType::Exec),
            Kind::Terminate => model::ProcessActivityKind::Terminate { exit_code: activity.exit_code, signal: activity.signal },
            Kind::Open => model::ProcessActivityKind::Open,
            Kind::Inject => model::ProcessActivityKind::Inject,
            Kind::SetUserId => model::ProcessActivityKind::SetUserId,
            Kind::Unspecified => return Err(ConvertError::Unknown { field: "process_activity.kind", value: activity.kind.into() }),
        };
        let process = activity.process.ok_or(ConvertError::Missing { field: "process_activity.process" })?.try_into()?;
        Ok(Self { kind, process, method: known(activity.method, "process_activity.method", model::ProcessMethod::from_id)? })
    }
}

impl TryFrom<v1::FileSystemActivity> for model::FileSystemActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::FileSystemActivity) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: known(activity.activity_id, "file.activity_id", model::FileActivityKind::from_id)?,
            access: model::Access(narrow(activity.access, "file.access")?),
            file: activity.file.ok_or(ConvertError::Missing { field: "file.file" })?.try_into()?,
            file_result: activity.file_result.map(TryInto::try_into).transpose()?,
            bytes_read: activity.bytes_read,
            bytes_written: activity.bytes_written,
            methods: model::FileMethods(activity.methods),
            until_end: activity.until_end,
            detail: text(activity.detail, DETAIL_BYTES_MAX, "file.detail")?,
        })
    }
}

impl TryFrom<v1::File> for model::File {
    type Error = ConvertError;

    fn try_from(file: v1::File) -> Result<Self, ConvertError> {
        Ok(Self {
            path: path(file.path, "file.path")?,
            inode: file.inode,
            device: file.device,
            size_bytes: file.size_bytes,
            mode: narrow(file.mode, "file.mode")?,
            owner_uid: file.owner_uid,
            asset_class: name(file.asset_class, "file.asset_class")?,
            sha256: digest(&file.sha256)?,
        })
    }
}

fn digest(bytes: &[u8]) -> Result<Option<model::Sha256>, ConvertError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let length = bytes.len();
    <[u8; 32]>::try_from(bytes).map(|bytes| Some(model::Sha256(bytes))).map_err(|_| ConvertError::Digest { field: "file.sha256", length })
}

impl TryFrom<v1::NetworkActivity> for model::NetworkActivity {
    type Error = ConvertError;

    fn try_from(activity: v1::NetworkActivity) -> Result<Self, ConvertError> {
        Ok(Self {
            kind: known(activity.activity_id, "network.activity_id", model::NetworkActivityKind::from_id)?,
            direction: known(activity.direction, "network.direction", model::Direction::from_id)?,
            transport: known(activity.transport, "network.transport", model::Transport::from_number)?,
            src: endpoint(activity.src, "network.src")?,
            dst: endpoint(activity.dst, "network.dst")?,
            bytes_out: activity.bytes_out,
            bytes_in: activity.bytes_in,
            flow_uid: activity.flow_uid,
            duration_ns: activity.duration_ns,
            app: if activity.app == 0 { None } else { Some(known(activity.app, "network.app", model::AppProtocol::from_id)?) },
        })
    }
}

pub(super) fn endpoint(endpoint: Option<v1::Endpoint>, field: &'static str) -> Result<model::Endpoint, ConvertError> {
    let endpoint = endpoint.ok_or(ConvertError::Missing { field })?;
    let ip = match (<[u8; 4]>::try_from(&*endpoint.ip), <[u8; 16]>::try_from(&*endpoint.ip)) {
        (Ok(octets), _) => IpAddr::from(octets),
        (_, Ok(octets)) => IpAddr::from(octets).to_canonical(),
        _ => return Err(ConvertError::Address { field, length: endpoint.ip.len() }),
    };
    Ok(model::Endpoint { ip, port: narrow(endpoint.port, field)? })
}

impl TryFrom<v1::SensorLoss> for model::SensorLoss {
    type Error = ConvertError;

    fn try_from(loss: v1::SensorLoss) -> Result<Self, ConvertError> {
        let class = match loss.class_uid {
            0 => None,
            uid => Some(known(uid, "loss.class_uid", model::EventClass::from_uid)?),
        };
        Ok(Self {
            cause: model::LossCause::from_id(loss.cause).ok_or(ConvertError::Unknown { field: "loss.cause", value: loss.cause.into() })?,
            class,
            count: loss.count,
            cpu: loss.cpu,
            since: model::Timestamp(loss.since_ns),
            until: model::Timestamp(loss.until_ns),
            healed: loss.healed_ns.map(model::Timestamp),
            message: text(loss.message, MESSAGE_BYTES_MAX, "loss.message")?,
        })
    }
}

impl TryFrom<v1::SensorState> for model::SensorState {
    type Error = ConvertError;

    fn try_from(state: v1::SensorState) -> Result<Self, ConvertError> {
        let report = text(state.report, REPORT_BYTES_MAX, "sensor.report")?;
        Ok(Self {
            kind: known(state.kind, "sensor.kind", model::SensorStateKind::from_id)?,
            report: if report.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&report).map_err(ConvertError::Report)? },
        })
    }
}

pub(super) fn text(value: String, max: usize, field: &'static str) -> Result<String, ConvertError> {
    if value.len() > max { Err(ConvertError::TooLong { field, length: value.len(), max }) } else { Ok(value) }
}

pub(super) fn name(value: String, field: &'static str) -> Result<String, ConvertError> {
    text(value, NAME_BYTES_MAX, field)
}

pub(super) fn path(value: String, field: &'static str) -> Result<String, ConvertError> {
    text(value, PATH_BYTES_MAX, field)
}

fn uid(value: String, field: &'static str) -> Result<model::ProcessUid, ConvertError> {
    name(value, field).map(model::ProcessUid)
}

pub(super) fn narrow<T: TryFrom<u32>>(value: u32, field: &'static str) -> Result<T, ConvertError> {
    T::try_from(value).map_err(|_| ConvertError::Unknown { field, value: value.into() })
}

pub(super) fn known<T>(value: u32, field: &'static str, from: impl Fn(i32) -> Option<T>) -> Result<T, ConvertError> {
    i32::try_from(value).ok().and_then(from).ok_or(ConvertError::Unknown { field, value: value.into() })
}
