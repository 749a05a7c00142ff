//! UDP and DNS probes, triggered for real, field by field. Loopback only, ports chosen by the kernel; DNS is what goes to a port of the test's own.
#![expect(clippy::indexing_slicing, reason = "a test that meets a surprise ends there")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use picket_ebpf::record::{Body, Dns, Flow, FlowOp, FlowProtocol, Record, RecordFlags};

mod rig;
use rig::{Rig, boot_ns, flow, rig_with};

/// Below the ports that the kernel chooses, and nobody's.
const DNS_PORT: u16 = 20_053;

fn rig(test: &str) -> Option<Rig> {
    rig_with(test, |config| {
        config.network.traffic_interval = Duration::from_millis(200);
        config.network.traffic_bytes_min = 1;
        config.network.dns_ports = vec![53, DNS_PORT];
    })
}

fn told(records: &[Record], op: FlowOp, local: SocketAddr, remote: SocketAddr) -> Vec<(Record, Flow)> {
    records
        .iter()
        .filter_map(|record| {
            flow(record).filter(|flow| flow.op == op && flow.local == local && flow.remote == remote).map(|flow| (record.clone(), flow.clone()))
        })
        .collect()
}

fn dns(record: &Record) -> Option<&Dns> {
    match &record.body {
        Body::Dns(dns) => Some(dns),
        _ => None,
    }
}

fn socket(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).expect("binds");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let address = socket.local_addr().expect("address");
    (socket, address)
}

fn is_this_process(record: &Record) {
    assert_eq!((record.task.pid, record.task.uid, record.flags), (std::process::id(), 0, RecordFlags(0)));
    assert_eq!(record.task.start_boot_ns / 10_000_000, rig::stat_field(std::process::id(), 22));
}

fn conversation(rig: &mut Rig, ip: IpAddr) {
    rig.clear();
    let before = boot_ns();
    let ((client, here), (server, there)) = (socket(ip), socket(ip));
    let nobody = SocketAddr::new(if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }, 0);
    for size in [100, 0, 1400] {
        client.send_to(&vec![1; size], there).expect("sends");
        assert_eq!(server.recv_from(&mut [0; 2000]).expect("receives"), (size, here));
    }
    server.send_to(&[2; 50], here).expect("answers");
    assert_eq!(client.recv_from(&mut [0; 100]).expect("receives").0, 50);
    let mut records = rig.until(|records| {
        told(records, FlowOp::Traffic, here, there).iter().any(|(_, flow)| (flow.bytes_sent, flow.bytes_received) == (1500, 50))
            && told(records, FlowOp::Traffic, there, here).iter().any(|(_, flow)| (flow.bytes_sent, flow.bytes_received) == (50, 1500))
    });
    drop((client, server));
    records.extend(rig.until(|records| !told(records, FlowOp::Close, here, there).is_empty() && !told(records, FlowOp::Close, there, here).is_empty()));
    let after = boot_ns();
    for (local, remote, inbound, sent, received) in [(here, there, false, 1500, 50), (there, here, true, 50, 1500)] {
        let bound = told(&records, FlowOp::Listen, local, nobody);
        let begun = told(&records, if inbound { FlowOp::Accept } else { FlowOp::Connect }, local, remote);
        let closed = told(&records, FlowOp::Close, local, remote);
        assert_eq!((bound.len(), begun.len(), closed.len()), (1, 1, 1), "{records:#?}");
        for (record, flow) in bound.iter().chain(&begun).chain(&closed).chain(&told(&records, FlowOp::Traffic, local, remote)) {
            is_this_process(record);
            assert!(record.time_boot_ns > before && record.time_boot_ns < after);
            assert_eq!((flow.protocol, flow.cookie, flow.error, flow.quic, flow.merged), (FlowProtocol::Udp, bound[0].1.cookie, 0, false, false));
        }
        assert_ne!(bound[0].1.cookie, 0);
        assert_eq!((begun[0].1.bytes_sent, begun[0].1.bytes_received, begun[0].1.inbound), (0, 0, inbound));
        assert_eq!((closed[0].1.bytes_sent, closed[0].1.bytes_received, closed[0].1.inbound), (sent, received, inbound));
        assert!(begun[0].1.established_boot_ns > before && begun[0].1.established_boot_ns == closed[0].1.established_boot_ns);
    }
}

#[test]
fn datagrams_between_two_sockets_are_a_flow_over_ipv4() {
    let Some(mut rig) = rig("datagrams_between_two_sockets_are_a_flow_over_ipv4") else { return };
    conversation(&mut rig, Ipv4Addr::LOCALHOST.into());
}

