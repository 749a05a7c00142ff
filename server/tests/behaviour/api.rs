//! The API: who may call, that every call is recorded, and that all its faces tell the same.

use std::time::Duration;

use crate::support::{Admin, TestServer, with_token};
use picket_proto::{
    v1::{self, agent_message::Message as Up, auth_client::AuthClient, hosts_client::HostsClient, sql_response::Part},
    values,
};
use serde_json::json;
use tonic::Code;

async fn with_events(count: u32) -> (TestServer, Admin, crate::support::Session, crate::support::Device) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let mut session = server.session(&device).await;
    session.store(1, count).await;
    (server, admin, session, device)
}

/// The audit log has a place for a read once it has ended: waited for.
async fn audited(admin: &Admin, method: &str, outcome: &str) -> v1::AuditEntry {
    for _ in 0..200 {
        if let Some(entry) = admin.audit().await.into_iter().find(|entry| entry.method == method && entry.outcome == outcome) {
            return entry;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{method} {outcome} is not in the audit log: {:?}", admin.audit().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_without_a_good_token() {
    let server = TestServer::start_with(|config| config.api.token_lifetime_s = 60).await;
    let admin = server.admin().await;
    let channel = admin.channel.clone();
    let mut hosts = HostsClient::new(channel.clone());
    assert_eq!(hosts.list(v1::ListHostsRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    let mut forged = admin.token.clone();
    forged.pop();
    let enrolment = server.token().await;
    for token in [forged.as_str(), "pk1.AAAAAAAAAAAA.guess", "x", &enrolment] {
        let refused = hosts.list(with_token(token, v1::ListHostsRequest {})).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token}");
        assert!(!refused.message().contains(token));
    }
    hosts.list(admin.with(v1::ListHostsRequest {})).await.unwrap();
    let denied = audited(&admin, "picket.v1.Hosts/List", "unauthenticated").await;
    assert_eq!((denied.user.as_str(), denied.peer_address.as_str()), ("", "127.0.0.1"));
    assert_eq!(audited(&admin, "picket.v1.Hosts/List", "ok").await.user, "admin");

    // The agents' services are not here, and a method that does not exist does nothing.
    assert_eq!(server.post("/api/picket.v1.Enrolment/Enrol", None, "{}").await.status, 404);
    assert_eq!(server.post("/api/picket.v1.Hosts/Destroy", Some(&admin.token), "{}").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_code_works_once_and_sign_out_ends_the_token() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let deployment = picket_server::serve::Deployment::open(&server.config).await.unwrap();
    let code = deployment.sign_in_code(60).await.unwrap();
    let late = deployment.sign_in_code(1).await.unwrap();
    assert_eq!(code.split('.').count(), 4, "it carries the pin");
    let mut auth = AuthClient::new(admin.channel.clone());
    let request = |code: &str| v1::SignInRequest { code: code.to_owned(), label: "laptop".to_owned() };
    let second = auth.sign_in(request(&code)).await.unwrap().into_inner();
    assert_eq!(auth.sign_in(request(&code)).await.unwrap_err().code(), Code::Unauthenticated);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(auth.sign_in(request(&late)).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(auth.who_am_i(with_token(&second.token, v1::WhoAmIRequest {})).await.unwrap().into_inner().role, "admin");
    auth.sign_out(with_token(&second.token, v1::SignOutRequest {})).await.unwrap();
    assert_eq!(auth.who_am_i(with_token(&second.token, v1::WhoAmIRequest {})).await.unwrap_err().code(), Code::Unauthenticated);
    auth.who_am_i(admin.with(v1::WhoAmIRequest {})).await.unwrap();
    // Whoever guesses codes is slowed down and seen.
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(auth.sign_in(request("ps1.AAAAAAAAAAAA.guess")).await.unwrap_err().code());
    }
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
    admin.refusals_of("bad_token").await;
    deployment.state.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_restart_and_secrets_are_not_stored() {
    let mut server = TestServer::start().await;
    let admin = server.admin().await;
    let enrolment = server.token().await;
    server.restart().await;
    let channel = server.channel(server.running().api(), None).await.unwrap();
    AuthClient::new(channel).who_am_i(admin.with(v1::WhoAmIRequest {})).await.unwrap();
    server.stop().await;
    let mut stored = Vec::new();
    for entry in std::fs::read_dir(server.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            stored.extend(std::fs::read(path).unwrap());
        }
    }
    for token in [&admin.token, &enrolment] {
        let secret = token.split('.').nth(2).unwrap();
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_pages_to_the_end() {
    let (_server, admin, _session, device) = with_events(25).await;
    let mut request = v1::SearchRequest { query: "safetensors".to_owned(), limit: 10, ..Default::default() };
    let mut events = Vec::new();
    loop {
        let page = admin.events().search(admin.with(request.clone())).await.unwrap().into_inner();
        assert!(page.events.len() <= 10);
        events.extend(page.events.into_iter().map(values::from_struct));
        if page.cursor.is_empty() {
            break;
        }
        request.cursor = page.cursor;
    }
    assert_eq!(events.len(), 25);
    let paths: std::collections::BTreeSet<_> = events.iter().map(|event| event["file"]["path"].to_string()).collect();
    assert_eq!(paths.len(), 25);
    assert!(events.iter().all(|event| event["device"]["uid"] == device.uid.as_str() && event["class_uid"] == 1001));
    let bad = v1::SearchRequest { query: "file_path:(".to_owned(), ..Default::default() };
    assert_eq!(admin.events().search(admin.with(bad)).await.unwrap_err().code(), Code::InvalidArgument);
    let far = v1::SearchRequest { limit: 10_001, ..Default::default() };
    assert_eq!(admin.events().search(admin.with(far)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_what_was_just_acknowledged() {
    let (_server, admin, mut session, _device) = with_events(3).await;
    let mut tail = admin.events().tail(admin.with(v1::TailRequest { query: "safetensors".to_owned(), last: 2 })).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(tail.message().await.unwrap().unwrap().events);
    }
    session.store(4, 2).await;
    while seen.len() < 4 {
        let more = tokio::time::timeout(crate::support::PATIENCE, tail.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(more.missed, 0);
        seen.extend(more.events);
    }
    let paths: Vec<_> = seen.into_iter().map(values::from_struct).map(|event| event["file"]["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths[2..], ["/models/4.safetensors", "/models/5.safetensors"]);
    // A call that lasts is recorded while it lasts, and its end when its caller goes.
    assert_eq!(admin.audit().await.iter().find(|entry| entry.method == "picket.v1.Events/Tail").unwrap().outcome, "begun");
    drop(tail);
    assert_eq!(audited(&admin, "picket.v1.Events/Tail", "canceled").await.target, "safetensors");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_answers_columns_rows_statistics() {
    let (_server, admin, _session, _device) = with_events(30).await;
    let sql = |sql: &str, row_limit| v1::SqlRequest { sql: sql.to_owned(), row_limit, timeout_s: 30 };
    let request = sql("SELECT count(*) AS n, max(file_inode) AS last FROM events", 0);
    let mut parts = admin.events().sql(admin.with(request)).await.unwrap().into_inner();
    let Some(Part::Columns(columns)) = parts.message().await.unwrap().unwrap().part else { panic!("not columns") };
    assert_eq!(columns.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["n", "last"]);
    let Some(Part::Rows(rows)) = parts.message().await.unwrap().unwrap().part else { panic!("not rows") };
    assert_eq!(values::from_list(rows.rows[0].clone()), [json!(30), json!(30)]);
    let Some(Part::Stats(stats)) = parts.message().await.unwrap().unwrap().part else { panic!("not statistics") };
    assert_eq!((stats.rows, stats.truncated), (1, false));
    assert!(parts.message().await.unwrap().is_none());

    let mut parts = admin.events().sql(admin.with(sql("SELECT file_path FROM events", 7))).await.unwrap().into_inner();
    let (mut rows, mut truncated) = (0, false);
    while let Some(message) = parts.message().await.unwrap() {
        match message.part.unwrap() {
            Part::Rows(chunk) => rows += chunk.rows.len(),
            Part::Stats(stats) => truncated = stats.truncated,
            Part::Columns(_) => {}
        }
    }
    assert_eq!((rows, truncated), (7, true));

    for hostile in [
        "DROP TABLE events",
        "CREATE TABLE x AS SELECT 1",
        "COPY events TO '/tmp/x.csv' STORED AS CSV",
        "SELECT nothing FROM events",
        "INSERT INTO events VALUES (1)",
    ] {
        let refused = match admin.events().sql(admin.with(sql(hostile, 0))).await {
            Err(status) => status,
            Ok(parts) => parts.into_inner().message().await.expect_err(hostile),
        };
        assert_eq!(refused.code(), Code::InvalidArgument, "{hostile}: {}", refused.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_tells_what_grpc_tells() {
    let (server, admin, _session, device) = with_events(5).await;
    let token = Some(admin.token.as_str());
    let host = server.post("/api/picket.v1.Hosts/Show", token, &json!({ "host": device.uid }).to_string()).await;
    assert_eq!(host.status, 200, "{}", host.body);
    assert!(host.headers.contains("content-type: application/json") && host.headers.contains("cache-control: no-store"), "{}", host.headers);
    let grpc = admin.host(&device.uid).await;
    assert_eq!(host.json()["deviceUid"], grpc.device_uid.as_str());
    assert_eq!(host.json()["eventsStored"], grpc.events_stored.to_string());
    assert_eq!(host.json()["state"], "STATE_CONNECTED");

    let found = server.post("/api/picket.v1.Events/Search", token, r#"{"query": "safetensors", "limit": 3}"#).await.json();
    let request = v1::SearchRequest { query: "safetensors".to_owned(), limit: 3, ..Default::default() };
    let grpc = admin.events().search(admin.with(request)).await.unwrap().into_inner();
    let grpc: Vec<_> = grpc.events.into_iter().map(values::from_struct).collect();
    let same = |a: &serde_json::Value, b: &serde_json::Value| a["file"]["path"] == b["file"]["path"] && a["class_uid"].as_f64() == b["class_uid"].as_f64();
    let json = found["events"].as_array().unwrap();
    assert!(json.len() == 3 && json.iter().zip(&grpc).all(|(a, b)| same(a, b)), "{found}");

    let lines = server.post("/api/picket.v1.Events/Sql", token, r#"{"sql": "SELECT count(*) AS n FROM events"}"#).await.lines();
    assert_eq!(lines[1]["rows"]["rows"][0][0].as_f64(), Some(5.0), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_errors_have_codes_and_places() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let token = Some(admin.token.as_str());
    let typo = server.post("/api/picket.v1.Events/Search", token, "{\n \"querry\": \"x\"}").await;
    assert_eq!((typo.status, &typo.json()["code"]), (400, &json!("invalid_argument")));
    let message = typo.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("querry") && message.contains("line 2"), "{message}");
    let missing = server.post("/api/picket.v1.Hosts/Show", token, r#"{"host": "nobody"}"#).await;
    assert_eq!((missing.status, &missing.json()["code"]), (404, &json!("not_found")));
    let nobody = server.post("/api/picket.v1.Hosts/List", None, "{}").await;
    assert_eq!((nobody.status, &nobody.json()["code"]), (401, &json!("unauthenticated")));
    let trailing = server.post("/api/picket.v1.Hosts/List", token, "{} {}").await;
    assert_eq!(trailing.status, 400);
    let form = server.request("POST /api/picket.v1.Hosts/List", token, "content-type: text/plain\r\ncontent-length: 2\r\n", "{}").await;
    assert_eq!(form.status, 400);
    assert_eq!(server.get("/api/picket.v1.Hosts/List", token).await.status, 405);
    let bad_sql = server.post("/api/picket.v1.Events/Sql", token, r#"{"sql": "SELEC 1"}"#).await;
    assert_eq!((bad_sql.status, &bad_sql.json()["code"]), (400, &json!("invalid_argument")));
    let large = server.request("POST /api/picket.v1.Events/Search", token, "content-type: application/json\r\ncontent-length: 2000000\r\n", "").await;
    assert_eq!(large.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_answers_browsers() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let headers = "content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: 5\r\n";
    let answer = server.request("POST /picket.v1.Auth/WhoAmI", None, headers, "\0\0\0\0\0").await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.contains("grpc-status: 16"), "{}", answer.headers);
    let line = format!("authorization: Bearer {}\r\n{headers}", admin.token);
    let answer = server.request("POST /picket.v1.Auth/WhoAmI", None, &line, "\0\0\0\0\0").await;
    assert!(answer.body.contains("admin") && answer.body.contains("grpc-status:0"), "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_streams_everything_that_matches() {
    let (server, admin, mut session, _device) = with_events(2_000).await;
    session.store(2_001, 1_500).await;
    let token = Some(admin.token.as_str());
    let all = server.get("/export/events.ndjson?query=safetensors", token).await.lines();
    assert_eq!(all.len(), 3_500);
    assert_eq!(all[0]["metadata"]["version"], "1.8.0");
    assert_eq!(server.get("/export/events.ndjson?limit=1200", token).await.lines().len(), 1_200);
    assert_eq!(server.get("/export/events.ndjson?since=2100-01-01T00:00:00Z", token).await.lines().len(), 0);
    assert_eq!(server.get("/export/events.ndjson", None).await.status, 401);
    assert_eq!(server.get("/export/events.ndjson?since=yesterday", token).await.status, 400);
    assert_eq!(server.get("/export/events.ndjson?querry=x", token).await.status, 400);
    audited(&admin, "export/events.ndjson", "ok").await;
    audited(&admin, "export/events.ndjson", "unauthenticated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_recorded_with_its_object() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let device = server.enrol().await;
    let created = admin.tokens().create(admin.with(v1::CreateTokenRequest { ttl_s: 60, label: "rack 4".into() })).await.unwrap().into_inner();
    admin.hosts().revoke(admin.with(v1::RevokeHostRequest { host: device.uid.clone(), reason: "x".into() })).await.unwrap();
    let entry = audited(&admin, "picket.v1.Tokens/Create", "ok").await;
    assert_eq!((entry.user.as_str(), entry.target), ("admin", format!("token {} rack 4", created.id)));
    assert!(audited(&admin, "picket.v1.Hosts/Revoke", "ok").await.target.contains(&device.uid));
    assert_eq!(audited(&admin, "picket.v1.Auth/SignIn", "ok").await.user, "admin");
    let secret = created.token.split('.').nth(2).unwrap();
    assert!(admin.audit().await.iter().all(|entry| !entry.target.contains(secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_tokens_is_counted_and_stalls_nobody() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let flood = tokio::spawn({
        let channel = server.channel(server.running().api(), None).await.unwrap();
        async move {
            let one = |channel: tonic::transport::Channel| async move {
                let refused = HostsClient::new(channel).list(with_token("pk1.AAAAAAAAAAAA.guess", v1::ListHostsRequest {})).await.unwrap_err();
                assert_eq!(refused.code(), Code::Unauthenticated);
            };
            for _ in 0..40 {
                futures::future::join_all((0..50).map(|_| one(channel.clone()))).await;
            }
        }
    });
    // Valid calls go on while it lasts.
    let mut answered = 0;
    while !flood.is_finished() {
        admin.auth().who_am_i(admin.with(v1::WhoAmIRequest {})).await.unwrap();
        answered += 1;
    }
    flood.await.unwrap();
    assert!(answered > 0);
    let rows = admin.audit().await.into_iter().filter(|entry| entry.outcome == "unauthenticated").count();
    assert!((1..=12).contains(&rows), "the flood has {rows} rows in the audit log");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_told() {
    let (server, _admin, session, _device) = with_events(4).await;
    assert_eq!(server.get("/livez", None).await.status, 200);
    assert_eq!(server.get("/readyz", None).await.body, "ready\n");
    session.send(Up::Hello(v1::Hello::default())).await;
    let metrics = server.metrics().await;
    for line in ["picket_ingest_events_total 4", "picket_ingest_batches_total{outcome=\"stored\"} 1", "picket_refusals_total{reason=\"unknown_ca\"} 0"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_columns_are_those_of_the_model() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let columns = admin.events().columns(admin.with(v1::ColumnsRequest {})).await.unwrap().into_inner().columns;
    assert_eq!(columns.len(), picket_event::columns::COLUMNS.len());
    let status = admin.server().status(admin.with(v1::StatusRequest {})).await.unwrap().into_inner();
    assert_eq!((status.events_stored, status.agents_connected), (0, 0));
}
