//! What a model folder holds and needs, told from its small files and tensor headers: no weights are read.

use crate::error::Result;
use crate::hub::Environment;
use crate::segmenter::open_files;
use crate::source::ModelSource;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces, SystemConfig};
use maskwise_nn::weights::{Quantization, TensorSource};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What [`inspect`] found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The model's folder; `embedded model NAME` for the embedded one.
    pub folder: PathBuf,
    /// The folder that holds the vision tower.
    pub vision_tower: PathBuf,
    /// How the system runs.
    pub system: SystemConfig,
    /// Every tensor, by name; those of the tower with `vision_tower:` before it.
    pub tensors: Vec<TensorRow>,
    /// Values by part.
    pub parameters: BTreeMap<&'static str, u64>,
    /// Special tokens and their ids.
    pub special_ids: BTreeMap<&'static str, u32>,
    /// Image tokens that take the placeholder's place.
    pub image_tokens: usize,
    /// Positions of the context.
    pub context: usize,
    /// Memory by dtype.
    pub memory: Vec<MemoryPlan>,
    /// Why the weights do not fit the configuration, if they do not.
    pub defects: Option<String>,
}

/// One tensor.
#[derive(Debug, Clone, Serialize)]
pub struct TensorRow {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its dtype on disk.
    pub dtype: String,
}

/// Bytes that a dtype needs.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryPlan {
    /// The dtype.
    pub dtype: String,
    /// Weights.
    pub weights: u64,
    /// Keys and values of a full context.
    pub cache: u64,
    /// Largest intermediate results, an estimate.
    pub work: u64,
}

impl MemoryPlan {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.work
    }
}

/// Inspects a model.
///
/// # Errors
/// When the folder is not a model folder; weights that do not fit are no error but [`Inspection::defects`].
pub fn inspect(source: &ModelSource, places: ModelPlaces, environment: &Environment) -> Result<Inspection> {
    let folder = source.locate(environment)?;
    let files = open_files(&folder, places, environment)?;
    let (checkpoint, tower) = (files.open_checkpoint()?, files.open_vision_tower()?);
    let mut tensors = rows(checkpoint.as_ref(), "");
    tensors.extend(rows(tower.as_ref(), "vision_tower:"));
    let mut parameters = BTreeMap::new();
    for row in &tensors {
        *parameters.entry(part(&row.name)).or_insert(0) += row.shape.iter().product::<usize>() as u64;
    }
    let special = files.special;
    let special_ids = [
        ("[SEG]", special.seg),
        ("<im_start>", special.im_start),
        ("<im_end>", special.im_end),
        ("bos", special.bos),
        ("eos", special.eos),
        ("pad", special.pad),
    ];
    Ok(Inspection {
        memory: plans(&files, &tensors),
        image_tokens: files.vision_config.grid().pow(2),
        context: files.config.language_model.max_position_embeddings,
        special_ids: special_ids.into(),
        defects: files.check_shapes().err().map(|error| error.to_string()),
        folder: folder.location(),
        vision_tower: files.vision_tower.folder().location(),
        system: files.system,
        tensors,
        parameters,
    })
}

fn rows(source: &dyn TensorSource, prefix: &str) -> Vec<TensorRow> {
    let row = |(name, info): (&String, &maskwise_nn::weights::TensorInfo)| TensorRow {
        name: format!("{prefix}{name}"),
        shape: info.shape.clone(),
        dtype: info.dtype.as_str().to_owned(),
    };
    source.tensors().iter().map(row).collect()
}

fn part(name: &str) -> &'static str {
    if name.starts_with("vision_tower:") {
        "vision_tower"
    } else if name.starts_with("model.visual_model.") {
        "sam"
    } else if name.starts_with("model.mm_projector.") || name.starts_with("model.text_hidden_fcs.") {
        "projections"
    } else {
        "language_model"
    }
}

/// Bytes by dtype; of a model that has quantized layers only as it is.
fn plans(files: &ModelFiles, tensors: &[TensorRow]) -> Vec<MemoryPlan> {
    let config = &files.config.language_model;
    let values = |row: &TensorRow| row.shape.iter().product::<usize>() as u64;
    let all: u64 = tensors.iter().map(values).sum();
    let plan = |dtype: String, weights: u64, size: u64| {
        let positions = config.max_position_embeddings as u64;
        let per_position =
            2 * config.num_hidden_layers as u64 * (config.key_value_heads() * config.head_dim()) as u64;
        MemoryPlan { dtype, weights, cache: per_position * positions * size, work: work(files) }
    };
    // What stays in f32 beside quantized weights: all but attention and MLP.
    let quantized = |kept: Quantization| {
        let bytes = |row: &TensorRow| match (Quantization::of(&row.name), kept) {
            (Quantization::Int8 | Quantization::Int4, _) => values(row),
            _ if !row.name.starts_with("model.layers.") || !row.name.contains("_proj.") => 4 * values(row),
            (_, Quantization::Int4) => values(row) * 9 / 16,
            _ => values(row),
        };
        plan(kept.to_string(), tensors.iter().map(bytes).sum(), 4)
    };
    let of_language = tensors.iter().filter(|row| row.name.starts_with("model.layers."));
    let mut stored = of_language.map(|row| Quantization::of(&row.name));
    match stored.find(|kept| *kept != Quantization::None) {
        Some(kept) => vec![quantized(kept)],
        None => vec![
            plan("bf16".to_owned(), 2 * all, 2),
            plan("f32".to_owned(), 4 * all, 4),
            quantized(Quantization::Int8),
            quantized(Quantization::Int4),
        ],
    }
}

/// Largest intermediate results, an estimate: attention scores of the prompt or of one group of SAM's heads, three copies of them, in f32. Where SAM's encoder runs beside
/// the language model, that writes already, a token at a time.
fn work(files: &ModelFiles) -> u64 {
    let config = &files.config.language_model;
    let prompt = config.num_attention_heads as u64 * (config.max_position_embeddings as u64).min(1024).pow(2);
    const SAM_SCORES: u64 = 1 << 25;
    3 * 4 * prompt.max(SAM_SCORES)
}
