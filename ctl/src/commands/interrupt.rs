//! Ctrl-C during long local work: the first asks it to end with what it has, the second ends it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use picket_artifact::Watch;

/// As shells report a program ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Sets `watch.stop` at the first Ctrl-C. Where no signal can be taken, Ctrl-C ends the program as it always does.
pub(super) fn on_ctrl_c(watch: Arc<Watch>, said: &'static str) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            for first in [true, false] {
                if tokio::signal::ctrl_c().await.is_err() {
                    return;
                }
                if !first {
                    std::process::exit(INTERRUPTED);
                }
                watch.stop.store(true, Ordering::Relaxed);
                eprintln!("{said}");
            }
        });
    });
}
