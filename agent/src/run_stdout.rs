//! `picket-agent run --stdout`.

use std::{
    io::ErrorKind,
    sync::{Arc, mpsc},
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use crate::{
    boot::Boot,
    capabilities,
    config::Config,
    gpu::{GpuWatch, SharedGpus},
    loss::LossLedger,
    self_watch::SelfWatch,
    side::side,
    start::{self, Loaded},
    stdout::Lines,
    supervisor::Beats,
};

/// Chunks between pipeline and writer. A slow reader fills them, then the queue before the pipeline, and what comes then is counted.
const CHUNKS_MAX: usize = 16;
/// A reader that takes nothing any more must not keep the agent from ending.
const END_MAX: Duration = Duration::from_secs(2);

enum End {
    Signal,
    Output(std::io::Result<()>),
}

pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    // Before any thread: they inherit the mask, and one of them takes the signals out.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let boot = Boot::current()?;
    let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let loaded = Loaded::new(config, false)?;
    let mut lines = Lines::new(std::io::stdout(), hostname);
    let first = capabilities::event(&loaded.snapshot.load(), config);
    if let Err(error) = lines.write(&first).and_then(|()| lines.flush()) {
        return finished(Err(error));
    }
    let ledger = Arc::<LossLedger>::default();
    let (sink, events) = mpsc::sync_channel(CHUNKS_MAX);
    let gpu = GpuWatch::start(&config.gpu, SharedGpus::default(), sink.clone())?;
    let (beats, self_watch) = (Arc::<Beats>::default(), Arc::<SelfWatch>::default());
    let watched = side(sink.clone());
    let eyes = (Arc::clone(&beats), Arc::clone(&self_watch));
    let running = start::start(loaded, config, boot, &ledger, sink, eyes, None)?;
    let watching = self_watch.start(beats, None, None, watched)?;
    let (ended, end) = mpsc::channel();
    let by_signal = ended.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let _ = signals.wait();
        let _ = by_signal.send(End::Signal);
    })?;
    std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
        let _ = ended.send(End::Output(lines.run(&events, &ledger)));
    })?;
    match end.recv()? {
        End::Output(result) => finished(result),
        End::Signal => {
            // The sensor hands over the rest, the pipeline ends with it, the writer with the pipeline.
            drop(gpu);
            drop(watching);
            let _ = running.source.stop();
            match end.recv_timeout(END_MAX) {
                Ok(End::Output(result)) => finished(result),
                _ => anyhow::bail!("the reader of the output takes nothing: its last events were not written"),
            }
        }
    }
}

fn finished(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        // `picket-agent run --stdout | head` is a way to end.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
