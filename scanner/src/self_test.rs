//! What the tests ask a locked-in worker to try, as code that took it over would. Never part of serving: a worker that was started to
//! try one of these scans nothing.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    OpenFile,
    WriteFile,
    ConnectTcp,
    ConnectUnix,
    StartProgram,
    StartThread,
    HogMemory,
    Panic,
    /// Sleeps before each scan: for time-outs and kills in the middle.
    Slow,
}

impl Attempt {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "open-file" => Self::OpenFile,
            "write-file" => Self::WriteFile,
            "connect-tcp" => Self::ConnectTcp,
            "connect-unix" => Self::ConnectUnix,
            "start-program" => Self::StartProgram,
            "start-thread" => Self::StartThread,
            "hog-memory" => Self::HogMemory,
            "panic" => Self::Panic,
            "slow" => Self::Slow,
            _ => return None,
        })
    }

    /// Says on standard error what came of it, where the process lives on.
    pub(crate) fn run(self) {
        let outcome = match self {
            Self::OpenFile => File::open("/etc/hostname").map(drop),
            Self::WriteFile => File::create("/tmp/picket-scanner-self-test").map(drop),
            Self::ConnectTcp => TcpStream::connect(("127.0.0.1", 9)).map(drop),
            Self::ConnectUnix => UnixStream::connect("/run/picket-scanner-self-test").map(drop),
            Self::StartProgram => Command::new("/bin/true").spawn().map(drop),
            Self::StartThread => std::thread::Builder::new().spawn(|| {}).map(drop),
            Self::HogMemory => {
                let mut held: Vec<Vec<u8>> = Vec::new();
                for _ in 0..4096 {
                    held.push(vec![1; 1 << 20]);
                }
                eprintln!("held {} MiB", held.len());
                Ok(())
            }
            #[expect(clippy::panic, reason = "what is tried")]
            Self::Panic => panic!("asked to"),
            Self::Slow => Ok(()),
        };
        match outcome {
            Ok(()) => eprintln!("attempt {self:?} worked"),
            Err(error) => eprintln!("attempt {self:?} was refused: {:?}", error.kind()),
        }
    }
}