#[test]
fn datagrams_between_two_sockets_are_a_flow_over_ipv6() {
    let Some(mut rig) = rig("datagrams_between_two_sockets_are_a_flow_over_ipv6") else { return };
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        rig::skipped("datagrams_between_two_sockets_are_a_flow_over_ipv6", "no IPv6 loopback here");
        return;
    }
    conversation(&mut rig, Ipv6Addr::LOCALHOST.into());
}

#[test]
fn every_peer_of_a_socket_is_a_flow_of_its_own() {
    let Some(mut rig) = rig("every_peer_of_a_socket_is_a_flow_of_its_own") else { return };
    rig.clear();
    let (client, here) = socket(Ipv4Addr::LOCALHOST.into());
    let peers: Vec<_> = (0..3).map(|_| socket(Ipv4Addr::LOCALHOST.into())).collect();
    for (size, (_, there)) in (1..).zip(&peers) {
        client.send_to(&vec![1; size * 10], there).expect("sends");
    }
    drop(client);
    let records = rig.until(|records| peers.iter().all(|(_, there)| !told(records, FlowOp::Close, here, *there).is_empty()));
    let sent: Vec<u64> = peers.iter().map(|(_, there)| told(&records, FlowOp::Close, here, *there)[0].1.bytes_sent).collect();
    assert_eq!(sent, [10, 20, 30]);
}

#[test]
fn quic_is_told_by_how_it_begins_on_any_port() {
    let Some(mut rig) = rig("quic_is_told_by_how_it_begins_on_any_port") else { return };
    let first = |head: [u8; 5], len: usize| {
        let mut packet = vec![0; len];
        packet[..5].copy_from_slice(&head);
        packet
    };
    for (packet, quic) in [
        (first([0xc3, 0, 0, 0, 1], 1200), true),
        (first([0xd0, 0x6b, 0x33, 0x43, 0xcf], 1250), true),
        (first([0xc0, 0x1a, 0x2a, 0x3a, 0x4a], 1200), true),
        (first([0xc3, 0, 0, 0, 1], 1199), false), // no client's first packet is shorter
        (first([0x43, 0, 0, 0, 1], 1200), false), // a short header
        (first([0xc3, 0, 0, 0, 9], 1200), false), // no version
    ] {
        rig.clear();
        let ((client, here), (_server, there)) = (socket(Ipv4Addr::LOCALHOST.into()), socket(Ipv4Addr::LOCALHOST.into()));
        client.send_to(&packet, there).expect("sends");
        let records = rig.until(|records| !told(records, FlowOp::Connect, here, there).is_empty() && !told(records, FlowOp::Accept, there, here).is_empty());
        assert_eq!(told(&records, FlowOp::Connect, here, there)[0].1.quic, quic);
        assert_eq!(told(&records, FlowOp::Accept, there, here)[0].1.quic, quic);
    }
}

#[test]
fn a_socket_that_was_inherited_belongs_to_who_sends() {
    let Some(mut rig) = rig("a_socket_that_was_inherited_belongs_to_who_sends") else { return };
    rig.clear();
    let (server, there) = socket(Ipv4Addr::LOCALHOST.into());
    let script = "import os,socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nto=('127.0.0.1',int(sys.argv[1]))\ns.sendto(b'parent',to)\npid=os.fork()\nif pid:\n s.close()\n os.waitpid(pid,0)\n print(pid)\n sys.exit()\ns.sendto(b'from the child',to)\ns.recv(1)\n";
    let mut parent = Command::new("python3").args(["-c", script, &there.port().to_string()]).stdout(Stdio::piped()).spawn().expect("python");
    let (_, peer) = server.recv_from(&mut [0; 100]).expect("receives");
    server.recv_from(&mut [0; 100]).expect("receives");
    let whole = |flow: &Flow| flow.bytes_sent == 20;
    let records = rig.until(|records| {
        told(records, FlowOp::Traffic, peer, there).iter().any(|(_, flow)| whole(flow)) || {
            // The kernel chose the local address of an unbound socket: loopback here.
            records.iter().filter_map(flow).any(|flow| flow.remote == there && whole(flow))
        }
    });
    server.send_to(b"x", peer).expect("lets it end");
    let mut child = String::new();
    parent.stdout.take().expect("piped").read_to_string(&mut child).expect("its pid");
    assert!(parent.wait().expect("ends").success());
    let of = |op| records.iter().find(|record| flow(record).is_some_and(|flow| flow.op == op && flow.remote == there)).map(|record| record.task.pid);
    assert_eq!((of(FlowOp::Connect), of(FlowOp::Traffic)), (Some(parent.id()), Some(child.trim().parse().expect("a pid"))));
}

