//! Chat templates: Jinja that runs on the host of whoever chats. A sandbox is only as good as its version, so what matters is
//! what a template reaches for, not which words it contains.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use crate::report::Finding;
use crate::rules;
use crate::scan::{Place, Scan};
use parser::{ReachKind, reaches};

/// Tokens cost fifty times their text. The longest published chat templates have some ten thousand characters; what lies behind
/// this is reported as not followed.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;

fn head(template: &str) -> &str {
    template.get(..template.floor_char_boundary(TEMPLATE_BYTES_MAX)).unwrap_or(template)
}

/// Judges one template that stands under `key` of the member.
pub(crate) fn examine_template(scan: &mut Scan<'_>, place: &Place, key: &str, template: &str) {
    if template.len() > TEMPLATE_BYTES_MAX {
        let explanation = "The template is a hundred times as long as any chat format needs; only its beginning was followed.";
        scan.add(Finding::new(&rules::TEMPLATE_SUSPECT, &place.member, explanation).key(key));
        scan.incomplete(place, &format!("the template under {key} is longer than the limit"));
    }
    let template = head(template);
    let (reaches, unparsed) = reaches(template);
    for reach in reaches {
        let what = &reach.what;
        let (rule, why) = match reach.kind {
            ReachKind::Internals => {
                (&rules::TEMPLATE_ESCAPE, format!("The template reaches {what}, from which Python's internals and any command are within reach."))
            }
            ReachKind::ComputedName => {
                (&rules::TEMPLATE_ESCAPE, format!("The template computes the name of an attribute of {what}, which hides what it reaches for."))
            }
            ReachKind::EngineGlobal => (&rules::TEMPLATE_SUSPECT, format!("The template uses {what}, a part of the engine that only escapes need.")),
            ReachKind::File => (&rules::TEMPLATE_SUSPECT, format!("The template uses {what}, which reads another template from disk.")),
        };
        scan.add(Finding::new(rule, &place.member, why).key(key).value(line_of(template, reach.at)));
    }
    if let Some(why) = unparsed {
        scan.add(Finding::new(&rules::TEMPLATE_UNPARSED, &place.member, format!("The template cannot be followed to its end: {why}.")).key(key));
        scan.incomplete(place, &format!("the template under {key} was not followed to its end"));
    }
}

/// True when a template leaves its sandbox.
pub(crate) fn escapes(template: &str) -> bool {
    reaches(head(template)).0.iter().any(|reach| matches!(reach.kind, ReachKind::Internals | ReachKind::ComputedName))
}

/// The tag that does it.
fn line_of(template: &str, at: usize) -> String {
    let rest = template.get(at..).unwrap_or_default();
    let end = rest.find("%}").into_iter().chain(rest.find("}}")).min().map_or(rest.len(), |end| end + 2);
    rest.get(..end).unwrap_or(rest).to_owned()
}
