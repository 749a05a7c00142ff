//! Core ML (`.mlmodel`, and the specification in a `.mlpackage`): layers and models whose code is not Core ML's own, and what
//! leads to other files.

mod limits;

use crate::Format;
use crate::path;
use crate::protobuf::{Message, Walked, Walker};
use crate::report::Finding;
use crate::rules;
use crate::scan::{Claim, Place, Scan};
use limits::{DEPTH_MAX, NAME_BYTES_MAX};
use picket_bounded::{BoundedError, Source};

pub(crate) fn examine_coreml(scan: &mut Scan<'_>, source: &dyn Source, place: &Place) -> Claim {
    let mut walker = Walker::new(scan, source, place);
    let outcome = walker.model(walker.whole(), DEPTH_MAX);
    walker.end(outcome, "The model");
    Claim { format: Format::CoreMl, end: source.len() }
}

impl Walker<'_, '_, '_> {
    /// Model: pipelines 200 to 202, neural networks 303, 403 and 500, a custom model 555, a linked model 556.
    fn model(&mut self, model: Message, depth: u32) -> Walked {
        let depth = depth.checked_sub(1).ok_or(BoundedError::LimitExceeded { what: "models inside one another", limit: DEPTH_MAX.into() })?;
        self.each(model, &mut |walker, number, inner| match number {
            // PipelineClassifier and PipelineRegressor hold a Pipeline 1; a Pipeline holds models 1.
            200 | 201 => walker.each(inner, &mut |walker, number, pipeline| if number == 1 { walker.pipeline(pipeline, depth) } else { Ok(()) }),
            202 => walker.pipeline(inner, depth),
            // NeuralNetwork, its classifier and its regressor: layers 1.
            303 | 403 | 500 => walker.each(inner, &mut |walker, number, layer| if number == 1 { walker.layer(layer) } else { Ok(()) }),
            555 => walker.custom(inner, 10, "The model is a class of the application that loads it"),
            556 => walker.each(inner, &mut |walker, number, file| if number == 1 { walker.linked(file) } else { Ok(()) }),
            _ => Ok(()),
        })
    }

    fn pipeline(&mut self, pipeline: Message, depth: u32) -> Walked {
        self.each(pipeline, &mut |walker, number, model| if number == 1 { walker.model(model, depth) } else { Ok(()) })
    }

    /// NeuralNetworkLayer: custom 500.
    fn layer(&mut self, layer: Message) -> Walked {
        self.each(layer, &mut |walker, number, inner| {
            if number == 500 { walker.custom(inner, 10, "A layer is a class of the application that loads the model") } else { Ok(()) }
        })
    }

    /// CustomModel and CustomLayerParams: className 10.
    fn custom(&mut self, custom: Message, field: u64, what: &str) -> Walked {
        let mut class = String::new();
        self.each(custom, &mut |walker, number, inner| {
            if number == field {
                class = inner.text(walker.source, NAME_BYTES_MAX);
            }
            Ok(())
        })?;
        let finding = Finding::new(&rules::GRAPH_CUSTOM_OP, &self.place.member, format!("{what}: {class}."));
        self.scan.add(finding.at(self.place.base.saturating_add(custom.start)).value(class));
        Ok(())
    }

    /// LinkedModelFile: its name 1 and search path 2, each a parameter with a default value 1.
    fn linked(&mut self, file: Message) -> Walked {
        self.each(file, &mut |walker, number, parameter| {
            walker.each(parameter, &mut |walker, inner_number, value| {
                if matches!(number, 1 | 2) && inner_number == 1 {
                    let target = value.text(walker.source, NAME_BYTES_MAX);
                    let rule = if path::escapes(&target) { &rules::EXTERNAL_PATH } else { &rules::EXTERNAL_REFERENCE };
                    let explanation = format!("The model continues in the file {target}.");
                    walker.scan.add(Finding::new(rule, &walker.place.member, explanation).at(walker.place.base.saturating_add(value.start)).value(target));
                }
                Ok(())
            })
        })
    }
}
