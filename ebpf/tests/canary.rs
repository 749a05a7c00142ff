//! Probes that are attached and not called any more are noticed, whoever silenced them; what can be put right is.

mod rig;

use std::process::Command;

use picket_ebpf::{Tampering, TamperingKind};
use rig::{Rig, rig_with, skipped};

fn measured(test: &str) -> Option<Rig> {
    rig_with(test, |config| config.measure_run_time = true)
}

fn replace_program(link: &str) {
    let output = Command::new("python3").args(["-c", include_str!("rig/replace_program.py"), link]).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The link of this process to the root control group by its kind, as the kernel numbers it.
fn group_link(attach_type: &str) -> Option<String> {
    let texts = std::fs::read_dir("/proc/self/fdinfo").expect("fdinfo").flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let field = |text: &str, name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let mut links =
        texts.filter(|text| field(text, "cgroup_id:").is_some_and(|group| group != "0") && field(text, "attach_type:").as_deref() == Some(attach_type));
    links.find_map(|text| field(&text, "link_id:"))
}

fn about(found: &[Tampering], program: &str) -> Vec<(TamperingKind, bool)> {
    found.iter().filter(|one| one.detail.starts_with(program)).map(|one| (one.kind, one.healed)).collect()
}

#[test]
fn every_probe_within_reach_is_called() {
    let Some(mut rig) = measured("every_probe_within_reach_is_called") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let mut canary = rig.sensor().canary(folder.path()).expect("runs are counted");
    let reached: Vec<String> = canary.programs().map(str::to_owned).collect();
    for program in ["sched_process_fork", "sched_process_exit", "sys_exit", "inet_sock_set_state"] {
        assert!(reached.iter().any(|one| one == program), "{program} is not among {reached:?}");
    }
    assert_eq!(canary.sing(), [], "of {reached:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "nothing is left behind");
}

#[test]
fn a_probe_whose_link_got_another_program_is_told_and_put_back() {
    let Some(mut rig) = measured("a_probe_whose_link_got_another_program_is_told_and_put_back") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let Some(link) = group_link("1") else { return skipped("a_probe_whose_link_got_another_program_is_told_and_put_back", "packets are not seen here") };
    let mut canary = rig.sensor().canary(folder.path()).expect("runs are counted");
    assert_eq!((canary.sing(), rig.sensor().inspect()), (Vec::new(), Vec::new()));
    replace_program(&link);
    // The link is attached as before: only what it no longer does tells.
    let found = canary.sing();
    assert_eq!(about(&found, "packet_egress"), [(TamperingKind::ProbeSilent, false)], "{found:#?}");
    assert!(found.iter().all(|one| one.subject == "udp_flow"), "{found:#?}");
    assert_eq!(canary.sing(), [], "told once");
    let found = rig.sensor().inspect();
    assert_eq!(about(&found, "packet_egress"), [(TamperingKind::ProbeDetached, true)], "{found:#?}");
    assert!(rig.sensor().probes().iter().any(|probe| probe.name == "udp_flow" && probe.attached));
    assert_eq!(about(&canary.sing(), "packet_egress"), [(TamperingKind::ProbeSilent, true)]);
    assert_eq!((canary.sing(), rig.sensor().inspect()), (Vec::new(), Vec::new()));
}

#[test]
fn functions_that_the_kernel_was_told_not_to_trace_are_silent() {
    let test = "functions_that_the_kernel_was_told_not_to_trace_are_silent";
    let Some(mut rig) = measured(test) else { return };
    let hooked = |function: &&str| rig.sensor().probes().iter().any(|probe| probe.name == "file_open" && probe.hook.contains(*function));
    let Some(opener) = ["do_filp_open", "do_file_open"].into_iter().find(hooked) else {
        return skipped(test, "no probe hooks a function on this kernel");
    };
    let folder = tempfile::tempdir().expect("folder");
    let mut canary = rig.sensor().canary(folder.path()).expect("runs are counted");
    assert_eq!(canary.sing(), []);
    let switch = "/proc/sys/kernel/ftrace_enabled";
    if let Err(error) = std::fs::write(switch, "0") {
        return skipped(test, &format!("this kernel does not let go of them: {error}"));
    }
    let found = canary.sing();
    std::fs::write(switch, "1").expect("on again");
    assert_eq!(about(&found, opener), [(TamperingKind::ProbeSilent, false)], "{found:#?}");
    assert_eq!(about(&found, "sys_exit"), [], "a tracepoint is no function: {found:#?}");
    assert_eq!(about(&canary.sing(), opener), [(TamperingKind::ProbeSilent, true)]);
}
