//! Configurations that construct objects by name: Hydra and NeMo targets, YAML tags, skops schemas, notebooks.

pub(crate) mod notebook;
pub(crate) mod skops;
#[cfg(test)]
mod tests;
pub(crate) mod yaml;

use crate::json::Json;
use crate::pickle::policy::{Tier, judge};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};

/// Keys under which frameworks put the dotted name of what they construct.
const TARGET_KEYS: &[&str] = &["_target_", "target", "class_path"];

/// Every object of a document that names what is to be made of it.
pub(crate) fn targets(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    document.objects("", &mut |at, object| {
        for key in TARGET_KEYS {
            if let Some(name) = object.get(key).and_then(Json::text) {
                target(scan, place, &format!("{at}.{key}"), name);
            }
        }
    });
}

/// One dotted name that a framework will call.
pub(crate) fn target(scan: &mut Scan<'_>, place: &Place, key: &str, name: &str) {
    let key = key.trim_start_matches('.');
    let Some((module, attribute)) = name.rsplit_once('.') else { return };
    // What is constructed is called, so harmless classes of a framework are harmless here; unknown ones are the rule.
    if let Tier::Executes(how) = judge(module, attribute).tier {
        let explanation = format!("Loading this configuration calls {name}, which {how}.");
        scan.add(Finding::new(&rules::OBJECT_CONSTRUCTION, &place.member, explanation).key(key).value(name));
    }
}
