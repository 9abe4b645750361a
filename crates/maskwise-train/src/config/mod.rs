//! What `maskwise train CONFIG.toml` reads: one struct for each section, every key known, every default written out in the run folder.

mod check;
mod datasets;

use crate::read::{AnswerMode, LoraConfig, LossWeights, Part};
use crate::run::RunSettings;
use crate::session::Task;
use crate::{OptimizerConfig, Schedule, TrainError};
use maskwise_data::dataset::Convention;
use maskwise_data::tabletop::QuestionWeights;
use maskwise_models::systems::read::Family;
use maskwise_nn::weights::Quantization;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A training recipe. Paths are relative to the folder that the command runs in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// `read`, which may be left out.
    #[serde(default)]
    pub task: Task,
    /// What is trained.
    pub model: ModelSection,
    /// Adapters on the language model; none without this section.
    pub lora: Option<LoraConfig>,
    /// What is trained besides the adapters.
    #[serde(default)]
    pub trainable: TrainableSection,
    /// What it is trained on.
    pub data: DataSection,
    /// The weights of the loss.
    #[serde(default)]
    pub loss: LossWeights,
    /// How parameters are updated.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The learning rate.
    pub schedule: Schedule,
    /// Length and rhythm.
    pub run: RunSettings,
}

/// The `[model]` section: exactly one of `init_from` and `architecture`. What a checkpoint lacks is made once, in the folder `start` of the
/// run: tokens behind the last id of its vocabulary, a new `text_hidden_fcs`, SAM from its own file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// A checkpoint folder to start from: READ, SESAME, LISA, or LLaVA-1.5.
    pub init_from: Option<PathBuf>,
    /// The folder of the vision tower, where it lies neither in nor beside the checkpoint.
    pub vision_tower: Option<PathBuf>,
    /// SAM in the published layout (a `.pth`), for a checkpoint without one.
    pub sam: Option<PathBuf>,
    /// Which system to train, where it is another than the checkpoint: `read`, `sesame` or `lisa`.
    pub system: Option<Family>,
    /// A folder with configurations and a tokenizer, to start from random weights.
    pub architecture: Option<PathBuf>,
    /// What the networks compute in. What is trained is kept in f32 all the same.
    #[serde(default)]
    pub dtype: ComputeType,
    /// Round the frozen weights of the language model's attention and MLP, for adapters on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<QuantizeType>,
    /// Keep only the inputs of the language model's layers and compute the rest again in the backward pass: less memory, a third more
    /// time, the same numbers.
    #[serde(default)]
    pub activation_checkpointing: bool,
}

/// What networks compute in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeType {
    /// Single precision.
    #[default]
    F32,
    /// Half precision with the range of f32.
    Bf16,
}

/// What frozen weights are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuantizeType {
    /// Eight bits.
    Int8,
    /// Four and a half.
    Int4,
}

impl QuantizeType {
    /// The same as models know it.
    pub fn quantization(self) -> Quantization {
        match self {
            Self::Int8 => Quantization::Int8,
            Self::Int4 => Quantization::Int4,
        }
    }
}

/// The `[trainable]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainableSection {
    /// Parts that are trained wholly; those of the papers if the key is left out.
    pub parts: Vec<Part>,
    /// Of `embed_tokens` and `lm_head`, train only the rows that were added to the vocabulary.
    pub new_vocabulary_rows_only: bool,
}

impl Default for TrainableSection {
    fn default() -> Self {
        Self { parts: Part::PUBLISHED.to_vec(), new_vocabulary_rows_only: false }
    }
}

/// The `[data]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// The datasets with their rates.
    pub datasets: Vec<DatasetSection>,
    /// The dataset that validation runs on.
    pub validation: Option<ValidationSection>,
    /// Whose rules items are composed by.
    #[serde(default)]
    pub convention: Convention,
    /// JSON file of question and answer templates; LISA's own are built in.
    pub templates: Option<PathBuf>,
    /// The most conversations about one image.
    #[serde(default = "default_rows")]
    pub num_classes_per_sample: usize,
    /// Threads that read and prepare items. They do not alter the order.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Folder in which the features of frozen encoders are kept, so that each image is encoded once, in this run and in others.
    pub feature_cache: Option<PathBuf>,
    /// MiB of such features that are kept in memory. Nothing is where all pictures are Tabletop's, which never come again.
    #[serde(default = "default_feature_memory")]
    pub feature_memory_mib: usize,
}

fn default_rows() -> usize {
    3
}

fn default_workers() -> usize {
    2
}

fn default_feature_memory() -> usize {
    512
}

/// A layout that is read (spec 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Semantic and part segmentation.
    SemSeg,
    /// Referring expressions.
    ReferSeg,
    /// Referring expressions some of which name an absent thing.
    NegReferSeg,
    /// The same, answered by a correction.
    CorrectReferSeg,
    /// Conversations without masks.
    Vqa,
    /// ReasonSeg, and a user's own LabelMe pictures with a question each.
    ReasonSeg,
    /// MUSE: answers with several masks.
    Muse,
    /// Our own layout: a JSON line for each question.
    JsonLines,
    /// Scenes of the Tabletop world, made while training.
    Tabletop,
}

