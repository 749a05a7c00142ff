//! Cuts what is longer than [`crate::limits`], and flags the cut.

use crate::{
    Activity, Completeness, DetectionFinding, Event, EventFlags, File, Process,
    limits::{
        CMD_LINE_BYTES_MAX, DETAIL_BYTES_MAX, DNS_ANSWERS_MAX, ENVIRONMENT_VALUE_BYTES_MAX, ENVIRONMENT_VARS_MAX, EVIDENCE_MAX, GPU_PROCESSES_MAX, LIST_MAX,
        MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, REPORT_BYTES_MAX,
    },
};

impl Event {
    /// Cuts every part at its limit, at a character's boundary, and says so in `flags`. Only an
    /// environment at every limit can still take an event beyond [`crate::limits::EVENT_BYTES_MAX`].
    pub fn clip(&mut self) {
        let mut flags = EventFlags::default();
        if let Some(actor) = &mut self.actor {
            clip_process(&mut actor.process, &mut flags);
        }
        match &mut self.activity {
            Activity::Process(activity) => clip_process(&mut activity.process, &mut flags),
            Activity::File(activity) => {
                clip_file(&mut activity.file, &mut flags);
                if let Some(result) = &mut activity.file_result {
                    clip_file(result, &mut flags);
                }
                detail(&mut activity.detail, &mut flags);
            }
            Activity::Network(_) => {}
            Activity::Loss(loss) => cut(&mut loss.message, MESSAGE_BYTES_MAX, EventFlags::TEXT_CUT, &mut flags),
            Activity::Sensor(state) => {
                let bytes = state.report.to_string().len();
                if bytes > REPORT_BYTES_MAX {
                    state.report = serde_json::json!({ "report_cut_bytes": bytes });
                    flags = flags.union(EventFlags::TEXT_CUT);
                }
            }
            rare => clip_rare(rare, &mut flags),
        }
        self.flags = self.flags.union(flags);
    }
}

fn clip_rare(activity: &mut Activity, flags: &mut EventFlags) {
    match activity {
        Activity::Process(_) | Activity::File(_) | Activity::Network(_) | Activity::Loss(_) | Activity::Sensor(_) => {}
        Activity::Memory(activity) => clip_other(&mut activity.process, flags),
        Activity::Module(activity) => clip_file(&mut activity.file, flags),
        Activity::KernelExtension(activity) => {
            path(&mut activity.path, flags);
            for text in [&mut activity.name, &mut activity.bpf_type, &mut activity.bpf_tag] {
                name(text, flags);
            }
        }
        Activity::Kernel(activity) => {
            name(&mut activity.operation, flags);
            detail(&mut activity.detail, flags);
            clip_other(&mut activity.process, flags);
        }
        Activity::Dns(activity) => {
            name(&mut activity.hostname, flags);
            shorten(&mut activity.answers, DNS_ANSWERS_MAX, flags);
            activity.answers.iter_mut().for_each(|answer| detail(&mut answer.rdata, flags));
        }
        Activity::Scan(activity) => {
            for text in [&mut activity.scan_uid, &mut activity.name, &mut activity.command_uid, &mut activity.policy_name, &mut activity.policy_version] {
                name(text, flags);
            }
            detail(&mut activity.detail, flags);
        }
        Activity::Finding(finding) => clip_finding(finding, flags),
        Activity::Compliance(finding) => {
            for text in [&mut finding.uid, &mut finding.check_uid, &mut finding.check_version, &mut finding.title] {
                name(text, flags);
            }
            for text in [&mut finding.explanation, &mut finding.remediation] {
                detail(text, flags);
            }
            shorten(&mut finding.evidence, EVIDENCE_MAX, flags);
            finding.evidence.iter_mut().for_each(|text| detail(text, flags));
            names(&mut finding.standards, flags);
        }
        Activity::Gpu(gpu) => {
            for text in [&mut gpu.uuid, &mut gpu.name, &mut gpu.driver_version] {
                name(text, flags);
            }
            names(&mut gpu.mig_devices, flags);
            shorten(&mut gpu.processes, GPU_PROCESSES_MAX, flags);
            gpu.processes.iter_mut().for_each(|process| name(&mut process.uid, flags));
        }
    }
}

fn clip_finding(finding: &mut DetectionFinding, flags: &mut EventFlags) {
    let rule = &mut finding.rule;
    for text in [&mut finding.uid, &mut finding.title, &mut finding.scan_uid, &mut rule.uid, &mut rule.version, &mut rule.title] {
        name(text, flags);
    }
    detail(&mut finding.explanation, flags);
    if let Some(file) = &mut finding.file {
        clip_file(file, flags);
    }
    clip_other(&mut finding.process, flags);
    shorten(&mut finding.evidence, EVIDENCE_MAX, flags);
    for evidence in &mut finding.evidence {
        name(&mut evidence.key, flags);
        detail(&mut evidence.member, flags);
        detail(&mut evidence.text, flags);
    }
    names(&mut finding.techniques, flags);
    names(&mut finding.related_events, flags);
    if let Completeness::Partial(reasons) = &mut finding.completeness {
        names(reasons, flags);
    }
}

