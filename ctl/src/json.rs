//! Messages of the API as JSON: the standard mapping of protobuf, with the field names that the HTTP API has.

use std::sync::LazyLock;

use picket_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::error::CtlError;

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());

/// A message of package `picket.v1` by its name. Default values are written out, so that a script finds every key.
pub(crate) fn message(name: &str, message: &impl Message) -> Result<Value, CtlError> {
    let malformed = |what: &str| CtlError::Malformed(format!("{name}: {what}"));
    let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(&format!("picket.v1.{name}"))).ok_or_else(|| malformed("no such message"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|error| malformed(&error.to_string()))?;
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| malformed(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use picket_proto::v1::{HostView, host_view::State};

    use super::*;

    #[test]
    fn a_message_has_every_key_and_named_states() {
        let view = HostView { device_uid: "d".to_owned(), state: State::Connected.into(), events_stored: 5, ..HostView::default() };
        let json = message("HostView", &view).unwrap();
        assert_eq!(json["deviceUid"], "d");
        assert_eq!(json["state"], "STATE_CONNECTED");
        assert_eq!(json["eventsStored"], "5");
        assert_eq!(json["clockSkewMs"], "0");
        assert!(message("NoSuch", &view).is_err());
    }
}
