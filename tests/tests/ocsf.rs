//! Every event that the real kernel gave and the real server stored is valid OCSF 1.8.0.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{collections::BTreeMap, process::Command, time::Duration};

use picket_tests::{
    binaries::can_trace,
    fixture::{AgentOptions, Deployment, ServerOptions},
    host_load::write_safetensors,
    ocsf_schema::Schema,
    wait,
};

#[test]
fn every_kind_of_event_of_this_kernel_validates() {
    const NAME: &str = "every_kind_of_event_of_this_kernel_validates";
    if let Some(reason) = can_trace() {
        return wait::skipped(NAME, &reason);
    }
    let Some(schema) = Schema::load() else { return wait::skipped(NAME, "the published OCSF schema is not beside the project (set PICKET_SHARED)") };
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let mut agent = deployment.agent(deployment.server.agent_address(), &AgentOptions::default()).unwrap();
    agent.run().unwrap();
    act(&deployment);
    let wanted = [(1007, 1), (1007, 2), (1001, 1), (1001, 3), (1001, 4), (1001, 5), (1001, 14), (4001, 1), (4001, 2), (5002, 1), (1008, 6)];
    let kinds = "SELECT class_uid, activity_id, count(*) AS times FROM events GROUP BY class_uid, activity_id";
    wait::until("every kind is stored", Duration::from_secs(30), || {
        let rows = deployment.ctl.sql(kinds)?;
        let missing: Vec<_> =
            wanted.iter().filter(|(class, activity)| !rows.iter().any(|row| row["class_uid"] == *class && row["activity_id"] == *activity)).collect();
        if missing.is_empty() { Ok(Some(())) } else { anyhow::bail!("missing {missing:?}") }
    })
    .unwrap();
    agent.stop().unwrap();
    let events = deployment.ctl.search("", 10_000).unwrap();
    let mut checked = BTreeMap::<(u64, u64), u32>::new();
    for event in &events {
        let problems = schema.validate(event);
        assert!(problems.is_empty(), "{problems:#?}\n{event:#}");
        *checked.entry((event["class_uid"].as_u64().unwrap(), event["activity_id"].as_u64().unwrap())).or_default() += 1;
    }
    for kind in wanted {
        assert!(checked.contains_key(&kind), "search gave no {kind:?} among {checked:?}");
    }
    eprintln!("validated {checked:?}");
}

/// One of everything that the sensor can see.
fn act(deployment: &Deployment) {
    let folder = deployment.folder();
    let (one, two) = (folder.join("one.safetensors"), folder.join("two.safetensors"));
    write_safetensors(&one, 4096).unwrap();
    std::fs::read(&one).unwrap();
    std::fs::rename(&one, &two).unwrap();
    std::fs::remove_file(&two).unwrap();
    assert!(Command::new("/bin/true").status().unwrap().success());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    drop(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    drop(listener.accept().unwrap());
}
