//! Which devices exist and which are revoked: in memory, because it is asked at every call.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::{Mutex, RwLock};
use picket_event::DeviceUid;

use crate::{
    ingest::TokenBucket,
    state::{State, StateError},
};

/// Every enrolled device.
pub struct Directory {
    devices: RwLock<HashMap<DeviceUid, Entry>>,
    events_per_second_max: u32,
}

struct Entry {
    revoked: bool,
    rate: Arc<Mutex<TokenBucket>>,
}

/// Why a device with a good certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceProblem {
    /// No such device here: the state folder is older than the certificate.
    Unknown,
    /// An admin revoked it.
    Revoked,
}

impl Directory {
    /// Reads every device.
    pub async fn load(state: &State, events_per_second_max: u32) -> Result<Self, StateError> {
        let directory = Self { devices: RwLock::default(), events_per_second_max };
        for row in state.devices().await? {
            let uid = row.uid.parse().map_err(|_| StateError::Corrupt("device uid"))?;
            directory.add(uid, row.revoked_at.is_some());
        }
        Ok(directory)
    }

    /// A device that has just enrolled.
    pub fn add(&self, device: DeviceUid, revoked: bool) {
        let rate = Arc::new(Mutex::new(TokenBucket::new(self.events_per_second_max, Instant::now())));
        self.devices.write().insert(device, Entry { revoked, rate });
    }

    /// From now on the device is refused.
    pub fn revoke(&self, device: DeviceUid) {
        if let Some(entry) = self.devices.write().get_mut(&device) {
            entry.revoked = true;
        }
    }

    /// The device's rate limit, which outlives its sessions; an error when it may not connect.
    pub fn admit(&self, device: DeviceUid) -> Result<Arc<Mutex<TokenBucket>>, DeviceProblem> {
        match self.devices.read().get(&device) {
            None => Err(DeviceProblem::Unknown),
            Some(entry) if entry.revoked => Err(DeviceProblem::Revoked),
            Some(entry) => Ok(Arc::clone(&entry.rate)),
        }
    }
}
