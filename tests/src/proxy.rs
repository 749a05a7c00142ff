//! A TCP proxy in the process of the test: the network between agent and server, which can be cut and joined again.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// Forwards every connection to one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    cut: AtomicBool,
    stalled: AtomicBool,
    stop: AtomicBool,
    accepted: AtomicU64,
    live: Mutex<Vec<TcpStream>>,
}

impl State {
    fn break_all(&self) {
        let mut live = self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for stream in live.drain(..) {
            // A connection that is gone already is what we want.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind the proxy")?;
        let address = listener.local_addr().context("address of the proxy")?;
        let state = Arc::new(State {
            cut: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            live: Mutex::new(Vec::new()),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, target, &shared));
        Ok(Self { address, state })
    }

    /// Where to connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were let through so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Breaks every connection and refuses new ones until [`Self::join`].
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.state.break_all();
    }

    /// Keeps every connection open and carries nothing: a black hole, the way a dropped route looks.
    pub fn stall(&self) {
        self.state.stalled.store(true, Ordering::SeqCst);
    }

    /// Breaks every connection once; new ones work.
    pub fn blink(&self) {
        self.state.break_all();
    }

    /// The network is whole again.
    pub fn join(&self) {
        self.state.stalled.store(false, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.state.break_all();
        // Wakes the accept loop so that its thread ends.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_millis(200)));
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, state: &Arc<State>) {
    for inbound in listener.incoming() {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(inbound) = inbound else { continue };
        if state.cut.load(Ordering::SeqCst) {
            let _ = inbound.shutdown(Shutdown::Both);
            continue;
        }
        let Ok(outbound) = TcpStream::connect_timeout(&target, Duration::from_secs(2)) else { continue };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        if join_streams(inbound, outbound, state).is_err() {
            state.break_all();
        }
    }
}

fn join_streams(inbound: TcpStream, outbound: TcpStream, state: &Arc<State>) -> std::io::Result<()> {
    for stream in [&inbound, &outbound] {
        stream.set_nodelay(true)?;
        // A stalled proxy must look at its state now and then.
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    }
    {
        let mut live = state.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        live.push(inbound.try_clone()?);
        live.push(outbound.try_clone()?);
    }
    let pairs = [(inbound.try_clone()?, outbound.try_clone()?), (outbound, inbound)];
    for (from, to) in pairs {
        let state = Arc::clone(state);
        thread::spawn(move || pump(from, to, &state));
    }
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    use std::io::{ErrorKind, Read, Write};
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        if state.stop.load(Ordering::SeqCst) {
            break;
        }
        if state.stalled.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let Some(bytes) = buffer.get(..read) else { break };
                // What arrives during a stall waits here; the sender's window fills behind it.
                while state.stalled.load(Ordering::SeqCst) && !state.stop.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(20));
                }
                if to.write_all(bytes).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream);
                    std::io::copy(&mut reader, &mut writer)
                });
            }
        });
        address
    }

    fn asks(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x")?;
        let mut answer = [0_u8];
        stream.read_exact(&mut answer)?;
        Ok(answer[0])
    }

    #[test]
    fn carries_then_cuts_then_carries_again() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut first = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(asks(&mut first).unwrap(), b'x');
        proxy.cut();
        assert!(asks(&mut first).is_err(), "a cut connection ends");
        let mut second = TcpStream::connect(proxy.address()).unwrap();
        assert!(asks(&mut second).is_err(), "no new connection while cut");
        proxy.join();
        let mut third = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(asks(&mut third).unwrap(), b'x');
    }

    #[test]
    fn a_stalled_connection_carries_nothing_until_joined() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(asks(&mut stream).unwrap(), b'x');
        proxy.stall();
        thread::sleep(Duration::from_millis(200));
        stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        assert!(asks(&mut stream).is_err(), "nothing comes through");
        proxy.join();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut late = [0_u8];
        stream.read_exact(&mut late).unwrap();
        assert_eq!(late[0], b'x', "what was sent meanwhile arrives");
    }
}
