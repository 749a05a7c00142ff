//! Ids of watches. One is never used again for another path or class: a record that was on its way while the configuration changed keeps
//! its meaning.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use picket_ebpf::WatchSpec;

use crate::config::{AssetClass, WatchConfig};

/// Every watch that this agent ever had.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchIds {
    ids: BTreeMap<(PathBuf, &'static str), u32>,
}

impl WatchIds {
    /// What the kernel side shall watch.
    pub(crate) fn specs(&mut self, watches: &[WatchConfig]) -> Vec<WatchSpec> {
        let mut specs = Vec::new();
        for watch in watches {
            let next = u32::try_from(self.ids.len() + 1).unwrap_or(u32::MAX);
            let id = *self.ids.entry((watch.path.clone(), AssetClass::name(watch.asset_class))).or_insert(next);
            specs.push(WatchSpec { id, path: watch.path.clone() });
        }
        specs
    }

    /// Class by id.
    pub(crate) fn classes(&self) -> HashMap<u32, &'static str> {
        self.ids.iter().map(|((_, class), id)| (*id, *class)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_meaning() {
        let watch = |path: &str, asset_class| WatchConfig { path: path.into(), asset_class };
        let mut ids = WatchIds::default();
        let first = ids.specs(&[watch("/a", AssetClass::Model), watch("/b", AssetClass::Code)]);
        let second = ids.specs(&[watch("/b", AssetClass::Code), watch("/a", AssetClass::Dataset)]);
        assert_eq!(first.iter().map(|spec| spec.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(second.iter().map(|spec| spec.id).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(ids.classes(), HashMap::from([(1, "model"), (2, "code"), (3, "dataset")]));
    }
}
