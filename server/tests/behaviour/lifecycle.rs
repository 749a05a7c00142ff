//! Start, stop, and what survives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::support::TestServer;
use picket_proto::v1::{AgentMessage, agent_message::Message as Up, server_message::Message as Down};
use picket_server::{
    serve::{Running, ServeError},
    state::InstanceError,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_keeps_everything_acknowledged() {
    let mut server = TestServer::start().await;
    let (mut acknowledged, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let device = server.enrol().await;
        let mut session = server.session(&device).await;
        let seq = Arc::new(AtomicU64::new(0));
        acknowledged.push((device.uid.clone(), Arc::clone(&seq)));
        let up = session.up.clone();
        let batches: Vec<_> = (0..400_u64).map(|n| session.batch(1 + n * 50, 50)).collect();
        tasks.push(tokio::spawn(async move {
            for batch in batches {
                if up.send(AgentMessage { message: Some(Up::Batch(batch)) }).await.is_err() {
                    return;
                }
            }
        }));
        tasks.push(tokio::spawn(async move {
            while let Ok(Down::Ack(ack)) = session.next().await {
                seq.store(ack.seq, Ordering::Relaxed);
            }
        }));
    }
    while acknowledged.iter().any(|(_, seq)| seq.load(Ordering::Relaxed) == 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop().await;
    for task in tasks {
        task.await.unwrap();
    }
    server.restart().await;
    let admin = server.admin().await;
    for (device, seq) in acknowledged {
        let stored = admin.host(&device).await.events_stored;
        let acked = seq.load(Ordering::Relaxed);
        assert!(stored >= acked, "{device}: {stored} stored, {acked} acknowledged");
        let sql = format!("SELECT count(*), count(DISTINCT metadata_sequence), max(metadata_sequence) FROM events WHERE device_uid = '{device}'");
        let request = admin.with(picket_proto::v1::SqlRequest { sql, ..Default::default() });
        let mut parts = admin.events().sql(request).await.unwrap().into_inner();
        parts.message().await.unwrap();
        let Some(picket_proto::v1::sql_response::Part::Rows(rows)) = parts.message().await.unwrap().unwrap().part else { panic!("not rows") };
        let row = picket_proto::values::from_list(rows.rows[0].clone());
        assert_eq!(row, [serde_json::json!(stored), serde_json::json!(stored), serde_json::json!(stored)], "each once, without gaps");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_a_state_folder() {
    let server = TestServer::start().await;
    match Running::start(&server.config).await {
        Err(ServeError::Instance(InstanceError::Running(_))) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two servers on one folder"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = server.config.clone();
    config.state_dir = folder.path().join("state");
    config.agents.listen = server.running().agents();
    let Err(error) = Running::start(&config).await else { panic!("two servers on one port") };
    assert!(error.to_string().contains("[agents] listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_folder_is_private_and_announces_the_ports() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start().await;
    let mode = |name: &str| std::fs::metadata(server.state_dir().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("ca"), mode("ca/root.key"), mode("listening.json")), (0o700, 0o700, 0o600, 0o600));
    let announced: serde_json::Value = serde_json::from_slice(&std::fs::read(server.state_dir().join("listening.json")).unwrap()).unwrap();
    assert_eq!(announced["agents"], server.running().agents().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_certificate_is_replaced_while_it_runs() {
    let server = TestServer::start_with(|config| config.tls.certificate_lifetime_s = 6).await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, 1).await;
    // Past the first certificate's end.
    tokio::time::sleep(Duration::from_secs(7)).await;
    session.store(2, 1).await;
    server.session(&device).await.store(1, 1).await;
}
