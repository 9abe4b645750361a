//! The small JSON files beside a tokenizer: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::TextError;
use crate::folder::ModelFolder;

/// A special token and how the whitespace beside it is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecialToken {
    pub(super) content: String,
    /// Whitespace on this side is dropped.
    pub(super) strips_left: bool,
    pub(super) strips_right: bool,
    /// Given with attributes, not as a bare string.
    pub(super) has_attributes: bool,
}

/// The names that a special token can have, in the order that the reference tokenizer goes through them.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What the JSON files say.
#[derive(Debug)]
pub(super) struct Settings {
    roles: BTreeMap<&'static str, SpecialToken>,
    additional: Vec<SpecialToken>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    pub(super) legacy: bool,
    pub(super) clean_up_spaces: bool,
    pub(super) max_length: Option<usize>,
    pub(super) class: Option<String>,
    /// Token to id, of `added_tokens.json`, or of `added_tokens_decoder` where that file is missing.
    pub(super) added: BTreeMap<String, u32>,
}

impl Settings {
    /// Reads the files of a folder; each may be missing. `llama_defaults` supplies `<s>`, `</s>` and `<unk>`.
    pub(super) fn read(folder: &ModelFolder, llama_defaults: bool) -> Result<Self, TextError> {
        let mut settings = Settings {
            roles: BTreeMap::new(),
            additional: Vec::new(),
            add_bos: true,
            add_eos: false,
            legacy: true,
            clean_up_spaces: false,
            max_length: None,
            class: None,
            added: BTreeMap::new(),
        };
        if llama_defaults {
            for (role, content) in [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")] {
                settings.roles.insert(role, with_attributes(content));
            }
        }
        let config_path = folder.path("tokenizer_config.json");
        let config = read_object(folder, "tokenizer_config.json")?;
        if let Some(config) = &config {
            settings.apply_config(config, &config_path)?;
        }
        if let Some(map) = read_object(folder, "special_tokens_map.json")? {
            settings.apply_special_tokens(&map, &folder.path("special_tokens_map.json"), false)?;
        }
        match (read_object(folder, "added_tokens.json")?, &config) {
            (Some(added), _) => settings.added = parse_added(&added, &folder.path("added_tokens.json"))?,
            (None, Some(config)) => settings.added = parse_added_decoder(config, &config_path)?,
            (None, None) => {}
        }
        Ok(settings)
    }

    /// The token of a role such as `bos_token`.
    pub(super) fn role(&self, name: &str) -> Option<&str> {
        self.roles.get(name).map(|token| token.content.as_str())
    }

    /// Every special token once. A token given both with attributes and as a bare string counts as the former.
    pub(super) fn special_tokens(&self) -> Vec<SpecialToken> {
        let mut tokens: Vec<SpecialToken> = Vec::new();
        let roles = ROLES.iter().filter_map(|role| self.roles.get(role));
        for token in roles.chain(&self.additional) {
            match tokens.iter_mut().find(|known| known.content == token.content) {
                Some(known) if token.has_attributes => *known = token.clone(),
                Some(_) => {}
                None => tokens.push(token.clone()),
            }
        }
        tokens
    }

