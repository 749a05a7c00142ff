//! What no event can say is refused by the name of the field, and what is at a limit still passes.

use picket_event::{
    Event,
    limits::{CMD_LINE_BYTES_MAX, ENVIRONMENT_VARS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, REPORT_BYTES_MAX},
};
use picket_proto::v1::{self, event::Activity};

fn with(activity: Activity) -> v1::Event {
    v1::Event { time_ns: 1, severity: 1, activity: Some(activity), ..v1::Event::default() }
}

fn file() -> v1::FileSystemActivity {
    v1::FileSystemActivity { activity_id: 14, file: Some(v1::File::default()), ..v1::FileSystemActivity::default() }
}

fn network() -> v1::NetworkActivity {
    let end = || Some(v1::Endpoint { ip: vec![127, 0, 0, 1], port: 1 });
    v1::NetworkActivity { activity_id: 1, direction: 1, transport: 6, src: end(), dst: end(), ..v1::NetworkActivity::default() }
}

fn process() -> v1::ProcessActivity {
    v1::ProcessActivity { kind: 1, process: Some(v1::Process::default()), ..v1::ProcessActivity::default() }
}

fn acted(process: v1::Process) -> v1::Event {
    v1::Event { actor: Some(process), ..with(Activity::File(file())) }
}

fn loss() -> v1::SensorLoss {
    v1::SensorLoss { cause: 1, ..v1::SensorLoss::default() }
}

fn refusal(event: v1::Event) -> String {
    Event::try_from(event).expect_err("no event").to_string()
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(refusal(v1::Event { activity: None, ..with(Activity::File(file())) }), "activity is missing");
    assert_eq!(refusal(with(Activity::File(v1::FileSystemActivity { file: None, ..file() }))), "file.file is missing");
    assert_eq!(refusal(with(Activity::Process(v1::ProcessActivity { process: None, ..process() }))), "process_activity.process is missing");
    assert_eq!(refusal(with(Activity::Network(v1::NetworkActivity { dst: None, ..network() }))), "network.dst is missing");
}

#[test]
fn unknown_numbers_are_named() {
    let unknown = |event, field: &str, value: i64| assert_eq!(refusal(event), format!("{field} is {value}, which this version does not know"));
    unknown(v1::Event { severity: 7, ..with(Activity::File(file())) }, "severity", 7);
    unknown(with(Activity::File(v1::FileSystemActivity { activity_id: 8, ..file() })), "file.activity_id", 8);
    unknown(with(Activity::File(v1::FileSystemActivity { activity_id: u32::MAX, ..file() })), "file.activity_id", u32::MAX.into());
    unknown(with(Activity::File(v1::FileSystemActivity { access: 256, ..file() })), "file.access", 256);
    unknown(with(Activity::File(v1::FileSystemActivity { file: Some(v1::File { mode: 65_536, ..v1::File::default() }), ..file() })), "file.mode", 65_536);
    unknown(with(Activity::Process(v1::ProcessActivity { kind: 0, ..process() })), "process_activity.kind", 0);
    unknown(with(Activity::Process(v1::ProcessActivity { kind: -1, ..process() })), "process_activity.kind", -1);
    unknown(acted(v1::Process { role: 9, ..v1::Process::default() }), "process.role", 9);
    unknown(with(Activity::Network(v1::NetworkActivity { direction: 3, ..network() })), "network.direction", 3);
    unknown(with(Activity::Network(v1::NetworkActivity { transport: 1, ..network() })), "network.transport", 1);
    unknown(with(Activity::Network(v1::NetworkActivity { activity_id: 3, ..network() })), "network.activity_id", 3);
    let far = Some(v1::Endpoint { ip: vec![127, 0, 0, 1], port: 65_536 });
    unknown(with(Activity::Network(v1::NetworkActivity { src: far, ..network() })), "network.src", 65_536);
    unknown(with(Activity::Loss(v1::SensorLoss { cause: 0, ..loss() })), "loss.cause", 0);
    unknown(with(Activity::Loss(v1::SensorLoss { class_uid: 1, ..loss() })), "loss.class_uid", 1);
    unknown(with(Activity::Sensor(v1::SensorState::default())), "sensor.kind", 0);
}