impl DatasetKind {
    /// As a recipe writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SemSeg => "sem_seg",
            Self::ReferSeg => "refer_seg",
            Self::NegReferSeg => "neg_refer_seg",
            Self::CorrectReferSeg => "correct_refer_seg",
            Self::Vqa => "vqa",
            Self::ReasonSeg => "reason_seg",
            Self::Muse => "muse",
            Self::JsonLines => "json_lines",
            Self::Tabletop => "tabletop",
        }
    }
}

/// One `[[data.datasets]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSection {
    /// Its layout.
    pub kind: DatasetKind,
    /// Where it lies; every kind needs it but Tabletop. For `reason_seg` the folder with the pictures, for the others the one that holds
    /// `ade20k`, `coco`, `refer_seg` and so on as the reference's `dataset_dir` does (spec 6).
    pub folder: Option<PathBuf>,
    /// For `sem_seg` and the referring kinds, which sets of the folder, with equal rates: `ade20k`, `refcoco+` and so on; those of the
    /// papers if left out.
    #[serde(default)]
    pub subsets: Vec<String>,
    /// LISA's `explanatory/train.json` for `reason_seg`.
    pub explanations: Option<PathBuf>,
    /// How often it is drawn from, relative to the others; above 0.
    #[serde(default = "default_rate")]
    pub rate: f64,
    /// For `tabletop`, columns and rows of a picture.
    #[serde(default = "default_size")]
    pub size: usize,
    /// For `tabletop`, which world.
    #[serde(default)]
    pub world_seed: u64,
    /// For `tabletop`, how often each family of questions is asked for; a fifth have a false premise if left out.
    pub questions: Option<QuestionWeights>,
}

fn default_size() -> usize {
    256
}

fn default_rate() -> f64 {
    1.0
}

/// The `[data.validation]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSection {
    /// Its layout.
    pub kind: DatasetKind,
    /// Where it lies, as for training.
    pub folder: Option<PathBuf>,
    /// For the referring kinds, which set: `refcocog`.
    pub subset: Option<String>,
    /// For the referring kinds and Tabletop, which split; the validation split if left out.
    pub split: Option<String>,
    /// The most items that are taken, the first ones; all if left out.
    pub limit: Option<usize>,
    /// Whether the model reads the answers or writes them.
    #[serde(default)]
    pub answers: AnswerMode,
    /// How many of the items are drawn as pictures.
    #[serde(default)]
    pub pictures: usize,
    /// For `tabletop`, columns and rows of a picture.
    #[serde(default = "default_size")]
    pub size: usize,
    /// For `tabletop`, which world.
    #[serde(default)]
    pub world_seed: u64,
}

impl TrainConfig {
    /// Reads and checks a recipe, but not yet whether the files that it names are there: see [`TrainConfig::check_paths`].
    ///
    /// # Errors
    /// [`TrainError::Setting`] in one line, with the file and the line or key at fault; [`TrainError::Io`] when there is no file.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = fs::read_to_string(path).map_err(|error| TrainError::io("read", path, error))?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Parses and checks a recipe.
    ///
    /// # Errors
    /// As [`TrainConfig::read`].
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        let config: Self = parse_toml(text)?;
        config.check()?;
        Ok(config)
    }

    /// What of the recipe alters the trained numbers, for [`crate::RunIdentity`]. Folders are left out because they may move; what is in
    /// them is fingerprinted instead.
    ///
    /// # Errors
    /// When a number does not fit JSON.
    pub fn mathematics(&self) -> Result<Value, TrainError> {
        let mut value = serde_json::to_value(self).map_err(|error| TrainError::Other(error.into()))?;
        let remove = |section: &mut Value, keys: &[&str]| {
            if let Some(section) = section.as_object_mut() {
                section.retain(|key, _| !keys.contains(&key.as_str()));
            }
        };
        let places =
            ["init_from", "architecture", "vision_tower", "sam", "system", "activation_checkpointing"];
        remove(&mut value["model"], &places);
        remove(
            &mut value["data"],
            &["validation", "templates", "workers", "feature_cache", "feature_memory_mib"],
        );
        for dataset in value["data"]["datasets"].as_array_mut().into_iter().flatten() {
            remove(dataset, &["folder", "explanations"]);
        }
        let rhythm = [
            "folder",
            "threads",
            "validation_interval",
            "checkpoint_interval",
            "keep_checkpoints",
            "best_score",
        ];
        remove(&mut value["run"], &rhythm);
        // JSON has no infinity, by which clipping is switched off.
        value["optimizer"]["max_gradient_norm"] = json!(self.optimizer.max_gradient_norm.to_string());
        Ok(value)
    }

    /// The files and folders that the data comes from, in the order of the recipe.
    pub fn data_paths(&self) -> Vec<&Path> {
        let datasets = self.data.datasets.iter().flat_map(|dataset| [&dataset.folder, &dataset.explanations]);
        datasets.chain([&self.data.templates]).flatten().map(PathBuf::as_path).collect()
    }
}

/// Parses TOML; an error names its line.
pub(crate) fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, TrainError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
        TrainError::setting(format!("line {line}"), error.message().replace('\n', " "))
    })
}

#[cfg(test)]
mod tests;
