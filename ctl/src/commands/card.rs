//! What a model says about itself: the front matter of its card, `config.json`, and nothing that would have to be loaded.

use std::fs::File;
use std::path::Path;

use picket_bounded::read_to_cap;
use serde_json::Value;

/// A card's text and a configuration: people write some kilobytes.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Values of one key.
const VALUES_MAX: usize = 200;

/// The card in words that a bill of materials uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) licences: Vec<String>,
    pub(super) datasets: Vec<String>,
    pub(super) base_models: Vec<String>,
    pub(super) languages: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) task: Option<String>,
    pub(super) library: Option<String>,
    pub(super) architectures: Vec<String>,
    pub(super) family: Option<String>,
    pub(super) dtype: Option<String>,
    pub(super) quantisation: Option<String>,
}

/// Reads `README.md` and `config.json` of a folder; what is missing or unreadable says nothing.
pub(super) fn of_folder(folder: &Path) -> Card {
    let text = |name: &str| {
        let bytes = read_to_cap(File::open(folder.join(name)).ok()?, TEXT_BYTES_MAX).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut card = text("README.md").map(|text| front_matter(&text)).unwrap_or_default();
    if let Some(config) = text("config.json").and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
        configuration(&config, &mut card);
    }
    card
}

/// The part of YAML that cards are written in: keys at the margin with a word, a list in brackets, or a list of words below.
fn front_matter(text: &str) -> Card {
    let mut card = Card::default();
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return card;
    }
    let mut key = String::new();
    for line in lines.take_while(|line| line.trim_end() != "---") {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(item) = trimmed.strip_prefix("- ") {
            // Deeper lists belong to keys that are not read.
            if line.len() - line.trim_start().len() <= 2 {
                add(&mut card, &key, item);
            }
        } else if !line.starts_with([' ', '\t'])
            && let Some((name, value)) = line.split_once(':')
        {
            key = name.trim().to_owned();
            let value = value.trim();
            match value.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
                Some(list) => list.split(',').for_each(|item| add(&mut card, &key, item)),
                None => add(&mut card, &key, value),
            }
        }
    }
    card
}

fn add(card: &mut Card, key: &str, value: &str) {
    let value = value.trim().trim_matches(['"', '\'']).to_owned();
    if value.is_empty() || value.starts_with(['|', '>', '{', '&']) {
        return;
    }
    let list = match key {
        "license" => &mut card.licences,
        "datasets" => &mut card.datasets,
        "base_model" => &mut card.base_models,
        "language" => &mut card.languages,
        "tags" => &mut card.tags,
        "pipeline_tag" => return card.task = Some(value),
        "library_name" => return card.library = Some(value),
        _ => return,
    };
    if list.len() < VALUES_MAX && !list.contains(&value) {
        list.push(value);
    }
}

fn configuration(config: &Value, card: &mut Card) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(architectures) = config.get("architectures").and_then(Value::as_array) {
        card.architectures = architectures.iter().filter_map(text).take(VALUES_MAX).collect();
    }
    card.family = config.get("model_type").and_then(text);
    card.dtype = config.get("torch_dtype").or_else(|| config.get("dtype")).and_then(text);
    if let Some(quantisation) = config.get("quantization_config") {
        let method = quantisation.get("quant_method").and_then(text).unwrap_or_else(|| "quantised".to_owned());
        let bits = quantisation.get("bits").or_else(|| quantisation.get("num_bits")).and_then(Value::as_u64);
        card.quantisation = Some(bits.map_or(method.clone(), |bits| format!("{method}, {bits} bits")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_in_each_way_of_writing() {
        let card = front_matter(
            "---\nlicense: apache-2.0\ndatasets:\n- wikitext\n  - \"bookcorpus\"\nlanguage: [en, 'de']\nbase_model: org/base # not a comment here\npipeline_tag: text-generation\n\
             model-index:\n- name: x\n  results:\n    - task: y\n---\nlicense: mit\n",
        );
        assert_eq!(
            (card.licences, card.datasets, card.languages),
            (vec!["apache-2.0".to_owned()], vec!["wikitext".to_owned(), "bookcorpus".to_owned()], vec!["en".to_owned(), "de".to_owned()])
        );
        assert_eq!(card.task.as_deref(), Some("text-generation"));
        assert_eq!(front_matter("no front matter\nlicense: mit\n"), Card::default());
    }

    #[test]
    fn a_configuration() {
        let mut card = Card::default();
        configuration(
            &serde_json::json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "gptq", "bits": 4}}),
            &mut card,
        );
        assert_eq!((card.family.as_deref(), card.quantisation.as_deref()), (Some("llama"), Some("gptq, 4 bits")));
    }
}