#[test]
fn a_broken_address_is_named() {
    let odd = Some(v1::Endpoint { ip: vec![0; 5], port: 1 });
    assert_eq!(refusal(with(Activity::Network(v1::NetworkActivity { src: odd, ..network() }))), "network.src is an address of 5 bytes");
}

#[test]
fn a_mapped_address_is_the_ipv4_one() {
    let mut mapped = vec![0; 10];
    mapped.extend([0xff, 0xff, 10, 0, 0, 1]);
    let src = Some(v1::Endpoint { ip: mapped, port: 1 });
    let event = Event::try_from(with(Activity::Network(v1::NetworkActivity { src, ..network() }))).expect("an event");
    assert!(matches!(event.activity, picket_event::Activity::Network(activity) if activity.src.ip == std::net::IpAddr::from([10, 0, 0, 1])));
}

#[test]
fn a_report_is_json() {
    let state = |report: &str| with(Activity::Sensor(v1::SensorState { kind: 3, report: String::from(report) }));
    assert_eq!(refusal(state("{")), "sensor.report is not JSON");
    // Deep nesting would overflow a recursive reader's stack.
    assert_eq!(refusal(state(&"[".repeat(40_000))), "sensor.report is not JSON");
    assert!(Event::try_from(state("{}")).is_ok());
    assert!(Event::try_from(state("")).is_ok());
}

/// A text field of a process: how to set it, its limit and its name in an error.
type Bound = (fn(&mut v1::Process, String), usize, &'static str);

const BOUNDS: &[Bound] = &[
    (|process, text| process.uid = text, NAME_BYTES_MAX, "process.uid"),
    (|process, text| process.name = text, NAME_BYTES_MAX, "process.name"),
    (|process, text| process.path = text, PATH_BYTES_MAX, "process.path"),
    (|process, text| process.cmd_line = text, CMD_LINE_BYTES_MAX, "process.cmd_line"),
    (|process, text| process.working_directory = text, PATH_BYTES_MAX, "process.working_directory"),
    (|process, text| process.cgroup = text, PATH_BYTES_MAX, "process.cgroup"),
    (|process, text| process.tty = text, NAME_BYTES_MAX, "process.tty"),
    (|process, text| process.exec_tree = text, NAME_BYTES_MAX, "process.exec_tree"),
    (|process, text| process.user = Some(v1::User { name: text, ..v1::User::default() }), NAME_BYTES_MAX, "process.user.name"),
    (|process, text| process.container = Some(v1::Container { image: text, ..v1::Container::default() }), NAME_BYTES_MAX, "process.container.image"),
    (|process, text| process.job = Some(v1::Job { step: text, ..v1::Job::default() }), NAME_BYTES_MAX, "process.job.step"),
    (
        |process, text| process.parent = Some(v1::ParentProcess { cmd_line: text, ..v1::ParentProcess::default() }),
        CMD_LINE_BYTES_MAX,
        "process.parent.cmd_line",
    ),
];

#[test]
fn every_text_has_its_limit() {
    for (set, max, field) in BOUNDS {
        let mut process = v1::Process::default();
        set(&mut process, "x".repeat(*max));
        assert!(Event::try_from(acted(process.clone())).is_ok(), "{field} at its limit");
        set(&mut process, "x".repeat(max + 1));
        assert_eq!(refusal(acted(process)), format!("{field} has length {}, more than {max}", max + 1));
    }
    let long = |bytes| "x".repeat(bytes);
    assert!(refusal(with(Activity::Loss(v1::SensorLoss { message: long(MESSAGE_BYTES_MAX + 1), ..loss() }))).starts_with("loss.message has length"));
    assert!(refusal(with(Activity::Sensor(v1::SensorState { kind: 1, report: long(REPORT_BYTES_MAX + 1) }))).starts_with("sensor.report has length"));
    assert!(
        refusal(with(Activity::File(v1::FileSystemActivity { file: Some(v1::File { path: long(PATH_BYTES_MAX + 1), ..v1::File::default() }), ..file() })))
            .starts_with("file.path has length")
    );
    let environment = vec![v1::EnvironmentVariable::default(); ENVIRONMENT_VARS_MAX + 1];
    assert!(refusal(acted(v1::Process { environment, ..v1::Process::default() })).starts_with("process.environment has length 33"));
}
