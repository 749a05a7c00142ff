//! Somebody with all rights on a host turns the agent off, stops it, cuts it off, or takes its eyes away: performed for real, on this kernel, against
//! the real agent, whose server must say within seconds what became of it. docs/hardening.md lists the attacks and these tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that meets a surprise ends there")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use picket_tests::{
    binaries::can_trace,
    fixture::{Agent, AgentOptions, Deployment, ServerOptions},
    proxy::Proxy,
    wait,
};
use serde_json::Value;

/// What the server promises with its defaults; here it is set to a few seconds.
const NOTICED_MAX: Duration = Duration::from_secs(60);

struct Scene {
    deployment: Deployment,
    agent: Agent,
    proxy: Proxy,
    models: PathBuf,
}

impl Scene {
    fn start(name: &str) -> Option<Self> {
        if let Some(reason) = can_trace() {
            wait::skipped(name, &reason);
            return None;
        }
        let deployment = Deployment::start(&ServerOptions { flush_interval_s: 2, silent_after_s: 6, restart_grace_s: 20, ..ServerOptions::default() }).unwrap();
        let proxy = Proxy::start(deployment.server.agent_address()).unwrap();
        let models = deployment.folder().join("models");
        std::fs::create_dir(&models).unwrap();
        let options = AgentOptions { watches: vec![(models.clone(), "model".to_owned())], heartbeat_seconds: 1, ..AgentOptions::default() };
        let mut agent = deployment.agent(proxy.address(), &options).unwrap();
        agent.run().unwrap();
        let scene = Self { deployment, agent, proxy, models };
        scene.becomes("connected", |host| !host["stateSince"].is_null());
        Some(scene)
    }

    fn host(&self) -> anyhow::Result<Value> {
        let hosts: Value = serde_json::from_str(&self.deployment.ctl.text(&["hosts", "list", "--format", "json"])?)?;
        Ok(match hosts {
            Value::Array(mut hosts) => hosts.pop().unwrap_or_default(),
            host => host,
        })
    }

    /// Waits until the host is in that state and `holds`.
    fn becomes(&self, state: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let wanted = format!("STATE_{}", state.to_uppercase());
        let found = wait::until(&format!("the host is {state}"), NOTICED_MAX, || {
            let host = self.host()?;
            if host["state"] == *wanted && holds(&host) {
                return Ok(Some(host));
            }
            anyhow::bail!("{} {} {}", host["state"], host["stateReason"], host["problems"])
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.agent.log()))
    }

    /// Loss events of that cause, once there is one that `holds`.
    fn told(&self, cause: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let found = wait::until(&format!("a loss because of {cause}"), Duration::from_secs(30), || {
            let rows = self.deployment.ctl.search("activity:loss", 500)?;
            let found = rows.iter().find(|row| row["status_code"] == cause && holds(row)).cloned();
            found.map_or_else(|| anyhow::bail!("{}", Value::from(rows)), |row| Ok(Some(row)))
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.agent.log()))
    }

    /// Rules of the findings about this host's sensor with their activity, oldest first.
    fn findings(&self) -> Vec<(u64, String)> {
        let mut rows = self.deployment.ctl.search("class:finding rule:picket.sensor.*", 100).unwrap();
        rows.reverse();
        rows.iter().map(|row| (row["activity_id"].as_u64().unwrap(), row["finding_info"]["analytic"]["uid"].as_str().unwrap().to_owned())).collect()
    }

