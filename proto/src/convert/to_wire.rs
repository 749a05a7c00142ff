//! Model to wire. Texts are moved, not copied; a part that holds only defaults is left out.

use std::net::IpAddr;

use picket_event as model;

use crate::v1;

impl From<model::Event> for v1::Event {
    fn from(event: model::Event) -> Self {
        Self {
            time_ns: event.time.0,
            severity: u32::from(event.severity as u8),
            flags: event.flags.0,
            actor: event.actor.map(|actor| actor.process.into()),
            activity: Some(match event.activity {
                model::Activity::Process(activity) => v1::event::Activity::Process(activity.into()),
                model::Activity::File(activity) => v1::event::Activity::File(activity.into()),
                model::Activity::Network(activity) => v1::event::Activity::Network(activity.into()),
                model::Activity::Loss(loss) => v1::event::Activity::Loss(loss.into()),
                model::Activity::Sensor(state) => v1::event::Activity::Sensor(v1::SensorState {
                    kind: u32::from(state.kind as u8),
                    report: if state.report.is_null() { String::new() } else { state.report.to_string() },
                }),
                rare => super::rare::to_wire(rare),
            }),
        }
    }
}

impl From<model::Process> for v1::Process {
    fn from(process: model::Process) -> Self {
        Self {
            uid: process.uid.0,
            pid: process.pid,
            tid: process.tid,
            name: process.name,
            path: process.path,
            cmd_line: process.cmd_line,
            working_directory: process.working_directory,
            user: (process.user != model::User::default()).then(|| process.user.into()),
            created_time_ns: process.created_time.0,
            exec_tree: process.exec_tree.0,
            role: u32::from(process.role as u8),
            parent: process.parent.map(Into::into),
            container: process.container.map(Into::into),
            job: process.job.map(Into::into),
            exe_inode: process.exe_inode,
            exe_device: process.exe_device,
            capabilities: process.capabilities,
            namespaces: (process.namespaces != model::Namespaces::default()).then(|| process.namespaces.into()),
            cgroup: process.cgroup,
            tty: process.tty,
            environment: process.environment.into_iter().map(|(name, value)| v1::EnvironmentVariable { name, value }).collect(),
            exe_flags: process.exe_flags.0.into(),
        }
    }
}

impl From<model::ParentProcess> for v1::ParentProcess {
    fn from(parent: model::ParentProcess) -> Self {
        Self { uid: parent.uid.0, pid: parent.pid, name: parent.name, path: parent.path, cmd_line: parent.cmd_line }
    }
}

impl From<model::User> for v1::User {
    fn from(user: model::User) -> Self {
        Self { uid: user.uid, euid: user.euid, gid: user.gid, auid: (user.auid != u32::MAX).then_some(user.auid), name: user.name }
    }
}

impl From<model::Namespaces> for v1::Namespaces {
    fn from(namespaces: model::Namespaces) -> Self {
        Self { mnt: namespaces.mnt, pid: namespaces.pid, net: namespaces.net, user: namespaces.user }
    }
}

impl From<model::Container> for v1::Container {
    fn from(container: model::Container) -> Self {
        Self {
            uid: container.uid,
            name: container.name,
            image: container.image,
            runtime: container.runtime,
            pod_uid: container.pod_uid,
            pod_name: container.pod_name,
            pod_namespace: container.pod_namespace,
        }
    }
}

impl From<model::Job> for v1::Job {
    fn from(job: model::Job) -> Self {
        Self { scheduler: job.scheduler, uid: job.uid, step: job.step, rank: job.rank }
    }
}

impl From<model::ProcessActivity> for v1::ProcessActivity {
    fn from(activity: model::ProcessActivity) -> Self {
        use v1::process_activity::Kind;
        let (kind, exit_code, signal) = match activity.kind {
            model::ProcessActivityKind::Launch(model::LaunchType::Fork) => (Kind::Fork, 0, 0),
            model::ProcessActivityKind::Launch(model::LaunchType::Exec) => (Kind::Exec, 0, 0),
            model::ProcessActivityKind::Terminate { exit_code, signal } => (Kind::Terminate, exit_code, signal),
            model::ProcessActivityKind::Open => (Kind::Open, 0, 0),
            model::ProcessActivityKind::Inject => (Kind::Inject, 0, 0),
            model::ProcessActivityKind::SetUserId => (Kind::SetUserId, 0, 0),
        };
        let method = u32::from(activity.method as u8);
        Self { kind: kind.into(), process: Some(activity.process.into()), exit_code, signal, method }
    }
}

impl From<model::FileSystemActivity> for v1::FileSystemActivity {
    fn from(activity: model::FileSystemActivity) -> Self {
        Self {
            activity_id: u32::from(activity.kind as u8),
            access: activity.access.0.into(),
            file: Some(activity.file.into()),
            file_result: activity.file_result.map(Into::into),
            bytes_read: activity.bytes_read,
            bytes_written: activity.bytes_written,
            methods: activity.methods.0,
            until_end: activity.until_end,
            detail: activity.detail,
        }
    }
}

impl From<model::File> for v1::File {
    fn from(file: model::File) -> Self {
        Self {
            path: file.path,
            inode: file.inode,
            device: file.device,
            size_bytes: file.size_bytes,
            mode: file.mode.into(),
            owner_uid: file.owner_uid,
            asset_class: file.asset_class,
            sha256: file.sha256.map_or_else(Vec::new, |digest| digest.0.to_vec()),
        }
    }
}

impl From<model::NetworkActivity> for v1::NetworkActivity {
    fn from(activity: model::NetworkActivity) -> Self {
        Self {
            activity_id: u32::from(activity.kind as u8),
            direction: u32::from(activity.direction as u8),
            transport: u32::from(activity.transport as u8),
            src: Some(activity.src.into()),
            dst: Some(activity.dst.into()),
            bytes_out: activity.bytes_out,
            bytes_in: activity.bytes_in,
            flow_uid: activity.flow_uid,
            duration_ns: activity.duration_ns,
            app: activity.app.map_or(0, |app| u32::from(app as u8)),
        }
    }
}

impl From<model::Endpoint> for v1::Endpoint {
    fn from(endpoint: model::Endpoint) -> Self {
        let ip = match endpoint.ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Self { ip, port: endpoint.port.into() }
    }
}

impl From<model::SensorLoss> for v1::SensorLoss {
    fn from(loss: model::SensorLoss) -> Self {
        Self {
            cause: u32::from(loss.cause as u8),
            class_uid: loss.class.map_or(0, |class| class.uid().cast_unsigned()),
            count: loss.count,
            since_ns: loss.since.0,
            until_ns: loss.until.0,
            message: loss.message,
            cpu: loss.cpu,
            healed_ns: loss.healed.map(|time| time.0),
        }
    }
}
