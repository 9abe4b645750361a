//! A complete model from a checkpoint that lacks something: LLaVA-1.5, to which the tokens, `text_hidden_fcs` and SAM are added (spec 2.2,
//! 5.2), or a checkpoint of one system that is to be trained as another.

use super::Scratch;
use super::grown::Grown;
use super::vocabulary::{missing_tokens, read_object, write_json, write_tokenizer};
use crate::TrainError;
use crate::config::ModelSection;
use maskwise_data::text::{TextError, Tokenizer};
use maskwise_models::ModelError;
use maskwise_models::systems::read::{Family, ModelFiles, ModelPlaces, SystemConfig};
use maskwise_nn::weights::{TensorSource, open_checkpoint};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const EMBED_TOKENS: &str = "model.embed_tokens.weight";
const SAM: &str = "model.visual_model.";
const TEXT_HIDDEN_FCS: &str = "model.text_hidden_fcs.";

/// Whether `folder` can be trained as it is: nothing is asked to be changed and nothing is missing.
pub(super) fn is_complete(model: &ModelSection, folder: &Path) -> Result<bool, TrainError> {
    if model.vision_tower.is_some() || model.sam.is_some() {
        return Ok(false);
    }
    let (config, known) = read_config(folder)?;
    let same_system = known.is_some_and(|system| model.system.is_none_or(|wanted| wanted == system.system));
    let checkpoint = open_checkpoint(folder)?;
    let holds = |prefix: &str| checkpoint.tensors().keys().any(|name| name.starts_with(prefix));
    let marks_image = config.get("mm_use_im_start_end") != Some(&json!(false));
    Ok(same_system
        && marks_image
        && holds(SAM)
        && holds(TEXT_HIDDEN_FCS)
        && missing_tokens(&tokenizer(folder)?).is_empty())
}

/// A complete model whose tensors are read from where they are.
pub(super) struct Assembled {
    pub(super) files: ModelFiles,
    pub(super) checkpoint: Grown,
    /// The small files, as they are to be.
    _small: Scratch,
}

impl Assembled {
    /// Completes the checkpoint in `folder`; `small` is a folder that takes the small files as long as this lives.
    pub(super) fn new(
        model: &ModelSection,
        folder: &Path,
        small: PathBuf,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let (mut config, known) = read_config(folder)?;
        let system = wanted_system(model, folder, &config, known)?;
        let checkpoint = open_checkpoint(folder)?;
        let (vocabulary, width) = table_shape(folder, checkpoint.as_ref())?;
        if model.sam.is_none() && !checkpoint.tensors().keys().any(|name| name.starts_with(SAM)) {
            let reason = format!(
                "is missing, and {} holds no SAM; give the .pth of a SAM, as sam_vit_h_4b8939.pth",
                folder.display()
            );
            return Err(TrainError::setting("model.sam", reason));
        }
        let tokenizer = tokenizer(folder)?;
        let (added, first) = (missing_tokens(&tokenizer), tokenizer.vocab_size());
        if first > vocabulary {
            let reason = format!(
                "its tokenizer has {first} tokens, its embedding table {vocabulary} rows; take both from one checkpoint"
            );
            return Err(TrainError::setting(format!("model.init_from: {}", folder.display()), reason));
        }
        let rows = vocabulary.max(first + added.len());

        let small = Scratch::create(small)?;
        write_tokenizer(folder, &small.0, &added)?;
        write_json(&small.0.join("maskwise.json"), &json!(system))?;
        complete_config(&mut config, &system, rows, model.vision_tower.as_deref());
        write_json(&small.0.join("config.json"), &Value::Object(config.clone()))?;
        let places = ModelPlaces {
            vision_tower: model.vision_tower.clone(),
            sam: model.sam.clone(),
            weights: Some(folder.to_owned()),
            ..ModelPlaces::default()
        };
        let files = ModelFiles::open(&small.0, &places).map_err(name_the_key)?;
        let mut checkpoint = Grown::new(files.open_checkpoint()?);
        if !added.is_empty() {
            checkpoint.grow_vocabulary(first, rows, seed)?;
        }
        let dim = prompt_dim(&checkpoint, folder)?;
        if !checkpoint.tensors().keys().any(|name| name.starts_with(TEXT_HIDDEN_FCS)) {
            checkpoint.add_text_hidden_fcs(width, dim, seed)?;
        }
        config.insert("out_dim".to_owned(), json!(dim));
        write_json(&small.0.join("config.json"), &Value::Object(config))?;
        files.check_shapes_of(&checkpoint, files.open_vision_tower()?.as_ref())?;
        Ok(Self { files, checkpoint, _small: small })
    }
}

/// Writes the complete model into the folder `target`, which must not exist. Tensors that the checkpoint holds keep their type, and are in
/// memory one at a time.
pub(super) fn write(model: &ModelSection, folder: &Path, target: &Path, seed: u64) -> Result<(), TrainError> {
    let assembled = Assembled::new(model, folder, target.with_extension("files"), seed)?;
    let tower = assembled.files.open_vision_tower()?;
    let files = &assembled.files;
    Ok(files.write_folder(target, &assembled.checkpoint, tower.as_ref(), None, &mut |_, _| {})?)
}

