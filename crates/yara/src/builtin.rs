//! The pack that comes with Picket.

use crate::Pack;

macro_rules! packs {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../rules/yara/", $name)))),*]
    };
}

/// Every file of `rules/yara`; a test compares the two.
const PACKS: &[(&str, &str)] =
    packs!["credentials.yar", "loaders.yar", "miners.yar", "payloads.yar", "persistence.yar", "pickles.yar", "shells.yar", "tooling.yar"];

/// The rules against machine-learning artifacts that hide code.
#[must_use]
pub fn built_in() -> Vec<Pack> {
    PACKS.iter().map(|(name, text)| Pack::new(name, text)).collect()
}
