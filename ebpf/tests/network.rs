//! TCP probes, triggered for real, field by field. Loopback only, ports chosen by the kernel.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use picket_ebpf::record::{Flow, FlowOp, FlowProtocol, Record, RecordFlags};

mod rig;
use rig::{Rig, boot_ns, flow, rig, stat_field};

/// The records of one flow by its operation and its local end.
fn find(records: &[Record], op: FlowOp, local: SocketAddr, remote: SocketAddr) -> Option<(Record, Flow)> {
    records
        .iter()
        .find_map(|record| flow(record).filter(|flow| flow.op == op && flow.local == local && flow.remote == remote).map(|flow| (record.clone(), flow.clone())))
}

fn wait_for(rig: &mut Rig, wanted: &[(FlowOp, SocketAddr, SocketAddr)]) -> Vec<(Record, Flow)> {
    let records = rig.until(|records| wanted.iter().all(|(op, local, remote)| find(records, *op, *local, *remote).is_some()));
    wanted.iter().map(|(op, local, remote)| find(&records, *op, *local, *remote).expect("until saw it")).collect()
}

fn is_this_process(record: &Record) {
    let task = &record.task;
    assert_eq!((task.pid, task.tid), (std::process::id(), u32::try_from(nix::unistd::gettid().as_raw()).expect("tid")));
    assert_eq!(task.start_boot_ns / 10_000_000, stat_field(std::process::id(), 22));
    assert_eq!((task.uid, task.euid, task.gid), (0, 0, 0));
    assert_eq!(u64::from(task.parent_pid), stat_field(std::process::id(), 4));
    assert_eq!(record.flags, RecordFlags(0));
}

/// Both ends' four records, with bytes both ways; the client's side closes first where `client_first`.
fn conversation(rig: &mut Rig, bind: IpAddr, target: IpAddr, client_first: bool) {
    rig.clear();
    let before = boot_ns();
    let listener = TcpListener::bind(SocketAddr::new(bind, 0)).expect("binds");
    let server_address = SocketAddr::new(target, listener.local_addr().expect("address").port());
    let mut client = TcpStream::connect(server_address).expect("connects");
    let client_address = client.local_addr().expect("address");
    let (mut server, _) = listener.accept().expect("accepts");
    client.write_all(&[1; 100_000]).expect("sends");
    server.read_exact(&mut [0; 100_000]).expect("receives");
    server.write_all(&[2; 777]).expect("answers");
    client.read_exact(&mut [0; 777]).expect("receives");
    let (first, mut second) = if client_first { (client, server) } else { (server, client) };
    first.shutdown(Shutdown::Write).expect("half closes");
    assert_eq!(second.read(&mut [0; 1]).expect("end"), 0);
    drop(second);
    drop(first);
    let wanted = [
        (FlowOp::Connect, client_address, server_address),
        (FlowOp::Accept, server_address, client_address),
        (FlowOp::Close, client_address, server_address),
        (FlowOp::Close, server_address, client_address),
    ];
    let found = wait_for(rig, &wanted);
    let after = boot_ns();
    let [(connect_record, connect), (accept_record, accept), (_, client_close), (_, server_close)] = found.as_slice() else { panic!("four records") };
    for (record, flow) in &found {
        is_this_process(record);
        assert!(record.time_boot_ns > before && record.time_boot_ns < after);
        assert!(flow.established_boot_ns > before && flow.established_boot_ns < after);
        assert_ne!(flow.cookie, 0);
        assert_eq!(flow.error, 0);
    }
    assert_eq!([connect.bytes_sent, connect.bytes_received, accept.bytes_sent, accept.bytes_received], [0; 4].map(|zero| if zero == 0 { 0 } else { zero }));
    assert_eq!((client_close.bytes_sent, client_close.bytes_received), (100_000, 777));
    assert_eq!((server_close.bytes_sent, server_close.bytes_received), (777, 100_000));
    assert_eq!([connect.inbound, accept.inbound, client_close.inbound, server_close.inbound], [false, true, false, true]);
    assert_eq!((connect.cookie, accept.cookie), (client_close.cookie, server_close.cookie));
    assert_ne!(connect.cookie, accept.cookie);
    assert_eq!((connect.established_boot_ns, accept.established_boot_ns), (client_close.established_boot_ns, server_close.established_boot_ns));
    assert!(connect.established_boot_ns <= connect_record.time_boot_ns && accept.established_boot_ns <= accept_record.time_boot_ns);
}

