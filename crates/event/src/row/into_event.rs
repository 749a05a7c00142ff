//! Row to event.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use crate::{
    Access, Activity, Actor, Container, Device, Direction, Endpoint, Event, EventClass, EventFlags, File, FileActivityKind, FileSystemActivity, Job,
    LaunchType, LossCause, NetworkActivity, NetworkActivityKind, ParentProcess, Process, ProcessActivity, ProcessActivityKind, ProcessMethod, ProcessRole,
    ProcessUid, SensorLoss, SensorState, SensorStateKind, Severity, StoredEvent, Timestamp, Transport, User,
    rest::{self, Rest},
};

use super::{Row, RowError, Text};

impl TryFrom<Row<'_>> for StoredEvent {
    type Error = RowError;

    fn try_from(mut row: Row<'_>) -> Result<Self, RowError> {
        let mut rest = rest::decode(row.rest.as_deref().unwrap_or_default())?;
        let actor = row.take_actor(&mut rest)?;
        let activity = row.take_activity(rest, actor.as_ref())?;
        Ok(Self {
            device: Arc::new(Device { uid: row.device_uid, hostname: owned(&mut row.device_hostname) }),
            spool: row.metadata_spool,
            seq: row.metadata_sequence.cast_unsigned(),
            received: micros(row.received_time),
            event: Event {
                time: micros(row.time),
                severity: Severity::from_id(row.severity_id),
                flags: EventFlags(row.flags.cast_unsigned()),
                actor,
                activity,
            },
        })
    }
}

