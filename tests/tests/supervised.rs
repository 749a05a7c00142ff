//! What systemd is told by the agent and the server: readiness, a beat while their loops turn, silence while they stand still, the end.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise ends there")]

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_tests::{
    binaries::{can_trace, program},
    fixture::{AgentOptions, Deployment, Server, ServerOptions},
    wait,
};

/// The service manager's side of a started program.
struct Supervised {
    child: Child,
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Supervised {
    fn start(mut command: Command, watchdog: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, socket, _folder: folder }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// What comes within `time`.
    fn hears(&self, time: Duration) -> Option<String> {
        let mut text = [0; 4096];
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        match self.socket.recv(&mut text) {
            Ok(bytes) => Some(String::from_utf8_lossy(text.get(..bytes).unwrap()).into_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn waits_for(&self, state: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if self.hears(Duration::from_secs(1)).is_some_and(|text| text.lines().any(|line| line == state)) {
                return;
            }
        }
        panic!("{state} was not told within 30 s");
    }

    /// Ready, alive, silent while stopped, alive again, and told of its end.
    fn lives_and_ends(mut self) {
        self.waits_for("READY=1");
        self.waits_for("WATCHDOG=1");
        self.waits_for("WATCHDOG=1");
        self.signal(Signal::SIGSTOP);
        while self.hears(Duration::from_millis(200)).is_some() {}
        assert_eq!(self.hears(Duration::from_secs(3)), None, "a program that stands still tells nothing");
        self.signal(Signal::SIGCONT);
        self.waits_for("WATCHDOG=1");
        self.signal(Signal::SIGTERM);
        self.waits_for("STOPPING=1");
        let end = Instant::now() + Duration::from_secs(15);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "still running 15 s after SIGTERM");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_agent_is_supervised() {
    if let Some(reason) = can_trace() {
        return wait::skipped("the_agent_is_supervised", &reason);
    }
    let deployment = Deployment::start(&ServerOptions::default()).unwrap();
    let agent = deployment.agent(deployment.server.agent_address(), &AgentOptions::default()).unwrap();
    let mut command = Command::new(program("picket-agent").unwrap());
    command.arg("run").arg("--config").arg(agent.config());
    Supervised::start(command, Duration::from_secs(3)).lives_and_ends();
}

#[test]
fn the_server_is_supervised() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &ServerOptions::default()).unwrap();
    server.stop().unwrap();
    let mut command = Command::new(program("picket-server").unwrap());
    command.arg("run").arg("--config").arg(server.config());
    Supervised::start(command, Duration::from_secs(3)).lives_and_ends();
}
