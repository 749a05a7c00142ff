use serde::{Deserialize, Serialize};

use crate::DeviceUid;

/// OCSF `device`: the host an event came from, as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Identity given at enrolment.
    pub uid: DeviceUid,
    /// Host name that the device last reported; a label, never an identity.
    pub hostname: String,
}