/// A question for the addresses of a.test, and an answer with one.
const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01";
const ANSWER: &[u8] =
    b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01";

/// One test at a time uses the port: they all hold the rig.
fn dns_server() -> (UdpSocket, SocketAddr) {
    let there = SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT));
    let server = UdpSocket::bind(there).expect("nobody else has the port");
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    (server, there)
}

#[test]
fn dns_messages_are_told_whole_with_who_asked() {
    let Some(mut rig) = rig("dns_messages_are_told_whole_with_who_asked") else { return };
    rig.clear();
    let (server, there) = dns_server();
    let (client, here) = socket(Ipv4Addr::LOCALHOST.into());
    client.connect(there).expect("connects");
    client.send(QUERY).expect("asks");
    server.recv_from(&mut [0; 100]).expect("receives");
    server.send_to(ANSWER, here).expect("answers");
    client.recv(&mut [0; 100]).expect("receives");
    let long = [7; 5000];
    server.send_to(&long, here).expect("answers");
    client.recv(&mut [0; 6000]).expect("receives");
    drop(client);
    let records = rig.until(|records| records.iter().filter(|record| dns(record).is_some_and(|dns| dns.local == here)).count() == 3);
    let messages: Vec<(&Record, &Dns)> =
        records.iter().filter_map(|record| dns(record).map(|dns| (record, dns))).filter(|(_, dns)| dns.local == here).collect();
    for (record, message) in &messages {
        is_this_process(record);
        assert_eq!((message.remote, message.protocol), (there, FlowProtocol::Udp));
        assert_ne!(message.cookie, 0);
    }
    let contents: Vec<(bool, u32, &[u8])> = messages.iter().map(|(_, dns)| (dns.response, dns.message_bytes, dns.message.as_slice())).collect();
    assert_eq!(contents, [(false, 24, QUERY), (true, 40, ANSWER), (true, 5000, &long[..4096])]);
    // The server's side is a flow; the client's was told in full by its messages.
    let rest = rig.until(|records| !told(records, FlowOp::Traffic, there, here).is_empty());
    let all: Vec<&Flow> = records.iter().chain(&rest).filter_map(flow).filter(|flow| flow.local == here && flow.remote == there).collect();
    assert_eq!(all, Vec::<&Flow>::new());
}

#[test]
fn dns_over_tcp_is_told_too() {
    let Some(mut rig) = rig("dns_over_tcp_is_told_too") else { return };
    rig.clear();
    let there = SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT));
    let listener = TcpListener::bind(there).expect("nobody else has the port");
    let mut client = TcpStream::connect(there).expect("connects");
    let (mut server, here) = listener.accept().expect("accepts");
    let framed = |message: &[u8]| [&u16::try_from(message.len()).expect("short").to_be_bytes(), message].concat();
    client.write_all(&framed(QUERY)).expect("asks");
    server.read_exact(&mut [0; 26]).expect("receives");
    server.write_all(&framed(ANSWER)).expect("answers");
    client.read_exact(&mut [0; 42]).expect("receives");
    let records = rig.until(|records| records.iter().filter(|record| dns(record).is_some()).count() == 2);
    let messages: Vec<(u32, &Dns)> = records.iter().filter_map(|record| dns(record).map(|dns| (record.task.pid, dns))).collect();
    for (pid, message) in &messages {
        assert_eq!((*pid, message.local, message.remote, message.protocol), (std::process::id(), here, there, FlowProtocol::Tcp));
    }
    let contents: Vec<(bool, &[u8])> = messages.iter().map(|(_, dns)| (dns.response, dns.message.as_slice())).collect();
    assert_eq!(contents, [(false, QUERY), (true, ANSWER)]);
}

