//! skops: a schema of nodes, each naming a loader, a module and a class. Its reader asks the user to trust types; what it
//! would be asked to trust is judged like an import of a pickle.

use crate::json::Json;
use crate::pickle::policy::{Tier, judge};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};

pub(crate) fn examine_schema(scan: &mut Scan<'_>, place: &Place, document: &Json) {
    document.objects("", &mut |at, object| {
        let field = |key: &str| object.get(key).and_then(Json::text).unwrap_or_default();
        let (module, class, loader) = (field("__module__"), field("__class__"), field("__loader__"));
        if module.is_empty() && class.is_empty() {
            return;
        }
        node(scan, place, at, (module, class, loader));
        // Function and operator nodes hold the name of what they call.
        if let Some(function) = object.get("content").and_then(|content| content.get("function")).and_then(Json::text) {
            let inner = object.get("content").and_then(|content| content.get("module_path")).and_then(Json::text).unwrap_or(module);
            node(scan, place, at, (inner, function, loader));
        }
    });
}

fn node(scan: &mut Scan<'_>, place: &Place, at: &str, (module, class, loader): (&str, &str, &str)) {
    let (rule, how) = match judge(module, class).tier {
        Tier::Allowed | Tier::AllowedClass => return,
        Tier::Executes(how) => (&rules::OBJECT_CONSTRUCTION, how),
        Tier::Risky(how) => (&rules::OBJECT_UNKNOWN, how),
        Tier::Unknown => (&rules::OBJECT_UNKNOWN, "is on no list of what frameworks need"),
    };
    let explanation = format!("Loading this file with its types trusted makes {module}.{class} through {loader}, which {how}.");
    scan.add(Finding::new(rule, &place.member, explanation).key(at.trim_start_matches('.')).value(format!("{module}.{class}")));
}
