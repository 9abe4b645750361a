//! Tokens that a checkpoint lacks, added behind its last id.

use crate::TrainError;
use maskwise_data::atomic::write_atomic;
use maskwise_data::text::{IM_END_TOKEN, IM_START_TOKEN, SEG_TOKEN, Tokenizer};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// The tokens of the systems in the order in which the published ones got their ids (spec 0).
const NEEDED: [&str; 3] = [SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN];

/// The tokens that `tokenizer` lacks, with the ids that they get.
pub(super) fn missing_tokens(tokenizer: &Tokenizer) -> Vec<(&'static str, u32)> {
    let missing = NEEDED.into_iter().filter(|token| tokenizer.token_to_id(token).is_none());
    missing.zip(tokenizer.vocab_size() as u32..).collect()
}

/// Copies the tokenizer files of `from` to `to` with `added` in them. The tokenizer is set to the rules that the systems were trained with
/// (`legacy`, spec 1.5), whatever LLaVA's file says.
pub(super) fn write_tokenizer(from: &Path, to: &Path, added: &[(&str, u32)]) -> Result<(), TrainError> {
    for name in ["tokenizer.model", "special_tokens_map.json", "generation_config.json"] {
        let path = from.join(name);
        if path.is_file() {
            let bytes = fs::read(&path).map_err(|error| TrainError::io("read", &path, error))?;
            write_atomic(&to.join(name), |file| file.write_all(&bytes))?;
        }
    }
    let mut config = read_object(&from.join("tokenizer_config.json"))?.unwrap_or_default();
    let mut tokens = known_tokens(from, &config)?;
    tokens.extend(added.iter().map(|(token, id)| ((*token).to_owned(), json!(id))));
    if let Some(Value::Object(decoder)) = config.get_mut("added_tokens_decoder") {
        decoder.extend(added.iter().map(|(token, id)| (id.to_string(), entry(token))));
    }
    config.insert("legacy".to_owned(), json!(true));
    write_json(&to.join("tokenizer_config.json"), &config.into())?;
    write_json(&to.join("added_tokens.json"), &tokens.into())?;
    if let Some(mut library) = read_object(&from.join("tokenizer.json"))? {
        let path = from.join("tokenizer.json");
        let Some(list) = library.get_mut("added_tokens").and_then(Value::as_array_mut) else {
            return Err(TrainError::setting(path.display().to_string(), "has no list `added_tokens`"));
        };
        list.extend(added.iter().map(|(token, id)| {
            let mut token = entry(token);
            token["id"] = json!(id);
            token
        }));
        write_json(&to.join("tokenizer.json"), &library.into())?;
    }
    Ok(())
}

/// Token to id of `added_tokens.json`, or where that is missing what `added_tokens_decoder` lists.
fn known_tokens(folder: &Path, config: &Map<String, Value>) -> Result<Map<String, Value>, TrainError> {
    if let Some(tokens) = read_object(&folder.join("added_tokens.json"))? {
        return Ok(tokens);
    }
    let decoder = config.get("added_tokens_decoder").and_then(Value::as_object);
    let token = |(id, token): (&String, &Value)| {
        Some((token["content"].as_str()?.to_owned(), json!(id.parse::<u32>().ok()?)))
    };
    Ok(decoder.into_iter().flatten().filter_map(token).collect())
}

fn entry(token: &str) -> Value {
    json!({"content": token, "lstrip": false, "normalized": true, "rstrip": false, "single_word": false, "special": false})
}

pub(super) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, TrainError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read(path).map_err(|error| TrainError::io("read", path, error))?;
    let object = serde_json::from_slice(&text)
        .map_err(|error| TrainError::setting(path.display().to_string(), error.to_string()))?;
    Ok(Some(object))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), TrainError> {
    Ok(write_atomic(path, |file| writeln!(file, "{value:#}"))?)
}