/// The `config.json`, and which system the folder is, if any.
fn read_config(folder: &Path) -> Result<(Map<String, Value>, Option<SystemConfig>), TrainError> {
    let path = folder.join("config.json");
    let Some(config) = read_object(&path)? else {
        let reason = format!("{} has no config.json; name the folder that holds it", folder.display());
        return Err(TrainError::setting("model.init_from", reason));
    };
    let system = match read_object(&folder.join("maskwise.json"))? {
        Some(system) => Some(serde_json::from_value(system.into()).map_err(|error| {
            TrainError::setting(folder.join("maskwise.json").display().to_string(), error.to_string())
        })?),
        None => Family::from_architectures(&architectures(&config))
            .ok()
            .map(|family| SystemConfig::published(family, hidden_size(&config))),
    };
    Ok((config, system))
}

fn architectures(config: &Map<String, Value>) -> Vec<String> {
    let list = config.get("architectures").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn hidden_size(config: &Map<String, Value>) -> usize {
    config.get("hidden_size").and_then(Value::as_u64).unwrap_or(0) as usize
}

/// The settings of the system that is to be trained: the folder's own where it is that system, else those of the papers.
fn wanted_system(
    model: &ModelSection,
    folder: &Path,
    config: &Map<String, Value>,
    known: Option<SystemConfig>,
) -> Result<SystemConfig, TrainError> {
    match (model.system, known) {
        (None, Some(known)) => Ok(known),
        (Some(wanted), Some(known)) if known.system == wanted => Ok(known),
        (Some(wanted), known) => {
            let published = SystemConfig::published(wanted, hidden_size(config));
            let heads = known.map_or(published.sam_decoder_heads, |known| known.sam_decoder_heads);
            Ok(SystemConfig { sam_decoder_heads: heads, ..published })
        }
        (None, None) => {
            let reason = format!(
                "is missing, and {} is none of the systems (architectures [{}]); say which to make of it: \"read\", \"sesame\" or \"lisa\"",
                folder.display(),
                architectures(config).join(", ")
            );
            Err(TrainError::setting("model.system", reason))
        }
    }
}

/// What a merged checkpoint's configuration says (spec 2.5).
fn complete_config(
    config: &mut Map<String, Value>,
    system: &SystemConfig,
    rows: usize,
    tower: Option<&Path>,
) {
    let architecture = match system.system {
        Family::Read => "READForCausalLM",
        Family::Sesame => "SESAMEForCausalLM",
        Family::Lisa => "LISAForCausalLM",
    };
    let entries = [
        ("architectures", json!([architecture])),
        ("vocab_size", json!(rows)),
        ("mm_use_im_start_end", json!(true)),
        ("train_mask_decoder", json!(true)),
    ];
    config.extend(entries.into_iter().map(|(key, value)| (key.to_owned(), value)));
    if let Some(tower) = tower {
        config.insert("vision_tower".to_owned(), json!(tower.display().to_string()));
    }
}

fn tokenizer(folder: &Path) -> Result<Tokenizer, TrainError> {
    Tokenizer::from_dir(folder).map_err(|error: TextError| ModelError::from(error).into())
}

/// Rows and columns of the embedding table.
fn table_shape(folder: &Path, checkpoint: &dyn TensorSource) -> Result<(usize, usize), TrainError> {
    match checkpoint.tensors().get(EMBED_TOKENS).map(|info| info.shape.as_slice()) {
        Some(&[rows, width]) => Ok((rows, width)),
        _ => {
            let reason =
                format!("has no table {EMBED_TOKENS}; it must be a LLaVA, LISA, SESAME or READ checkpoint");
            Err(TrainError::setting(format!("model.init_from: {}", folder.display()), reason))
        }
    }
}

/// Width of SAM's prompts.
fn prompt_dim(checkpoint: &dyn TensorSource, folder: &Path) -> Result<usize, TrainError> {
    let name = format!("{SAM}prompt_encoder.no_mask_embed.weight");
    match checkpoint.tensors().get(&name).map(|info| info.shape.as_slice()) {
        Some(&[_, dim]) => Ok(dim),
        _ => {
            let reason = format!(
                "neither it nor {} holds SAM's {name}; give a SAM checkpoint in the published layout",
                folder.display()
            );
            Err(TrainError::setting("model.sam", reason))
        }
    }
}

/// Says which key of the recipe gives what is missing.
fn name_the_key(error: ModelError) -> TrainError {
    match error {
        ModelError::VisionTowerNotFound { name, .. } => TrainError::setting(
            "model.vision_tower",
            format!("is missing, and `{name}` lies neither in nor beside the checkpoint; name its folder"),
        ),
        other => other.into(),
    }
}