#[test]
fn a_flood_of_dns_is_limited_for_its_process_and_counted() {
    let Some(mut rig) = rig("a_flood_of_dns_is_limited_for_its_process_and_counted") else { return };
    rig.clear();
    let (_server, there) = dns_server();
    let before = rig.sensor().counters().expect("counters").limited[2];
    let script = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.connect(('127.0.0.1',int(sys.argv[1])))\nfor n in range(3000): s.send(b'x'*20)\n";
    let begun = boot_ns();
    let flooder = Command::new("python3").args(["-c", script, &there.port().to_string()]).spawn().expect("python");
    let pid = flooder.id();
    assert!(flooder.wait_with_output().expect("ends").status.success());
    let seconds = (boot_ns() - begun) / 1_000_000_000 + 1;
    let records = rig.until(|records| {
        records.iter().any(|record| record.task.pid == pid && flow(record).is_some_and(|flow| flow.op == FlowOp::Close && flow.bytes_sent == 60_000))
    });
    let messages = records.iter().filter(|record| record.task.pid == pid && dns(record).is_some()).count() as u64;
    let limited = rig.sensor().counters().expect("counters").limited[2] - before;
    assert!(messages >= 500 && messages <= 500 * (seconds + 1), "{messages} in {seconds} s");
    assert_eq!(messages + limited, 3000, "each message is told or counted");
    // Somebody else still asks.
    let (client, here) = socket(Ipv4Addr::LOCALHOST.into());
    client.send_to(QUERY, there).expect("asks");
    rig.first(|record| dns(record).filter(|dns| dns.local == here).cloned());
}

#[test]
fn very_many_peers_of_one_process_are_told_as_one() {
    let Some(mut rig) = rig("very_many_peers_of_one_process_are_told_as_one") else { return };
    rig.clear();
    let script =
        "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nfor n in range(2000): s.sendto(b'x'*7,('127.2.%d.%d'%(n>>8,n&255),9))\n";
    let scanner = Command::new("python3").args(["-c", script]).spawn().expect("python");
    let pid = scanner.id();
    assert!(scanner.wait_with_output().expect("ends").status.success());
    let mine = |record: &Record, op| flow(record).filter(|flow| record.task.pid == pid && flow.op == op).cloned();
    let records = rig.until(|records| records.iter().filter_map(|record| mine(record, FlowOp::Connect)).any(|flow| flow.merged));
    let flows: Vec<Flow> = records.iter().filter_map(|record| mine(record, FlowOp::Connect)).collect();
    assert_eq!(flows.iter().filter(|flow| !flow.merged).count(), 512);
    assert_eq!(flows.iter().filter(|flow| flow.merged).count(), 1);
    let merged = flows.iter().find(|flow| flow.merged).expect("counted");
    assert_eq!(merged.remote, "0.0.0.0:0".parse().expect("address"));
    // Its bytes are the rest of the peers'; it ends by time, as there is no one socket behind it.
    let total =
        |records: &[Record]| records.iter().filter_map(|record| mine(record, FlowOp::Traffic)).filter(|flow| flow.merged).map(|flow| flow.bytes_sent).max();
    if total(&records) != Some((2000 - 512) * 7) {
        rig.until(|records| total(records) == Some((2000 - 512) * 7));
    }
}

#[test]
fn sockets_from_before_the_sensor_are_found_and_their_flows_have_an_owner() {
    let Some(_rig) = rig("sockets_from_before_the_sensor_are_found_and_their_flows_have_an_owner") else { return };
    let ((client, here), (server, there)) = (socket(Ipv4Addr::LOCALHOST.into()), socket(Ipv4Addr::LOCALHOST.into()));
    let config = picket_ebpf::SensorConfig { own_pids: Vec::new(), ..picket_ebpf::SensorConfig::default() };
    let mut late = picket_ebpf::Sensor::load(&config).expect("a second sensor loads");
    let found = late.flows().expect("iterates");
    for local in [here, there] {
        let (record, _) = told(&found, FlowOp::Listen, local, "0.0.0.0:0".parse().expect("address")).pop().expect("is found");
        assert_eq!((record.task.pid, record.flags), (std::process::id(), RecordFlags::PREEXISTING));
    }
    client.send_to(b"x", there).expect("sends");
    server.recv_from(&mut [0; 10]).expect("receives");
    let mut records = Vec::new();
    late.drain(&mut |record| records.push(record), 1 << 20);
    for (op, local, remote) in [(FlowOp::Connect, here, there), (FlowOp::Accept, there, here)] {
        assert_eq!(told(&records, op, local, remote).pop().expect("is told").0.task.pid, std::process::id());
    }
    late.detach();
}

#[test]
fn every_network_probe_is_attached() {
    let Some(mut rig) = rig("every_network_probe_is_attached") else { return };
    let wanted = ["tcp_state", "tcp_accept", "udp_flow", "udp_bind", "local_connect", "special_socket", "flow_traffic", "iterate_holders"];
    let probes = rig.sensor().probes().to_vec();
    let attached = |name: &&str| probes.iter().any(|probe| probe.name == *name && probe.attached);
    let found: Vec<_> = wanted.iter().copied().filter(attached).collect();
    assert_eq!(found, wanted);
}
