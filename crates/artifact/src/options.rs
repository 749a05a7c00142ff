//! What a scan may spend and should compute.

use picket_bounded::Limits;
use std::time::Duration;

/// Options of [`crate::scan`].
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// Ceilings for one file.
    pub limits: Limits,
    /// Files up to this size get a sha256; larger ones only where it is asked for, because judging does not read their tensors.
    pub hash_up_to: u64,
    /// Ends the scan of one file by the clock; what was not read then is reported.
    pub time_max: Option<Duration>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), hash_up_to: 8 << 20, time_max: Some(Duration::from_secs(60)) }
    }
}