impl Row<'_> {
    fn take_actor(&mut self, rest: &mut Rest<'_>) -> Result<Option<Actor>, RowError> {
        let Some(pid) = self.actor_process_pid else { return Ok(None) };
        let mut process = Process {
            uid: ProcessUid(owned(&mut self.actor_process_uid)),
            pid: number(pid, "actor_process_pid")?,
            name: owned(&mut self.actor_process_name),
            path: owned(&mut self.actor_process_file_path),
            cmd_line: owned(&mut self.actor_process_cmd_line),
            user: User {
                uid: number(self.actor_process_user_uid.unwrap_or_default(), "actor_process_user_uid")?,
                name: owned(&mut self.actor_process_user_name),
                ..User::default()
            },
            exec_tree: ProcessUid(owned(&mut self.picket_exec_tree_id)),
            role: ProcessRole::from_name(self.picket_process_role.as_deref().unwrap_or_default()),
            container: self.take_container(),
            job: self.take_job(),
            parent: self.take_parent()?,
            ..Process::default()
        };
        std::mem::take(&mut rest.actor).apply(&mut process);
        Ok(Some(Actor { process }))
    }

    fn take_container(&mut self) -> Option<Container> {
        let uid = self.actor_process_container_uid.take()?.into_owned();
        Some(Container { uid, name: owned(&mut self.actor_process_container_name), ..Container::default() })
    }

    fn take_job(&mut self) -> Option<Job> {
        let uid = self.picket_job_uid.take()?.into_owned();
        Some(Job { scheduler: owned(&mut self.picket_job_scheduler), uid, step: String::new(), rank: self.picket_job_rank.map(i32::cast_unsigned) })
    }

    fn take_parent(&mut self) -> Result<Option<ParentProcess>, RowError> {
        let Some(pid) = self.actor_process_parent_process_pid else { return Ok(None) };
        Ok(Some(ParentProcess {
            uid: ProcessUid(owned(&mut self.actor_process_parent_process_uid)),
            pid: number(pid, "actor_process_parent_process_pid")?,
            name: owned(&mut self.actor_process_parent_process_name),
            path: String::new(),
            cmd_line: owned(&mut self.actor_process_parent_process_cmd_line),
        }))
    }

    fn take_activity(&mut self, rest: Rest<'_>, actor: Option<&Actor>) -> Result<Activity, RowError> {
        let class = EventClass::from_uid(self.class_uid).ok_or(RowError::Unknown { column: "class_uid" })?;
        Ok(match class {
            EventClass::ProcessActivity => Activity::Process(self.take_process(rest, actor)?),
            EventClass::FileSystemActivity => Activity::File(self.take_file(rest)?),
            EventClass::NetworkActivity => Activity::Network(self.take_network(&rest)?),
            EventClass::EventLogActivity => match self.activity_id {
                6 => sensor(SensorStateKind::Started, rest),
                7 => sensor(SensorStateKind::Stopped, rest),
                99 => Activity::Loss(self.take_loss(&rest)?),
                _ => return Err(RowError::Unknown { column: "activity_id" }),
            },
            EventClass::DeviceConfigState => sensor(SensorStateKind::Capabilities, rest),
            EventClass::KernelExtensionActivity
            | EventClass::KernelActivity
            | EventClass::MemoryActivity
            | EventClass::ModuleActivity
            | EventClass::ComplianceFinding
            | EventClass::DetectionFinding
            | EventClass::DnsActivity
            | EventClass::DeviceInventoryInfo
            | EventClass::ScanActivity => {
                let activity = rest.body.ok_or(RowError::Missing { column: "rest" })?.into_activity();
                if activity.class() != class {
                    return Err(RowError::Unknown { column: "rest" });
                }
                activity
            }
        })
    }

    fn take_process(&mut self, rest: Rest<'_>, actor: Option<&Actor>) -> Result<ProcessActivity, RowError> {
        let kind = match (self.activity_id, self.launch_type_id) {
            (1, Some(2)) => ProcessActivityKind::Launch(LaunchType::Fork),
            (1, Some(3)) => ProcessActivityKind::Launch(LaunchType::Exec),
            (1, _) => return Err(RowError::Unknown { column: "launch_type_id" }),
            (2, _) => ProcessActivityKind::Terminate { exit_code: need(self.exit_code, "exit_code")?, signal: rest.signal },
            (3, _) => ProcessActivityKind::Open,
            (4, _) => ProcessActivityKind::Inject,
            (5, _) => ProcessActivityKind::SetUserId,
            _ => return Err(RowError::Unknown { column: "activity_id" }),
        };
        let mut process = actor.map(|actor| actor.process.clone()).unwrap_or_default();
        if rest.process.parent_is_base() {
            process.parent = Some(ParentProcess::from(&process));
        }
        process.uid = ProcessUid(owned(&mut self.process_uid));
        process.pid = number(need(self.process_pid, "process_pid")?, "process_pid")?;
        process.name = owned(&mut self.process_name);
        process.path = owned(&mut self.process_file_path);
        process.cmd_line = owned(&mut self.process_cmd_line);
        rest.process.apply(&mut process);
        let method = ProcessMethod::from_name(self.method.as_deref().unwrap_or_default()).ok_or(RowError::Unknown { column: "method" })?;
        Ok(ProcessActivity { kind, process, method })
    }

    fn take_file(&mut self, mut rest: Rest<'_>) -> Result<FileSystemActivity, RowError> {
        let (methods, until_end, detail) = rest.take_file_extras();
        let sha256 = self.file_hash_sha256.take().map(|text| text.parse().map_err(|_| RowError::Unknown { column: "file_hash_sha256" })).transpose()?;
        let mut file = File {
            path: owned(&mut self.file_path),
            inode: self.file_inode.unwrap_or_default().cast_unsigned(),
            size_bytes: self.file_size.map(i64::cast_unsigned),
            asset_class: owned(&mut self.picket_asset_class),
            sha256,
            ..File::default()
        };
        rest.file.apply(&mut file);
        let file_result = self.file_result_path.take().map(|path| {
            let mut result = File { path: path.into_owned(), ..file.clone() };
            rest.file_result.apply(&mut result);
            result
        });
        Ok(FileSystemActivity {
            kind: FileActivityKind::from_id(self.activity_id).ok_or(RowError::Unknown { column: "activity_id" })?,
            access: Access(number(need(self.access_mask, "access_mask")?.into(), "access_mask")?),
            file,
            file_result,
            bytes_read: self.file_bytes_read.map(i64::cast_unsigned),
            bytes_written: self.file_bytes_written.map(i64::cast_unsigned),
            methods,
            until_end,
            detail,
        })
    }

    fn take_network(&mut self, rest: &Rest<'_>) -> Result<NetworkActivity, RowError> {
        let direction = need(self.connection_info_direction_id, "connection_info_direction_id")?;
        let transport = need(self.connection_info_protocol_num, "connection_info_protocol_num")?;
        let duration_ms = need(self.duration, "duration")?.cast_unsigned();
        let mut activity = NetworkActivity {
            kind: NetworkActivityKind::from_id(self.activity_id).ok_or(RowError::Unknown { column: "activity_id" })?,
            direction: Direction::from_id(direction).ok_or(RowError::Unknown { column: "connection_info_direction_id" })?,
            transport: Transport::from_number(transport).ok_or(RowError::Unknown { column: "connection_info_protocol_num" })?,
            src: endpoint(&self.src_endpoint_ip, self.src_endpoint_port, "src_endpoint_ip")?,
            dst: endpoint(&self.dst_endpoint_ip, self.dst_endpoint_port, "dst_endpoint_ip")?,
            bytes_out: need(self.traffic_bytes_out, "traffic_bytes_out")?.cast_unsigned(),
            bytes_in: need(self.traffic_bytes_in, "traffic_bytes_in")?.cast_unsigned(),
            flow_uid: need(self.connection_info_uid, "connection_info_uid")?.cast_unsigned(),
            duration_ns: duration_ms.saturating_mul(1_000_000).saturating_add(rest.duration_below_ms.into()),
            app: rest.app,
        };
        // The columns count from the source to the destination, the model from this host.
        (activity.bytes_out, activity.bytes_in) = activity.bytes_out_in();
        Ok(activity)
    }

    fn take_loss(&mut self, rest: &Rest<'_>) -> Result<SensorLoss, RowError> {
        let class = self.loss_class_uid.map(|uid| EventClass::from_uid(uid).ok_or(RowError::Unknown { column: "loss_class_uid" })).transpose()?;
        Ok(SensorLoss {
            cause: LossCause::from_name(self.loss_cause.as_deref().unwrap_or_default()).ok_or(RowError::Unknown { column: "loss_cause" })?,
            class,
            count: self.loss_count.map(i64::cast_unsigned),
            cpu: rest.cpu,
            healed: rest.healed,
            since: micros(need(self.loss_start_time, "loss_start_time")?),
            until: micros(need(self.loss_end_time, "loss_end_time")?),
            message: owned(&mut self.message),
        })
    }
}

fn sensor(kind: SensorStateKind, rest: Rest<'_>) -> Activity {
    Activity::Sensor(SensorState { kind, report: rest.report.map(Cow::into_owned).unwrap_or_default() })
}

fn endpoint(ip: &Text<'_>, port: Option<i32>, column: &'static str) -> Result<Endpoint, RowError> {
    let ip: IpAddr = ip.as_deref().ok_or(RowError::Missing { column })?.parse().map_err(|_| RowError::Unknown { column })?;
    Ok(Endpoint { ip, port: number(need(port, column)?.into(), column)? })
}

fn micros(value: i64) -> Timestamp {
    Timestamp(value.saturating_mul(1_000))
}

fn owned(text: &mut Text<'_>) -> String {
    text.take().map(Cow::into_owned).unwrap_or_default()
}

fn need<T>(value: Option<T>, column: &'static str) -> Result<T, RowError> {
    value.ok_or(RowError::Missing { column })
}

fn number<T: TryFrom<i64>>(value: i64, column: &'static str) -> Result<T, RowError> {
    T::try_from(value).map_err(|_| RowError::Unknown { column })
}