    /// A file of the watched tree is made and seen: the sensor works.
    fn sees(&self, name: &str) {
        let path = self.models.join(name);
        let found = wait::until(&format!("{name} is seen"), Duration::from_secs(20), || {
            std::fs::write(&path, b"weights")?;
            std::fs::remove_file(&path)?;
            std::thread::sleep(Duration::from_millis(500));
            let rows = self.deployment.ctl.search(&format!("class:file file.path:{}", path.display()), 10)?;
            Ok((!rows.is_empty()).then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.agent.log()));
    }
}

/// What `bpftool` says, as JSON; `None` where it is not installed.
fn bpftool(arguments: &[&str]) -> Option<Value> {
    let output = Command::new("bpftool").arg("--json").args(arguments).output().ok()?;
    assert!(output.status.success(), "bpftool {arguments:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

/// The agent's own maps, by name: other tests have agents with maps of the same names.
fn map_ids(pid: u32, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:")).map(|id| id.trim().to_owned());
        if let Some(id) = id
            && let Some(map) = bpftool(&["map", "show", "id", &id])
            // The kernel keeps 15 bytes of a name.
            && map["name"].as_str() == name.get(..15).or(Some(name))
            && !found.contains(&id)
        {
            found.push(id);
        }
    }
    found
}

#[test]
fn a_killed_agent_is_silent() {
    let Some(mut scene) = Scene::start("a_killed_agent_is_silent") else { return };
    let began = Instant::now();
    scene.agent.kill().unwrap();
    let host = scene.becomes("silent", |_| true);
    eprintln!("silent {} ms after SIGKILL with silent_after_s = 6", began.elapsed().as_millis());
    assert!(host["stateReason"].as_str().unwrap().contains("without a goodbye"), "{host}");
    let table = scene.deployment.ctl.text(&["hosts", "list"]).unwrap();
    assert!(table.contains("SILENT"), "{table}");
    // Whoever restarts it sees it come back, and the server closes what it opened.
    scene.agent.run().unwrap();
    scene.becomes("connected", |_| true);
    scene.told("agent_down", |_| true);
    wait::until("the finding is closed", Duration::from_secs(10), || Ok((scene.findings().len() == 2).then_some(()))).unwrap();
    let rule = "picket.sensor.silent".to_owned();
    assert_eq!(scene.findings(), [(1, rule.clone()), (3, rule)]);
    // And ends in order: that is no silence.
    scene.agent.stop().unwrap();
    scene.becomes("stopped", |_| true);
}

#[test]
fn a_stopped_agent_is_silent_and_tells_its_pause() {
    let Some(scene) = Scene::start("a_stopped_agent_is_silent_and_tells_its_pause") else { return };
    scene.agent.signal(Signal::SIGSTOP).unwrap();
    let host = scene.becomes("silent", |_| true);
    assert!(host["stateReason"].as_str().unwrap().contains("carries nothing"), "{host}");
    scene.agent.signal(Signal::SIGCONT).unwrap();
    // It comes back, says that it did not run, and from when to when.
    let blinded = scene.becomes("blinded", |_| true);
    assert_eq!(blinded["problems"][0]["cause"], "agent_paused", "{blinded}");
    let loss = scene.told("sensor_tampered", |row| row["message"].to_string().contains("did not run"));
    let span = loss["end_time"].as_i64().unwrap() - loss["start_time"].as_i64().unwrap();
    assert!(span >= 5_000, "{loss}");
    scene.becomes("connected", |_| true);
    // The signal itself was seen, and who sent it.
    wait::until("who stopped it", Duration::from_secs(10), || {
        let rows = scene.deployment.ctl.search("operation:kill", 100)?;
        let own = std::process::id();
        Ok(rows.iter().any(|row| row.to_string().contains("SIGSTOP") && row["actor"]["process"]["pid"] == own).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_cut_off_agent_is_silent_and_loses_nothing() {
    let Some(scene) = Scene::start("a_cut_off_agent_is_silent_and_loses_nothing") else { return };
    scene.proxy.stall();
    scene.becomes("silent", |_| true);
    let path = scene.models.join("while-cut-off.safetensors");
    std::fs::write(&path, b"weights").unwrap();
    // A stalled connection is not broken: the agent finds out by itself, or when it breaks.
    scene.proxy.cut();
    scene.proxy.join();
    scene.becomes("connected", |_| true);
    wait::until("what happened meanwhile arrives", Duration::from_secs(30), || {
        let rows = scene.deployment.ctl.search(&format!("class:file file.path:{}", path.display()), 10)?;
        Ok((!rows.is_empty()).then_some(()))
    })
    .unwrap();
}

#[test]
fn detached_links_are_told_and_attached_again_where_the_agent_may() {
    let test = "detached_links_are_told_and_attached_again_where_the_agent_may";
    let Some(scene) = Scene::start(test) else { return };
    let (link, sock) = (|program| group_link(scene.agent.pid().unwrap(), program), ["sock_create", "post_bind4"]);
    if bpftool(&["version"]).is_none() {
        return wait::skipped(test, "bpftool is not installed");
    }
    let Some(before) = link("sock_create") else { return wait::skipped(test, "this kernel refuses the probes on control groups") };
    for program in sock {
        let _ = bpftool(&["link", "detach", "id", &link(program).unwrap()]);
    }
    let blinded = scene.becomes("blinded", |host| host["problems"].as_array().is_some_and(|problems| problems.len() >= 2));
    for problem in blinded["problems"].as_array().unwrap() {
        assert_eq!((&problem["cause"], &problem["healed"]), (&Value::from("probe_detached"), &Value::from(true)), "{blinded}");
    }
    let after = wait::until("it is attached again", Duration::from_secs(10), || Ok(link("sock_create").filter(|id| *id != before))).unwrap();
    assert_ne!(before, after);
    let loss = scene.told("probe_detached", |row| row["message"].to_string().contains("udp_bind"));
    assert!(loss["end_time"].as_i64() > loss["start_time"].as_i64() && loss["count"].is_null(), "{loss}");
    scene.becomes("connected", |_| true);
    // What the agent has no right to attach once it dropped its privileges stays a problem until it is restarted.
    let _ = bpftool(&["link", "detach", "id", &link("packet_egress").unwrap()]);
    let blinded = scene.becomes("blinded", |_| true);
    let lasting = blinded["problems"].as_array().unwrap().iter().find(|problem| problem["subject"] == "udp_flow" && problem["healed"] != true).cloned();
    assert!(lasting.is_some(), "{blinded}");
    let shown = scene.deployment.ctl.text(&["hosts", "show", blinded["deviceUid"].as_str().unwrap()]).unwrap();
    for word in ["BLINDED", "udp_flow", "probe_detached"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
}

#[test]
fn a_link_that_got_another_program_is_told_and_put_back() {
    let test = "a_link_that_got_another_program_is_told_and_put_back";
    let Some(scene) = Scene::start(test) else { return };
    if bpftool(&["version"]).is_none() {
        return wait::skipped(test, "bpftool is not installed");
    }
    let link = || group_link(scene.agent.pid().unwrap(), "packet_egress");
    let Some(before) = link() else { return wait::skipped(test, "this kernel refuses the probes on control groups") };
    let script = include_str!("../../ebpf/tests/rig/replace_program.py");
    let output = Command::new("python3").args(["-c", script, &before]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told =
        |host: &Value| host["problems"].as_array().is_some_and(|problems| problems.iter().any(|one| one["subject"] == "udp_flow" && one["healed"] == true));
    let blinded = scene.becomes("blinded", told);
    assert!(blinded["stateReason"].to_string().contains("stood in its place"), "{blinded}");
    scene.told("probe_detached", |row| row["message"].to_string().contains("packet_egress"));
    assert_eq!(link().as_ref(), Some(&before), "the same link runs the agent's program again, without the right to attach one");
    scene.becomes("connected", |_| true);
}

/// Id of the link that attaches the agent's program of that name to the control group.
fn group_link(pid: u32, program: &str) -> Option<String> {
    let mut programs = Vec::new();
    let read = |fd: &Path| std::fs::read_to_string(fd).unwrap_or_default();
    let field = |text: &str, label: &str| text.lines().find_map(|line| line.strip_prefix(label)).map(|value| value.trim().to_owned());
    let entries: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?.flatten().map(|entry| read(&entry.path())).collect();
    for text in entries.iter().filter(|text| !text.contains("link_id:")) {
        if let Some(id) = field(text, "prog_id:")
            && bpftool(&["prog", "show", "id", &id])?["name"] == *program
        {
            programs.push(id);
        }
    }
    let of = |text: &&String| field(text, "prog_id:").is_some_and(|id| programs.contains(&id)) && field(text, "cgroup_id:").is_some_and(|id| id != "0");
    field(entries.iter().find(of)?, "link_id:")
}

#[test]
fn maps_changed_from_outside_are_told_and_put_right() {
    let test = "maps_changed_from_outside_are_told_and_put_right";
    let Some(scene) = Scene::start(test) else { return };
    if bpftool(&["version"]).is_none() {
        return wait::skipped(test, "bpftool is not installed");
    }
    scene.sees("before.safetensors");
    let pid = scene.agent.pid().unwrap();
    let id = |name: &str| map_ids(pid, name).pop().unwrap_or_else(|| panic!("the agent has no map {name}"));
    // Every watch is taken out.
    let roots = id("picket_roots");
    let entries = bpftool(&["map", "dump", "id", &roots]).unwrap();
    for entry in entries.as_array().unwrap() {
        let mut arguments = vec!["map", "delete", "id", &roots, "key"];
        let key: Vec<String> = entry["key"].as_array().map(|bytes| bytes.iter().map(|byte| byte.as_str().unwrap().to_owned()).collect()).unwrap_or_else(|| {
            let key = entry["formatted"]["key"].as_u64().or_else(|| entry["key"].as_u64()).unwrap();
            key.to_ne_bytes().iter().map(|byte| format!("{byte:#04x}")).collect()
        });
        arguments.extend(key.iter().map(String::as_str));
        let _ = bpftool(&arguments);
    }
    let blinded = scene.becomes("blinded", |_| true);
    assert_eq!(
        (&blinded["problems"][0]["cause"], &blinded["problems"][0]["subject"]),
        (&Value::from("map_changed"), &Value::from("picket_roots")),
        "{blinded}"
    );
    scene.told("sensor_tampered", |row| row["message"].to_string().contains("picket_roots"));
    scene.sees("after-roots.safetensors");
    // What is watched is overwritten with nothing.
    let config = id("picket_config");
    let zeros = vec!["0"; 96];
    let mut arguments = vec!["map", "update", "id", &config, "key", "0", "0", "0", "0", "value"];
    arguments.extend(zeros);
    let _ = bpftool(&arguments);
    scene.told("sensor_tampered", |row| row["message"].to_string().contains("picket_config"));
    scene.sees("after-config.safetensors");
}

#[test]
fn maps_that_nobody_needs_to_write_are_frozen() {
    let test = "maps_that_nobody_needs_to_write_are_frozen";
    let Some(scene) = Scene::start(test) else { return };
    if bpftool(&["version"]).is_none() {
        return wait::skipped(test, "bpftool is not installed");
    }
    let pid = scene.agent.pid().unwrap();
    let own = std::process::id().to_ne_bytes().map(|byte| byte.to_string());
    // Whoever enters himself here is not seen any more; whoever empties the table of system calls blinds most probes.
    for (map, change) in [("picket_own", "update"), ("picket_on_exit", "delete"), ("picket_extensions", "update"), ("picket_counters", "update")] {
        let ids = map_ids(pid, map);
        assert!(!ids.is_empty(), "the agent has no map {map}");
        for id in ids {
            let mut command = Command::new("bpftool");
            command.args(["map", change, "id", &id, "key"]);
            match map {
                "picket_extensions" => command.args(["0"; 16]),
                "picket_on_exit" => command.args(["1", "0", "0", "0"]),
                _ => command.args(&own),
            };
            if change == "update" {
                command.args(["value", "1", "0", "0", "0"]);
            }
            let output = command.output().unwrap();
            assert!(!output.status.success(), "{map} was changed");
            let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).to_lowercase();
            assert!(said.contains("not permitted") || map == "picket_counters", "{map}: {said}");
        }
    }
    scene.sees("still-seen.safetensors");
}

#[test]
fn a_configuration_that_disappears_is_told_and_the_agent_goes_on() {
    let Some(mut scene) = Scene::start("a_configuration_that_disappears_is_told_and_the_agent_goes_on") else { return };
    let (file, away) = (scene.agent.config(), scene.agent.config().with_extension("away"));
    std::fs::rename(&file, &away).unwrap();
    let host = scene.becomes("connected", |host| host["problems"].as_array().is_some_and(|problems| !problems.is_empty()));
    assert_eq!(host["problems"][0]["cause"], "config_missing", "{host}");
    scene.sees("without-configuration.safetensors");
    std::fs::rename(&away, &file).unwrap();
    scene.becomes("connected", |host| host["problems"].as_array().is_none_or(Vec::is_empty));
    scene.agent.stop().unwrap();
}

#[test]
fn a_program_that_is_renamed_is_told_and_the_agent_goes_on() {
    let Some(mut scene) = Scene::start("a_program_that_is_renamed_is_told_and_the_agent_goes_on") else { return };
    scene.agent.stop().unwrap();
    let program = scene.agent.own_program().unwrap();
    scene.agent.run().unwrap();
    let no_problems = |host: &Value| host["problems"].as_array().is_none_or(Vec::is_empty);
    scene.becomes("connected", no_problems);
    let away = program.with_extension("away");
    std::fs::rename(&program, &away).unwrap();
    let host = scene.becomes("connected", |host| !no_problems(host));
    assert_eq!(host["problems"][0]["cause"], "program_missing", "{host}");
    scene.sees("without-program.safetensors");
    std::fs::rename(&away, &program).unwrap();
    scene.becomes("connected", no_problems);
    scene.agent.stop().unwrap();
}

/// Takes one thread by its number and holds it still until the input ends.
const HOLD: &str = "import ctypes, sys\n\
    libc = ctypes.CDLL(None, use_errno=True)\n\
    libc.ptrace.argtypes = [ctypes.c_long] * 4\n\
    for request in (0x4206, 0x4207):\n    \
        assert libc.ptrace(request, int(sys.argv[1]), 0, 0) == 0, ctypes.get_errno()\n\
    sys.stdin.read()";

#[test]
fn a_thread_that_a_tracer_holds_still_is_told() {
    let Some(scene) = Scene::start("a_thread_that_a_tracer_holds_still_is_told") else { return };
    let threads = std::fs::read_dir(format!("/proc/{}/task", scene.agent.pid().unwrap())).unwrap().flatten();
    let reader = threads.into_iter().find(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == "sensor")).unwrap();
    let mut tracer = Command::new("python3").args(["-c", HOLD]).arg(reader.file_name()).stdin(Stdio::piped()).spawn().unwrap();
    let causes = |host: &Value| -> Vec<String> {
        host["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|problem| problem["healed"] != true)
            .map(|problem| problem["cause"].as_str().unwrap().to_owned())
            .collect()
    };
    let blinded = scene.becomes("blinded", |host| ["traced", "reader_stuck"].iter().all(|cause| causes(host).iter().any(|one| one == cause)));
    assert!(blinded["problems"].to_string().contains("python3"), "the tracer is named: {blinded}");
    let pid = tracer.id();
    drop(tracer.stdin.take());
    assert!(tracer.wait().unwrap().success());
    scene.becomes("connected", |_| true);
    scene.told("sensor_tampered", |row| row["message"].to_string().contains("nothing is read from the kernel"));
    // The ring kept what happened meanwhile: the call itself, and whose it was.
    wait::until("the call is told", Duration::from_secs(20), || {
        let rows = scene.deployment.ctl.search("method:ptrace", 100)?;
        Ok(rows.iter().any(|row| row["actor"]["process"]["pid"] == pid).then_some(()))
    })
    .unwrap();
}