#[test]
fn a_conversation_over_ipv4_is_told_whole() {
    let Some(mut rig) = rig("a_conversation_over_ipv4_is_told_whole") else { return };
    for client_first in [true, false] {
        conversation(&mut rig, Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), client_first);
    }
}

#[test]
fn a_conversation_over_ipv6_is_told_whole() {
    let Some(mut rig) = rig("a_conversation_over_ipv6_is_told_whole") else { return };
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        rig::skipped("a_conversation_over_ipv6_is_told_whole", "no IPv6 loopback here");
        return;
    }
    conversation(&mut rig, Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), true);
}

#[test]
fn ipv4_on_a_socket_for_both_is_told_as_ipv4() {
    let Some(mut rig) = rig("ipv4_on_a_socket_for_both_is_told_as_ipv4") else { return };
    if TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        rig::skipped("ipv4_on_a_socket_for_both_is_told_as_ipv4", "no IPv6 here");
        return;
    }
    conversation(&mut rig, Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into(), true);
}

#[test]
fn a_refused_connection_is_a_failure_with_its_error() {
    let Some(mut rig) = rig("a_refused_connection_is_a_failure_with_its_error") else { return };
    rig.clear();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds").local_addr().expect("address");
    assert!(TcpStream::connect(closed).is_err());
    let (record, told) =
        rig.first(|record| flow(record).filter(|told| told.op == FlowOp::Fail && told.remote == closed).map(|told| (record.clone(), told.clone())));
    is_this_process(&record);
    assert_eq!((told.error, told.established_boot_ns, told.inbound, told.bytes_sent, told.bytes_received), (111, 0, false, 0, 0));
    assert_eq!(told.local.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_ne!((told.local.port(), told.cookie), (0, 0));
}

#[test]
fn a_reset_connection_closes_with_its_error() {
    let Some(mut rig) = rig("a_reset_connection_closes_with_its_error") else { return };
    rig.clear();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let server_address = listener.local_addr().expect("address");
    let mut client = TcpStream::connect(server_address).expect("connects");
    let client_address = client.local_addr().expect("address");
    let (server, _) = listener.accept().expect("accepts");
    client.write_all(b"never read").expect("sends");
    // Closing with unread data resets.
    server.peek(&mut [0; 10]).expect("arrived");
    drop(server);
    assert!(client.read(&mut [0; 1]).is_err());
    let found = wait_for(&mut rig, &[(FlowOp::Close, client_address, server_address)]);
    assert_eq!((found[0].1.error, found[0].1.bytes_sent, found[0].1.bytes_received), (104, 10, 0));
}

#[test]
fn a_flow_closed_by_a_child_after_its_owner_ended_still_names_the_owner() {
    let Some(mut rig) = rig("a_flow_closed_by_a_child_after_its_owner_ended_still_names_the_owner") else { return };
    rig.clear();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("address");
    let script = "import os,socket,sys,time\nc=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\nif os.fork(): os._exit(0)\ntime.sleep(0.3)\nc.sendall(b'from the child')\n";
    let child = Command::new("python3").args(["-c", script, &address.port().to_string()]).stdin(Stdio::null()).spawn().expect("python");
    let (mut server, peer) = listener.accept().expect("accepts");
    let owner = child.id();
    assert!(child.wait_with_output().expect("ends").status.success());
    let mut received = Vec::new();
    server.read_to_end(&mut received).expect("receives");
    drop(server);
    assert_eq!(received, b"from the child");
    let found = wait_for(&mut rig, &[(FlowOp::Connect, peer, address), (FlowOp::Close, peer, address)]);
    for (record, _) in &found {
        assert_eq!((record.task.pid, record.task.comm.starts_with("python")), (owner, true));
    }
    assert_eq!(found[1].1.bytes_sent, 14);
}

#[test]
fn flows_that_exist_are_found_with_their_holder_and_their_close_names_it() {
    let Some(mut rig) = rig("flows_that_exist_are_found_with_their_holder_and_their_close_names_it") else { return };
    rig.clear();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let server_address = listener.local_addr().expect("address");
    let mut client = TcpStream::connect(server_address).expect("connects");
    let client_address = client.local_addr().expect("address");
    let (mut server, _) = listener.accept().expect("accepts");
    client.write_all(&[0; 300]).expect("sends");
    server.read_exact(&mut [0; 300]).expect("receives");
    let live = wait_for(&mut rig, &[(FlowOp::Connect, client_address, server_address), (FlowOp::Accept, server_address, client_address)]);
    for _ in 0..2 {
        let found = rig.sensor().flows().expect("iterates");
        for (live, wanted) in live.iter().zip([(client_address, server_address, false), (server_address, client_address, true)]) {
            let (record, existing) = find(&found, FlowOp::Existing, wanted.0, wanted.1).expect("exists");
            assert_eq!((existing.cookie, existing.inbound, existing.established_boot_ns), (live.1.cookie, wanted.2, live.1.established_boot_ns));
            assert_eq!(record.task, live.0.task);
            assert_eq!(record.flags, RecordFlags::PREEXISTING);
            assert_eq!((existing.bytes_sent, existing.bytes_received), if wanted.2 { (0, 300) } else { (300, 0) });
            assert_eq!(found.iter().filter_map(flow).filter(|flow| flow.cookie == existing.cookie).count(), 1, "once a socket");
        }
        assert!(found.iter().filter_map(flow).all(|flow| matches!(flow.op, FlowOp::Existing | FlowOp::Listen)));
    }
}

#[test]
fn a_flow_from_before_the_sensor_is_found_and_its_close_names_its_holder() {
    let Some(_rig) = rig("a_flow_from_before_the_sensor_is_found_and_its_close_names_its_holder") else { return };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let server_address = listener.local_addr().expect("address");
    let client = TcpStream::connect(server_address).expect("connects");
    let client_address = client.local_addr().expect("address");
    let (server, _) = listener.accept().expect("accepts");
    let config = picket_ebpf::SensorConfig { own_pids: Vec::new(), ..picket_ebpf::SensorConfig::default() };
    let mut late = picket_ebpf::Sensor::load(&config).expect("a second sensor loads");
    let found = late.flows().expect("iterates");
    for (local, remote, inbound) in [(client_address, server_address, false), (server_address, client_address, true)] {
        let (record, existing) = find(&found, FlowOp::Existing, local, remote).expect("exists");
        assert_eq!((record.task.pid, existing.inbound, existing.established_boot_ns), (std::process::id(), inbound, 0));
    }
    drop((client, server));
    let mut records = Vec::new();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while find(&records, FlowOp::Close, client_address, server_address).is_none() {
        assert!(std::time::Instant::now() < end, "the close comes");
        late.drain(&mut |record| records.push(record), 1 << 20);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (record, _) = find(&records, FlowOp::Close, client_address, server_address).expect("came");
    assert_eq!(record.task.pid, std::process::id());
    late.detach();
}

#[test]
fn a_listening_socket_is_told_with_its_owner_and_found_later() {
    let Some(mut rig) = rig("a_listening_socket_is_told_with_its_owner_and_found_later") else { return };
    rig.clear();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("address");
    let listens = |record: &Record| flow(record).filter(|told| told.op == FlowOp::Listen && told.local == address).map(|told| (record.clone(), told.clone()));
    let (record, told) = rig.first(listens);
    is_this_process(&record);
    assert_eq!((told.remote, told.protocol, told.inbound), ("0.0.0.0:0".parse().expect("address"), FlowProtocol::Tcp, false));
    assert_eq!((told.bytes_sent, told.bytes_received, told.error, told.established_boot_ns, told.quic, told.merged), (0, 0, 0, 0, false, false));
    assert_ne!(told.cookie, 0);
    let found = rig.sensor().flows().expect("iterates");
    let (existing, again) = found.iter().find_map(listens).expect("exists");
    assert_eq!((existing.flags, existing.task.pid, again.cookie), (RecordFlags::PREEXISTING, std::process::id(), told.cookie));
    drop(listener);
    assert!(rig.sensor().flows().expect("iterates").iter().find_map(listens).is_none());
}
