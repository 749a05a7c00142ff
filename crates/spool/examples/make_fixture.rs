//! Writes the folder that `tests/fixtures/layout-N` keeps: run once for each new layout, `cargo run -p picket-spool --example make_fixture DIR`.

use picket_spool::{NewFrame, Spool, SpoolConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("which folder?")?;
    let (spool, _) = Spool::open(SpoolConfig::new(dir.into()))?;
    let frames: [(&[u8], &[u8]); 3] = [(b"first frame", b"checkpoint 1"), (b"second frame", b"checkpoint 2"), (b"third frame", b"checkpoint 3")];
    for (number, (payload, checkpoint)) in (1_i64..).zip(frames) {
        spool.append(&NewFrame { count: 10, payload, checkpoint, time_first_ns: number, time_last_ns: number, ..NewFrame::default() })?;
        spool.sync()?;
        if number == 1 {
            spool.ack(10)?;
        }
    }
    spool.close()?;
    Ok(())
}
