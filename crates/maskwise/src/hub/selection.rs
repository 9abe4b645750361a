//! What a model folder is made of: its weights, what it lacks, the vision tower it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::repo::is_safe_file_name;

/// Files in `.bin` that hold no weights: the state of a training run.
const TRAINING_STATE: &[&str] = &["optimizer.bin", "scheduler.bin", "training_args.bin", "random_states.bin"];

/// Names of a single weight file and of its sharded index, best first. A safetensors file cannot execute anything,
/// so it comes before a pickle; a single file comes before shards, as every loader of these folders has it.
const WEIGHT_FORMATS: &[(&str, &str, &str)] = &[
    ("model.safetensors", "model.safetensors.index.json", ".safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", ".bin"),
];

/// The weights of a repository: files, or the index that names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weights {
    /// Each of these.
    Files(Vec<String>),
    /// The index; its shards are known once it has been read.
    Index(String),
}

/// The weights among the files of a top folder.
pub(super) fn select_weights(top: &BTreeSet<&str>) -> Option<Weights> {
    for (single, index, ending) in WEIGHT_FORMATS {
        if top.contains(single) {
            return Some(with_sam_beside(top, vec![single]));
        }
        if top.contains(index) {
            return Some(Weights::Index((*index).to_owned()));
        }
        let is_weights = |name: &&str| name.ends_with(ending) && !TRAINING_STATE.contains(name);
        let files: Vec<&str> = top.iter().copied().filter(is_weights).collect();
        if !files.is_empty() {
            return Some(with_sam_beside(top, files));
        }
    }
    let files: Vec<String> = top.iter().filter(|n| n.ends_with(".pth")).map(|n| (*n).to_owned()).collect();
    if files.is_empty() { None } else { Some(Weights::Files(files)) }
}

/// A SAM checkpoint of its own lies beside the language model's weights, whatever format those have.
fn with_sam_beside(top: &BTreeSet<&str>, files: Vec<&str>) -> Weights {
    let beside = top.iter().copied().filter(|name| is_sam_checkpoint(name));
    Weights::Files(files.into_iter().chain(beside).map(str::to_owned).collect())
}

pub(super) fn is_sam_checkpoint(name: &str) -> bool {
    name.starts_with("sam") && name.ends_with(".pth")
}

/// The shards that an index names, in order and once each.
///
/// Errors are a reason in words: not JSON, no `weight_map`, or a name that would leave the folder.
pub(super) fn shards_of_index(text: &str) -> Result<Vec<String>, String> {
    let index: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or("it has no weight_map")?;
    let mut shards = BTreeSet::new();
    for (tensor, shard) in map {
        let shard = shard.as_str().ok_or_else(|| format!("the shard of {tensor:?} is not a name"))?;
        if !is_safe_file_name(shard) {
            return Err(format!("the shard {shard:?} of {tensor:?} could lie outside the folder"));
        }
        shards.insert(shard.to_owned());
    }
    if shards.is_empty() {
        return Err("its weight_map is empty".to_owned());
    }
    Ok(shards.into_iter().collect())
}

/// What a folder lacks to be loaded, in words; empty if nothing: `config.json` (a lone `.pth` has none), any weights
/// at all, and each shard that an index names.
pub fn missing_files(folder: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    let weights = select_weights(&present_names(folder).iter().map(String::as_str).collect());
    let only_pth = |files: &Vec<String>| files.iter().all(|name| name.ends_with(".pth"));
    let needs_config = !matches!(&weights, Some(Weights::Files(files)) if only_pth(files));
    if needs_config && !folder.join("config.json").is_file() {
        missing.push("config.json".to_owned());
    }
    match weights {
        None => missing.push("weights".to_owned()),
        Some(Weights::Files(_)) => {}
        Some(Weights::Index(index)) => missing.extend(missing_shards(folder, &index)),
    }
    missing
}

/// Names of the files in a folder; a link whose target is gone does not count.
fn present_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.path().is_file()).filter_map(|e| e.file_name().into_string().ok()).collect()
}

fn missing_shards(folder: &Path, index: &str) -> Vec<String> {
    let read = fs::read_to_string(folder.join(index)).map_err(|error| error.to_string());
    match read.and_then(|text| shards_of_index(&text)) {
        Ok(shards) => shards.into_iter().filter(|shard| !folder.join(shard).is_file()).collect(),
        Err(reason) => vec![format!("a readable {index} ({reason})")],
    }
}