fn clip_other(process: &mut Option<Process>, flags: &mut EventFlags) {
    if let Some(process) = process {
        clip_process(process, flags);
    }
}

fn names(list: &mut Vec<String>, flags: &mut EventFlags) {
    shorten(list, LIST_MAX, flags);
    list.iter_mut().for_each(|text| name(text, flags));
}

fn shorten<T>(list: &mut Vec<T>, max: usize, flags: &mut EventFlags) {
    if list.len() > max {
        list.truncate(max);
        *flags = flags.union(EventFlags::TEXT_CUT);
    }
}

fn detail(text: &mut String, flags: &mut EventFlags) {
    cut(text, DETAIL_BYTES_MAX, EventFlags::TEXT_CUT, flags);
}

fn clip_process(process: &mut Process, flags: &mut EventFlags) {
    name(&mut process.uid.0, flags);
    name(&mut process.name, flags);
    path(&mut process.path, flags);
    cut(&mut process.cmd_line, CMD_LINE_BYTES_MAX, EventFlags::CMD_LINE_CUT, flags);
    path(&mut process.working_directory, flags);
    name(&mut process.user.name, flags);
    path(&mut process.cgroup, flags);
    name(&mut process.tty, flags);
    name(&mut process.exec_tree.0, flags);
    if process.environment.len() > ENVIRONMENT_VARS_MAX {
        process.environment.truncate(ENVIRONMENT_VARS_MAX);
        *flags = flags.union(EventFlags::TEXT_CUT);
    }
    for (key, value) in &mut process.environment {
        name(key, flags);
        cut(value, ENVIRONMENT_VALUE_BYTES_MAX, EventFlags::TEXT_CUT, flags);
    }
    if let Some(container) = &mut process.container {
        for text in [
            &mut container.uid,
            &mut container.name,
            &mut container.image,
            &mut container.runtime,
            &mut container.pod_uid,
            &mut container.pod_name,
            &mut container.pod_namespace,
        ] {
            name(text, flags);
        }
    }
    if let Some(job) = &mut process.job {
        for text in [&mut job.scheduler, &mut job.uid, &mut job.step] {
            name(text, flags);
        }
    }
    if let Some(parent) = &mut process.parent {
        name(&mut parent.uid.0, flags);
        name(&mut parent.name, flags);
        path(&mut parent.path, flags);
        cut(&mut parent.cmd_line, CMD_LINE_BYTES_MAX, EventFlags::CMD_LINE_CUT, flags);
    }
}

fn clip_file(file: &mut File, flags: &mut EventFlags) {
    path(&mut file.path, flags);
    name(&mut file.asset_class, flags);
}

fn path(text: &mut String, flags: &mut EventFlags) {
    cut(text, PATH_BYTES_MAX, EventFlags::PATH_CUT, flags);
}

fn name(text: &mut String, flags: &mut EventFlags) {
    cut(text, NAME_BYTES_MAX, EventFlags::TEXT_CUT, flags);
}

fn cut(text: &mut String, bytes_max: usize, flag: EventFlags, flags: &mut EventFlags) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        *flags = flags.union(flag);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Actor, Severity, Timestamp};

    use super::*;

    fn event(cmd_line: String) -> Event {
        let process = Process { cmd_line, environment: vec![(String::from("SLURM_JOB_ID"), "7".repeat(2_000))], ..Process::default() };
        Event {
            time: Timestamp(1),
            severity: Severity::Informational,
            flags: EventFlags::PREEXISTING,
            actor: Some(Actor { process }),
            activity: Activity::File(crate::FileSystemActivity::new(
                crate::FileActivityKind::Open,
                crate::Access::READ,
                File { path: "/".repeat(PATH_BYTES_MAX), ..File::default() },
            )),
        }
    }

    #[test]
    fn cuts_at_a_character_and_flags_it() {
        let mut long = event("é".repeat(CMD_LINE_BYTES_MAX / 2 + 1));
        long.clip();
        let process = &long.actor.as_ref().expect("an actor").process;
        assert_eq!(process.cmd_line, "é".repeat(CMD_LINE_BYTES_MAX / 2));
        assert_eq!(process.environment.first().expect("a variable").1.len(), ENVIRONMENT_VALUE_BYTES_MAX);
        assert_eq!(long.flags, EventFlags::PREEXISTING.union(EventFlags::CMD_LINE_CUT).union(EventFlags::TEXT_CUT));
    }

    #[test]
    fn leaves_what_fits() {
        let mut short = event(String::from("true"));
        if let Some(actor) = &mut short.actor {
            actor.process.environment.clear();
        }
        let before = short.clone();
        short.clip();
        assert_eq!(short, before);
    }
}
