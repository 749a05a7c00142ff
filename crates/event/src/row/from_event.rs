//! Event to row.

use std::{borrow::Cow, net::IpAddr, path::Path};

use uuid::Uuid;

use crate::{
    Activity, Actor, DetectionFinding, DeviceUid, DnsActivity, File, FileMethods, FileSystemActivity, NetworkActivity, Process, ProcessActivity,
    ProcessActivityKind, SensorLoss, SpoolUid, StoredEvent, rest,
};

use super::{Row, Text};

impl<'a> From<&'a StoredEvent> for Row<'a> {
    fn from(stored: &'a StoredEvent) -> Self {
        let mut row = blank(stored);
        if let Some(actor) = &stored.event.actor {
            row.set_actor(actor);
        }
        match &stored.event.activity {
            Activity::Process(activity) => row.set_process(activity),
            Activity::File(activity) => row.set_file(activity),
            Activity::Network(activity) => row.set_network(activity),
            Activity::Loss(loss) => row.set_loss(loss),
            Activity::Sensor(_) => {}
            rare => row.set_rare(rare),
        }
        let rest = rest::encode(stored);
        row.rest = (!rest.is_empty()).then_some(Cow::Owned(rest));
        row
    }
}

impl<'a> Row<'a> {
    /// The column `addresses`: both ends of a flow, once where they are one.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let src = self.src_endpoint_ip.as_deref();
        let dst = self.dst_endpoint_ip.as_deref().filter(|dst| Some(*dst) != src);
        src.into_iter().chain(dst)
    }

    fn set_actor(&mut self, actor: &'a Actor) {
        let process = &actor.process;
        self.actor_process_uid = text(process.uid.as_str());
        self.actor_process_pid = Some(process.pid.into());
        self.actor_process_name = text(&process.name);
        self.actor_process_file_path = text(&process.path);
        self.actor_process_cmd_line = text(&process.cmd_line);
        self.actor_process_user_name = text(&process.user.name);
        self.actor_process_user_uid = Some(process.user.uid.into());
        self.picket_exec_tree_id = text(process.exec_tree.as_str());
        self.picket_process_role = Some(Cow::Borrowed(process.role.name()));
        self.set_actor_surroundings(process);
    }

    fn set_actor_surroundings(&mut self, process: &'a Process) {
        if let Some(parent) = &process.parent {
            self.actor_process_parent_process_uid = text(parent.uid.as_str());
            self.actor_process_parent_process_pid = Some(parent.pid.into());
            self.actor_process_parent_process_name = text(&parent.name);
            self.actor_process_parent_process_cmd_line = text(&parent.cmd_line);
        }
        if let Some(container) = &process.container {
            self.actor_process_container_uid = Some(Cow::Borrowed(&container.uid));
            self.actor_process_container_name = text(&container.name);
        }
        if let Some(job) = &process.job {
            self.picket_job_scheduler = text(&job.scheduler);
            self.picket_job_uid = Some(Cow::Borrowed(&job.uid));
            self.picket_job_rank = job.rank.map(u32::cast_signed);
        }
    }

    fn set_second_process(&mut self, process: &'a Process) {
        self.process_uid = text(process.uid.as_str());
        self.process_pid = Some(process.pid.into());
        self.process_name = text(&process.name);
        self.process_file_path = text(&process.path);
        self.process_cmd_line = text(&process.cmd_line);
    }

    /// Classes whose whole body stands in `rest`: columns repeat what people search for.
    fn set_rare(&mut self, activity: &'a Activity) {
        match activity {
            Activity::Process(_) | Activity::File(_) | Activity::Network(_) | Activity::Loss(_) | Activity::Sensor(_) | Activity::Gpu(_) => {}
            Activity::Memory(activity) => {
                self.method = text(activity.method.name());
                if let Some(process) = &activity.process {
                    self.set_second_process(process);
                }
            }
            Activity::Module(activity) => self.set_one_file(&activity.file),
            Activity::KernelExtension(activity) => {
                self.file_path = text(&activity.path);
                self.file_name = text(base_name(&activity.path).unwrap_or(&activity.name));
            }
            Activity::Kernel(activity) => {
                self.operation = text(&activity.operation);
                self.count = Some(activity.count.cast_signed());
                if let Some(process) = &activity.process {
                    self.set_second_process(process);
                }
            }
            Activity::Dns(activity) => self.set_dns(activity),
            Activity::Scan(activity) => {
                self.message = text(&activity.detail);
                self.duration = activity.duration_ms();
            }
            Activity::Finding(finding) => self.set_finding(finding),
            Activity::Compliance(finding) => {
                self.finding_rule_uid = text(&finding.check_uid);
                self.finding_title = text(&finding.title);
                self.verdict = text(finding.status.name());
                self.message = text(&finding.explanation);
            }
        }
    }

    fn set_dns(&mut self, activity: &'a DnsActivity) {
        self.dns_query_hostname = text(&activity.hostname);
        self.src_endpoint_ip = Some(address(activity.src.ip));
        self.src_endpoint_port = Some(activity.src.port.into());
        self.dst_endpoint_ip = Some(address(activity.dst.ip));
        self.dst_endpoint_port = Some(activity.dst.port.into());
        // A question has no direction of its own: the end that asked is the source.
        self.connection_info_direction_id = Some(0);
        self.connection_info_protocol_num = Some(activity.transport as i32);
        self.connection_info_uid = Some(activity.flow_uid.cast_signed());
    }

    fn set_finding(&mut self, finding: &'a DetectionFinding) {
        self.finding_rule_uid = text(&finding.rule.uid);
        self.finding_title = text(&finding.title);
        self.verdict = text(finding.verdict.name());
        self.message = text(&finding.explanation);
        if let Some(file) = &finding.file {
            self.set_one_file(file);
        }
        if let Some(process) = &finding.process {
            self.set_second_process(process);
        }
    }

    fn set_process(&mut self, activity: &'a ProcessActivity) {
        self.set_second_process(&activity.process);
        self.method = text(activity.method.name());
        match activity.kind {
            ProcessActivityKind::Launch(kind) => self.launch_type_id = Some(kind as i32),
            ProcessActivityKind::Terminate { exit_code, .. } => self.exit_code = Some(exit_code),
            ProcessActivityKind::Open | ProcessActivityKind::Inject | ProcessActivityKind::SetUserId => {}
        }
    }

    fn set_file(&mut self, activity: &'a FileSystemActivity) {
        self.set_one_file(&activity.file);
        self.file_result_path = activity.file_result.as_ref().map(|file| Cow::Borrowed(&*file.path));
        self.access_mask = Some(activity.access.0.into());
        self.file_bytes_read = activity.bytes_read.map(u64::cast_signed);
        self.file_bytes_written = activity.bytes_written.map(u64::cast_signed);
        if activity.methods != FileMethods::default() {
            let names = activity.methods.names();
            self.method = (!names.is_empty()).then_some(Cow::Owned(names));
        }
    }

    fn set_one_file(&mut self, file: &'a File) {
        self.file_path = text(&file.path);
        self.file_name = base_name(&file.path).and_then(text);
        self.file_size = file.size_bytes.map(u64::cast_signed);
        self.file_inode = (file.inode != 0).then_some(file.inode.cast_signed());
        self.picket_asset_class = text(&file.asset_class);
        self.file_hash_sha256 = file.sha256.map(|digest| Cow::Owned(digest.to_string()));
    }

    fn set_network(&mut self, activity: &NetworkActivity) {
        self.src_endpoint_ip = Some(address(activity.src.ip));
        self.src_endpoint_port = Some(activity.src.port.into());
        self.dst_endpoint_ip = Some(address(activity.dst.ip));
        self.dst_endpoint_port = Some(activity.dst.port.into());
        self.connection_info_direction_id = Some(activity.direction as i32);
        self.connection_info_protocol_num = Some(activity.transport as i32);
        self.connection_info_uid = Some(activity.flow_uid.cast_signed());
        let (bytes_out, bytes_in) = activity.bytes_out_in();
        self.traffic_bytes_in = Some(bytes_in.cast_signed());
        self.traffic_bytes_out = Some(bytes_out.cast_signed());
        self.duration = Some((activity.duration_ns / 1_000_000).cast_signed());
    }

    fn set_loss(&mut self, loss: &'a SensorLoss) {
        self.loss_cause = Some(Cow::Borrowed(loss.cause.name()));
        self.loss_class_uid = loss.class.map(crate::EventClass::uid);
        self.loss_count = loss.count.map(u64::cast_signed);
        self.loss_start_time = Some(loss.since.as_micros());
        self.loss_end_time = Some(loss.until.as_micros());
        self.message = text(&loss.message);
    }
}

