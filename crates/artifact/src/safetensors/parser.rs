//! The header, with what a plain JSON reader would hide: keys that appear twice.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) tensors: Vec<Tensor>,
    pub(super) duplicates: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) start: u64,
    pub(super) end: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Metadata may only be text.
struct Metadata(Vec<String>);

impl Tensor {
    /// Bytes by type and shape: nothing for an unknown type, `Some(None)` on overflow.
    pub(super) fn bytes(&self) -> Option<Option<u64>> {
        let bits = match self.dtype.as_str() {
            "F4" => 4,
            "F6_E2M3" | "F6_E3M2" => 6,
            "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
            "I16" | "U16" | "F16" | "BF16" => 16,
            "I32" | "U32" | "F32" => 32,
            "I64" | "U64" | "F64" | "C64" => 64,
            _ => return None,
        };
        Some(self.shape.iter().try_fold(bits, |product: u64, length| product.checked_mul(*length)).map(|bits| bits.div_ceil(8)))
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Header, serde_json::Error> {
    serde_json::from_slice(bytes)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        header.duplicates.push(name.clone());
                    }
                    if name == "__metadata__" {
                        header.duplicates.append(&mut map.next_value::<Metadata>()?.0);
                        continue;
                    }
                    let info: Info = map.next_value()?;
                    header.tensors.push(Tensor { name, dtype: info.dtype, shape: info.shape, start: info.data_offsets.0, end: info.data_offsets.1 });
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of text")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let (mut seen, mut duplicates) = (HashSet::new(), Vec::new());
                while let Some((key, _)) = map.next_entry::<String, String>()? {
                    if !seen.insert(key.clone()) {
                        duplicates.push(format!("__metadata__.{key}"));
                    }
                }
                Ok(Metadata(duplicates))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
