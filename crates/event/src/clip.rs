//! Cuts what is longer than [`crate::limits`], and flags the cut.

use crate::{
    Activity, Event, EventFlags, File, Process,
    limits::{CMD_LINE_BYTES_MAX, ENVIRONMENT_VALUE_BYTES_MAX, ENVIRONMENT_VARS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, REPORT_BYTES_MAX},
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
        }
        self.flags = self.flags.union(flags);
    }
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
        for text in [&mut container.uid, &mut container.name, &mut container.image, &mut container.runtime, &mut container.pod_uid] {
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
            activity: Activity::File(crate::FileSystemActivity {
                kind: crate::FileActivityKind::Open,
                access: crate::Access::READ,
                file: File { path: "/".repeat(PATH_BYTES_MAX), ..File::default() },
                file_result: None,
            }),
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