fn base_name(path: &str) -> Option<&str> {
    Path::new(path).file_name().and_then(|name| name.to_str())
}

fn text(value: &str) -> Text<'_> {
    (!value.is_empty()).then_some(Cow::Borrowed(value))
}

fn address(ip: IpAddr) -> Cow<'static, str> {
    Cow::Owned(ip.to_string())
}

fn blank(stored: &StoredEvent) -> Row<'_> {
    let event = &stored.event;
    Row {
        time: event.time.as_micros(),
        received_time: stored.received.as_micros(),
        device_uid: stored.device.uid,
        device_hostname: text(&stored.device.hostname),
        metadata_spool: stored.spool,
        metadata_sequence: stored.seq.cast_signed(),
        class_uid: event.activity.class().uid(),
        activity_id: event.activity.activity_id(),
        severity_id: event.severity as i32,
        flags: event.flags.0.cast_signed(),
        ..NOTHING
    }
}

/// No value in any column that may be null.
const NOTHING: Row<'static> = Row {
    time: 0,
    received_time: 0,
    device_uid: DeviceUid(Uuid::nil()),
    device_hostname: None,
    metadata_spool: SpoolUid(Uuid::nil()),
    metadata_sequence: 0,
    class_uid: 0,
    activity_id: 0,
    severity_id: 0,
    flags: 0,
    actor_process_uid: None,
    actor_process_pid: None,
    actor_process_name: None,
    actor_process_file_path: None,
    actor_process_cmd_line: None,
    actor_process_user_name: None,
    actor_process_user_uid: None,
    actor_process_parent_process_uid: None,
    actor_process_parent_process_pid: None,
    actor_process_parent_process_name: None,
    actor_process_parent_process_cmd_line: None,
    actor_process_container_uid: None,
    actor_process_container_name: None,
    picket_exec_tree_id: None,
    picket_process_role: None,
    picket_job_scheduler: None,
    picket_job_uid: None,
    picket_job_rank: None,
    picket_asset_class: None,
    process_uid: None,
    process_pid: None,
    process_name: None,
    process_file_path: None,
    process_cmd_line: None,
    launch_type_id: None,
    exit_code: None,
    file_path: None,
    file_name: None,
    file_size: None,
    file_inode: None,
    file_hash_sha256: None,
    file_result_path: None,
    access_mask: None,
    src_endpoint_ip: None,
    src_endpoint_port: None,
    dst_endpoint_ip: None,
    dst_endpoint_port: None,
    connection_info_direction_id: None,
    connection_info_protocol_num: None,
    connection_info_uid: None,
    traffic_bytes_in: None,
    traffic_bytes_out: None,
    duration: None,
    loss_cause: None,
    loss_class_uid: None,
    loss_count: None,
    loss_start_time: None,
    loss_end_time: None,
    message: None,
    method: None,
    file_bytes_read: None,
    file_bytes_written: None,
    operation: None,
    count: None,
    dns_query_hostname: None,
    finding_rule_uid: None,
    finding_title: None,
    verdict: None,
    rest: None,
};
