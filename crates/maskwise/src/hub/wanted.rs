//! Which files of a repository are pulled.

use std::collections::BTreeSet;

use super::selection::{Weights, is_sam_checkpoint, select_weights};

/// What a repository is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A whole model: configuration, tokenizer and weights.
    Model,
    /// A vision tower: configuration, image preprocessor and weights.
    VisionTower,
}

/// Configuration files of either purpose, in the top folder.
const CONFIGURATION: &[&str] =
    &["config.json", "preprocessor_config.json", "processor_config.json", "maskwise.json"];

/// What a whole model has besides.
const TOKENIZER: &[&str] = &[
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// Files of the top folder that are small, and the weights. Files in subfolders belong to other frameworks.
pub(super) fn select(names: &[String], purpose: Purpose) -> (Vec<String>, Option<Weights>) {
    let top: BTreeSet<&str> = names.iter().map(String::as_str).filter(|name| !name.contains('/')).collect();
    let small =
        top.iter().filter(|name| is_small_file(name, purpose)).map(|name| (*name).to_owned()).collect();
    (small, select_weights(&top))
}

fn is_small_file(name: &str, purpose: Purpose) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let is_document = matches!(stem.as_str(), "LICENSE" | "LICENCE" | "NOTICE" | "README" | "USE_POLICY");
    CONFIGURATION.contains(&name) || is_document || (purpose == Purpose::Model && TOKENIZER.contains(&name))
}

/// SAM checkpoints that come with an index, which does not name them.
pub(super) fn beside_index(names: &[String]) -> impl Iterator<Item = &String> {
    names.iter().filter(|name| !name.contains('/') && is_sam_checkpoint(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tower_needs_no_tokenizer() {
        let names: Vec<String> = [
            "config.json",
            "tokenizer.json",
            "preprocessor_config.json",
            "README.md",
            "LICENSE.txt",
            "a.gif",
        ]
        .map(str::to_owned)
        .into();
        let tower = ["LICENSE.txt", "README.md", "config.json", "preprocessor_config.json"];
        assert_eq!(select(&names, Purpose::VisionTower).0, tower);
        assert!(select(&names, Purpose::Model).0.contains(&"tokenizer.json".to_owned()));
    }

    #[test]
    fn subfolders_belong_to_others() {
        let names = ["flax/model.safetensors", "sub/config.json"].map(str::to_owned);
        assert_eq!(select(&names, Purpose::Model), (vec![], None));
    }
}
