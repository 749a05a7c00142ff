//! Bytes of flows while they are up, and who holds them. Loopback only, ports chosen by the kernel.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use picket_ebpf::record::{Flow, FlowOp, FlowProtocol, Record};

mod rig;
use rig::{Rig, flow, rig_with};

const BYTES_MIN: usize = 10_000;

fn rig(test: &str) -> Option<Rig> {
    rig_with(test, |config| {
        config.network.traffic_interval = Duration::from_millis(200);
        config.network.traffic_bytes_min = BYTES_MIN as u64;
        config.network.holders_interval = Duration::from_millis(200);
        config.network.holders_rest = 1;
    })
}

fn told(records: &[Record], op: FlowOp, local: SocketAddr) -> Vec<(Record, Flow)> {
    records.iter().filter_map(|record| flow(record).filter(|flow| flow.op == op && flow.local == local).map(|flow| (record.clone(), flow.clone()))).collect()
}

struct Pair {
    client: TcpStream,
    server: TcpStream,
    client_address: SocketAddr,
    server_address: SocketAddr,
}

fn pair() -> Pair {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let server_address = listener.local_addr().expect("address");
    let client = TcpStream::connect(server_address).expect("connects");
    let client_address = client.local_addr().expect("address");
    let (server, _) = listener.accept().expect("accepts");
    Pair { client, server, client_address, server_address }
}

#[test]
fn an_upload_shows_while_it_runs_and_its_close_has_the_total() {
    let Some(mut rig) = rig("an_upload_shows_while_it_runs_and_its_close_has_the_total") else { return };
    rig.clear();
    let Pair { mut client, mut server, client_address, server_address } = pair();
    let mut sent = 0;
    let mut seen = Vec::new();
    for round in 1..=3_u64 {
        client.write_all(&[1; 50_000]).expect("sends");
        server.read_exact(&mut [0; 50_000]).expect("receives");
        server.write_all(&[1; 10]).expect("answers");
        client.read_exact(&mut [0; 10]).expect("receives");
        sent += 50_000;
        let enough = |flow: &Flow, out: u64, back: u64| flow.bytes_sent == out && flow.bytes_received == back;
        let records = rig.until(|records| {
            told(records, FlowOp::Traffic, client_address).iter().any(|(_, flow)| enough(flow, sent, 10 * round))
                && told(records, FlowOp::Traffic, server_address).iter().any(|(_, flow)| enough(flow, 10 * round, sent))
        });
        seen.extend(records);
    }
    let traffic = told(&seen, FlowOp::Traffic, client_address);
    let opened = told(&seen, FlowOp::Connect, client_address);
    let (_, connect) = opened.first().expect("connect comes before");
    for (record, flow) in &traffic {
        assert_eq!((record.task.pid, flow.cookie, flow.remote, flow.inbound), (std::process::id(), connect.cookie, server_address, false));
        assert_eq!((flow.protocol, flow.error, flow.quic, flow.merged), (FlowProtocol::Tcp, 0, false, false));
        assert_eq!(flow.established_boot_ns, connect.established_boot_ns);
        assert!(record.time_boot_ns > flow.established_boot_ns);
    }
    assert!(traffic.windows(2).all(|pair| pair[0].1.bytes_sent < pair[1].1.bytes_sent), "each tells more than the last: {traffic:?}");
    assert!(told(&seen, FlowOp::Traffic, server_address).iter().all(|(_, flow)| flow.inbound && flow.remote == client_address));
    drop((client, server));
    let records = rig.until(|records| !told(records, FlowOp::Close, client_address).is_empty());
    assert_eq!(told(&records, FlowOp::Close, client_address)[0].1.bytes_sent, 150_000);
    assert_eq!(told(&records, FlowOp::Traffic, client_address).len(), 0, "nothing new to tell");
}

#[test]
fn a_flow_that_moves_little_waits() {
    let Some(mut rig) = rig("a_flow_that_moves_little_waits") else { return };
    rig.clear();
    let mut quiet = pair();
    quiet.client.write_all(&[1; BYTES_MIN - 1]).expect("sends");
    quiet.server.read_exact(&mut [0; BYTES_MIN - 1]).expect("receives");
    let mut busy = pair();
    // Two rounds of another flow go by.
    for sent in [20_000_u64, 40_000] {
        busy.client.write_all(&[1; 20_000]).expect("sends");
        busy.server.read_exact(&mut [0; 20_000]).expect("receives");
        let records = rig.until(|records| told(records, FlowOp::Traffic, busy.client_address).iter().any(|(_, flow)| flow.bytes_sent == sent));
        assert_eq!(told(&records, FlowOp::Traffic, quiet.client_address).len(), 0);
    }
    // One byte more is enough.
    quiet.client.write_all(&[1; 1]).expect("sends");
    rig.until(|records| told(records, FlowOp::Traffic, quiet.client_address).iter().any(|(_, flow)| flow.bytes_sent == BYTES_MIN as u64));
}

/// The usual fork: the parent connects, a child sends, the parent lets go.
#[test]
fn a_flow_that_was_inherited_is_told_with_who_holds_it() {
    let Some(mut rig) = rig("a_flow_that_was_inherited_is_told_with_who_holds_it") else { return };
    rig.clear();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("address");
    // The child sends, for at most a minute, until the other side has said that it has seen enough.
    let script = "import os,socket,sys\nc=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\npid=os.fork()\nif pid:\n c.close()\n print(pid,flush=True)\n os.waitpid(pid,0)\n sys.exit()\nsys.stdout.close()\nc.settimeout(0.1)\nfor _ in range(600):\n c.sendall(bytes(10000))\n try:\n  c.recv(1)\n  break\n except TimeoutError:\n  pass\n";
    let mut parent = Command::new("python3").args(["-c", script, &address.port().to_string()]).stdout(Stdio::piped()).spawn().expect("python");
    let (mut server, peer) = listener.accept().expect("accepts");
    let mut child = String::new();
    std::io::BufReader::new(parent.stdout.take().expect("piped")).read_line(&mut child).expect("its pid");
    let child: u32 = child.trim().parse().expect("a pid");
    let mut reader = server.try_clone().expect("a second handle");
    let received = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).expect("receives"));
    let records = rig.until(|records| {
        !told(records, FlowOp::Connect, peer).is_empty() && told(records, FlowOp::Traffic, peer).iter().any(|(record, _)| record.task.pid == child)
    });
    server.write_all(b"x").expect("lets it end");
    assert!(parent.wait().expect("ends").success());
    assert_eq!(told(&records, FlowOp::Connect, peer)[0].0.task.pid, parent.id());
    let received = received.join().expect("reads to the end");
    drop(server);
    let records = rig.until(|records| !told(records, FlowOp::Close, peer).is_empty());
    let (record, close) = &told(&records, FlowOp::Close, peer)[0];
    assert_eq!((record.task.pid, close.bytes_sent, close.bytes_received), (child, received, 1));
}
