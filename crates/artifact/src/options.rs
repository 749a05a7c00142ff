//! What a scan may spend and should compute.

use crate::RegionRules;
use picket_bounded::Limits;
use std::sync::Arc;
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
    /// Applied to what can hold code or text.
    pub region_rules: Option<Arc<dyn RegionRules>>,
    /// Applies them to tensors as well: cost then follows bytes.
    pub all_regions: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), hash_up_to: 8 << 20, time_max: Some(Duration::from_secs(60)), region_rules: None, all_regions: false }
    }
}
