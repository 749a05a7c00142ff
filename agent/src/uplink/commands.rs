//! What the server may ask: a fresh report, and scans.

use std::collections::{HashMap, VecDeque};

use picket_event::Timestamp;
use picket_proto::v1::{CapabilityReport, Command, CommandResult, Host, command::Action, command_result::State};

/// Results kept for a command that is delivered again.
const RESULTS_MAX: usize = 256;
const ID_BYTES_MAX: usize = 128;

/// Commands that were run, by id.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    results: HashMap<String, CommandResult>,
    order: VecDeque<String>,
}

impl Commands {
    /// The answer to a command.
    pub(crate) fn run(
        &mut self,
        command: Command,
        now: Timestamp,
        report: impl FnOnce() -> (Host, CapabilityReport),
        scan: impl FnOnce(&str, &[String]) -> Result<(), String>,
    ) -> CommandResult {
        if let Some(known) = self.results.get(&command.id) {
            return known.clone();
        }
        let answer =
            |state: State, detail: &str| CommandResult { id: command.id.clone(), state: state.into(), detail: detail.to_owned(), ..CommandResult::default() };
        if command.id.is_empty() || command.id.len() > ID_BYTES_MAX {
            return CommandResult { id: String::new(), ..answer(State::Refused, "a command needs an id of at most 128 bytes") };
        }
        let result = match command.action {
            _ if command.not_after_ns < now.0 => answer(State::Refused, "the command is past its time"),
            Some(Action::ReportState(_)) => {
                let (host, capabilities) = report();
                CommandResult { host: Some(host), capabilities: Some(capabilities), ..answer(State::Done, "") }
            }
            Some(Action::ScanPaths(asked)) => match scan(&command.id, &asked.paths) {
                Ok(()) => answer(State::Done, ""),
                Err(why) => answer(State::Refused, &why),
            },
            None => answer(State::Refused, "this agent does not know the action"),
        };
        if self.order.len() >= RESULTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.results.remove(&oldest);
        }
        self.order.push_back(result.id.clone());
        self.results.insert(result.id.clone(), result.clone());
        result
    }
}

#[cfg(test)]
mod tests {
    use picket_proto::v1::ReportState;

    use super::*;

    fn command(id: &str, not_after_ns: i64, action: Option<Action>) -> Command {
        Command { id: id.to_owned(), not_after_ns, action }
    }

    #[test]
    fn a_command_runs_once_and_the_answer_is_kept() {
        let mut commands = Commands::default();
        let mut runs = 0;
        for _ in 0..3 {
            let result = commands.run(
                command("a", 100, Some(Action::ReportState(ReportState {}))),
                Timestamp(50),
                || {
                    runs += 1;
                    (Host::default(), CapabilityReport::default())
                },
                no_scan,
            );
            assert_eq!(result.state(), State::Done);
            assert!(result.host.is_some());
        }
        assert_eq!(runs, 1);
        for number in 0..1_000 {
            commands.run(command(&number.to_string(), 100, None), Timestamp(50), Default::default, no_scan);
        }
        assert_eq!((commands.results.len(), commands.order.len()), (RESULTS_MAX, RESULTS_MAX));
    }

    fn no_scan(_id: &str, _paths: &[String]) -> Result<(), String> {
        Err("nothing is scanned here".to_owned())
    }

    #[test]
    fn a_scan_is_taken_up_once_under_the_commands_id() {
        let (mut commands, mut taken) = (Commands::default(), Vec::new());
        let scan = |paths: &[&str]| Some(Action::ScanPaths(picket_proto::v1::ScanPaths { paths: paths.iter().map(|path| (*path).to_owned()).collect() }));
        for _ in 0..2 {
            let result = commands.run(command("c1", 100, scan(&["/srv"])), Timestamp(50), Default::default, |id, paths| {
                taken.push((id.to_owned(), paths.to_vec()));
                Ok(())
            });
            assert_eq!(result.state(), State::Done);
        }
        assert_eq!(taken, [("c1".to_owned(), vec!["/srv".to_owned()])]);
        let refused = commands.run(command("c2", 100, scan(&["/srv"])), Timestamp(50), Default::default, no_scan);
        assert_eq!((refused.state(), refused.detail.as_str()), (State::Refused, "nothing is scanned here"));
    }

    #[test]
    fn what_is_late_unknown_or_nameless_is_refused() {
        let mut commands = Commands::default();
        let report = Some(Action::ReportState(ReportState {}));
        let mut state = |command| commands.run(command, Timestamp(50), Default::default, no_scan).state();
        assert_eq!(state(command("late", 49, report.clone())), State::Refused);
        assert_eq!(state(command("unknown", 100, None)), State::Refused);
        assert_eq!(state(command("", 100, report.clone())), State::Refused);
        assert_eq!(state(command(&"x".repeat(129), 100, report)), State::Refused);
    }
}