/// The vision tower that a model's `config.json` names, as it is written there: a repository such as
/// `openai/clip-vit-large-patch14-336`, or a folder. `None` if it names none or is not JSON.
///
/// `mm_vision_tower` comes first; in a merged LISA checkpoint (it has `train_mask_decoder`) `vision_tower` does.
pub fn vision_tower_of(config_json: &str) -> Option<String> {
    let config: Value = serde_json::from_str(config_json).ok()?;
    let merged = config.get("train_mask_decoder").is_some();
    let keys = if merged { ["vision_tower", "mm_vision_tower"] } else { ["mm_vision_tower", "vision_tower"] };
    let names = keys.iter().filter_map(|key| config.get(key).and_then(Value::as_str));
    names.map(str::trim).find(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(names: &[&str]) -> Option<Weights> {
        select_weights(&names.iter().copied().collect())
    }

    fn files(names: &[&str]) -> Option<Weights> {
        Some(Weights::Files(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn one_kind_of_weights_safetensors_first() {
        assert_eq!(weights(&["model.safetensors", "pytorch_model.bin"]), files(&["model.safetensors"]));
        assert_eq!(
            weights(&[
                "model-00001-of-00002.safetensors",
                "model.safetensors.index.json",
                "pytorch_model.bin.index.json"
            ]),
            Some(Weights::Index("model.safetensors.index.json".into()))
        );
        assert_eq!(
            weights(&["pytorch_model.bin.index.json", "tf_model.h5"]),
            Some(Weights::Index("pytorch_model.bin.index.json".into()))
        );
        assert_eq!(weights(&["mm_projector.bin", "training_args.bin"]), files(&["mm_projector.bin"]));
        assert_eq!(weights(&["sam_vit_h_4b8939.pth"]), files(&["sam_vit_h_4b8939.pth"]));
        assert_eq!(
            weights(&["pytorch_model.bin", "sam_vit_h.pth", "other.pth"]),
            files(&["pytorch_model.bin", "sam_vit_h.pth"])
        );
        assert_eq!(weights(&["tf_model.h5", "README.md"]), None);
    }

    #[test]
    fn an_index_names_its_shards_once() {
        let text = r#"{"weight_map": {"a": "b.bin", "c": "a.bin", "d": "b.bin"}}"#;
        assert_eq!(shards_of_index(text).unwrap(), ["a.bin", "b.bin"]);
        for text in ["", "[]", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#] {
            assert!(shards_of_index(text).is_err(), "{text}");
        }
        let error = shards_of_index(r#"{"weight_map": {"a": "../../x"}}"#).unwrap_err();
        assert!(error.contains("../../x"), "{error}");
    }

    #[test]
    fn the_vision_tower_is_read_from_the_config() {
        let tower = |text: &str| vision_tower_of(text);
        assert_eq!(tower(r#"{"mm_vision_tower": "o/a", "vision_tower": "o/b"}"#).unwrap(), "o/a");
        let merged = r#"{"train_mask_decoder": true, "mm_vision_tower": "o/a", "vision_tower": "o/b"}"#;
        assert_eq!(tower(merged).unwrap(), "o/b");
        assert_eq!(tower(r#"{"vision_tower": "o/b"}"#).unwrap(), "o/b");
        assert_eq!(tower(r#"{"mm_vision_tower": null, "vision_tower": "o/b"}"#).unwrap(), "o/b");
        for text in ["", "[]", "{}", r#"{"vision_tower": 3}"#, r#"{"vision_tower": " "}"#] {
            assert_eq!(tower(text), None, "{text}");
        }
    }

    #[test]
    fn missing_shards_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(missing_files(folder.path()), ["config.json", "weights"]);
        write("config.json", "{}");
        let index = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
        write("model.safetensors.index.json", index);
        write("m-1.safetensors", "");
        assert_eq!(missing_files(folder.path()), ["m-2.safetensors"]);
        write("m-2.safetensors", "");
        assert!(missing_files(folder.path()).is_empty());
        write("model.safetensors.index.json", "{");
        assert_eq!(missing_files(folder.path()).len(), 1);
    }
}