    fn apply_config(&mut self, config: &Object, path: &Path) -> Result<(), TextError> {
        self.apply_special_tokens(config, path, true)?;
        for (key, slot) in [
            ("add_bos_token", &mut self.add_bos),
            ("add_eos_token", &mut self.add_eos),
            ("legacy", &mut self.legacy),
            ("clean_up_tokenization_spaces", &mut self.clean_up_spaces),
        ] {
            match config.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::Bool(value)) => *slot = *value,
                Some(other) => {
                    return Err(json_error(path, format!("`{key}` is {other}, not true or false")));
                }
            }
        }
        // "No limit" is written as a number near 1e30.
        self.max_length =
            config.get("model_max_length").and_then(Value::as_u64).map(|length| length as usize);
        self.class = config.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned);
        Ok(())
    }

    /// In `tokenizer_config.json` the main tokens written as bare strings still get attributes (that strip nothing),
    /// because the LLaMA tokenizer's constructor adds them; in `special_tokens_map.json` they do not.
    fn apply_special_tokens(
        &mut self,
        file: &Object,
        path: &Path,
        constructor: bool,
    ) -> Result<(), TextError> {
        for role in ROLES {
            let promote =
                constructor && matches!(role, "bos_token" | "eos_token" | "unk_token" | "pad_token");
            match file.get(role) {
                None => {}
                Some(Value::Null) => {
                    self.roles.remove(role);
                }
                Some(value) => {
                    let mut token = parse_token(value, role, path)?;
                    if promote && !token.has_attributes {
                        token = with_attributes(&token.content);
                    }
                    self.roles.insert(role, token);
                }
            }
        }
        if let Some(Value::Array(tokens)) = file.get("additional_special_tokens") {
            let name = "additional_special_tokens";
            self.additional =
                tokens.iter().map(|token| parse_token(token, name, path)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }
}

type Object = serde_json::Map<String, Value>;

fn with_attributes(content: &str) -> SpecialToken {
    SpecialToken {
        content: content.to_owned(),
        strips_left: false,
        strips_right: false,
        has_attributes: true,
    }
}

fn parse_token(value: &Value, name: &str, path: &Path) -> Result<SpecialToken, TextError> {
    let token = match value {
        Value::String(content) => SpecialToken {
            content: content.clone(),
            strips_left: true,
            strips_right: true,
            has_attributes: false,
        },
        Value::Object(attributes) => {
            let flag = |key: &str| attributes.get(key).and_then(Value::as_bool).unwrap_or(false);
            let content = attributes.get("content").and_then(Value::as_str);
            SpecialToken {
                content: content
                    .ok_or_else(|| json_error(path, format!("`{name}` has no content")))?
                    .to_owned(),
                strips_left: flag("lstrip"),
                strips_right: flag("rstrip"),
                has_attributes: true,
            }
        }
        other => return Err(json_error(path, format!("`{name}` is {other}, not a token"))),
    };
    if token.content.is_empty() {
        return Err(json_error(path, format!("`{name}` is an empty string")));
    }
    Ok(token)
}

fn parse_added(added: &Object, path: &Path) -> Result<BTreeMap<String, u32>, TextError> {
    let mut tokens = BTreeMap::new();
    for (token, id) in added {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| json_error(path, format!("the id of {token:?} is not a token id")))?;
        insert_added(&mut tokens, token, id, path)?;
    }
    Ok(tokens)
}

/// Newer files keep the added tokens in `tokenizer_config.json`, by id.
fn parse_added_decoder(config: &Object, path: &Path) -> Result<BTreeMap<String, u32>, TextError> {
    let mut tokens = BTreeMap::new();
    let Some(Value::Object(decoder)) = config.get("added_tokens_decoder") else { return Ok(tokens) };
    for (id, token) in decoder {
        let id = id
            .parse()
            .map_err(|_| json_error(path, format!("added_tokens_decoder: {id:?} is not a token id")))?;
        insert_added(&mut tokens, &parse_token(token, "added_tokens_decoder", path)?.content, id, path)?;
    }
    Ok(tokens)
}

fn insert_added(
    tokens: &mut BTreeMap<String, u32>,
    token: &str,
    id: u32,
    path: &Path,
) -> Result<(), TextError> {
    if token.is_empty() {
        return Err(json_error(path, format!("the added token of id {id} is an empty string")));
    }
    if let Some((other, _)) = tokens.iter().find(|(_, known)| **known == id) {
        return Err(json_error(path, format!("{other:?} and {token:?} share the id {id}")));
    }
    if tokens.insert(token.to_owned(), id).is_some() {
        return Err(json_error(path, format!("{token:?} has two ids")));
    }
    Ok(())
}

fn json_error(path: &Path, reason: String) -> TextError {
    TextError::Json { path: path.to_owned(), reason }
}

/// A JSON object from a file; `None` if there is no such file.
fn read_object(folder: &ModelFolder, name: &str) -> Result<Option<Object>, TextError> {
    let Some(bytes) = read_optional(folder, name)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(json_error(&folder.path(name), "not a JSON object".to_owned())),
        Err(error) => Err(json_error(&folder.path(name), format!("not valid JSON: {error}"))),
    }
}

/// The bytes of a file of bounded size; `None` if there is no such file.
pub(super) fn read_optional(
    folder: &ModelFolder,
    name: &str,
) -> Result<Option<Cow<'static, [u8]>>, TextError> {
    match folder.read(name) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read { path: folder.path(name), source }),
    }
}
