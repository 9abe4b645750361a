use super::LoraConfig;
use crate::{Parameters, TrainError};
use candle_core::{DType, Device, Tensor, Var};
use maskwise_models::systems::read::{ModelFiles, PartTypes, PartWeights, ReadModel};
use maskwise_nn::weights::{Quantization, SharedBytes, TensorInfo, TensorSource, Weights, WeightsError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A part of READ that can be trained wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The embedding table.
    EmbedTokens,
    /// The output head.
    LmHead,
    /// The decoder layers and the final norm.
    LanguageModel,
    /// From image features to image tokens.
    MmProjector,
    /// CLIP.
    VisionTower,
    /// From the state of `[SEG]` to a prompt.
    TextHiddenFcs,
    /// SAM's image encoder.
    ImageEncoder,
    /// SAM's prompt encoder, without its random position frequencies, which are a constant.
    PromptEncoder,
    /// SAM's mask decoder.
    MaskDecoder,
}

impl Part {
    /// What the papers train besides LoRA (spec 5.2).
    pub const PUBLISHED: [Self; 4] =
        [Self::EmbedTokens, Self::LmHead, Self::MaskDecoder, Self::TextHiddenFcs];

    /// Everything.
    pub const ALL: [Self; 9] = [
        Self::EmbedTokens,
        Self::LmHead,
        Self::LanguageModel,
        Self::MmProjector,
        Self::VisionTower,
        Self::TextHiddenFcs,
        Self::ImageEncoder,
        Self::PromptEncoder,
        Self::MaskDecoder,
    ];

    /// As `[trainable]` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmbedTokens => "embed_tokens",
            Self::LmHead => "lm_head",
            Self::LanguageModel => "language_model",
            Self::MmProjector => "mm_projector",
            Self::VisionTower => "vision_tower",
            Self::TextHiddenFcs => "text_hidden_fcs",
            Self::ImageEncoder => "image_encoder",
            Self::PromptEncoder => "prompt_encoder",
            Self::MaskDecoder => "mask_decoder",
        }
    }

    /// Whether the tensor `name` of the checkpoint or of the vision tower belongs to this part.
    pub fn holds(self, name: &str) -> bool {
        match self {
            Self::EmbedTokens => name == EMBED_TOKENS,
            Self::LmHead => name == LM_HEAD,
            Self::LanguageModel => name.starts_with("model.layers.") || name == "model.norm.weight",
            Self::MmProjector => name.starts_with("model.mm_projector."),
            Self::VisionTower => name.starts_with("vision_model."),
            Self::TextHiddenFcs => name.starts_with("model.text_hidden_fcs."),
            Self::ImageEncoder => name.starts_with("model.visual_model.image_encoder."),
            Self::PromptEncoder => {
                name.starts_with("model.visual_model.prompt_encoder.") && !name.ends_with("gaussian_matrix")
            }
            Self::MaskDecoder => name.starts_with("model.visual_model.mask_decoder."),
        }
    }
}

const EMBED_TOKENS: &str = "model.embed_tokens.weight";
const LM_HEAD: &str = "lm_head.weight";

/// What is trained and how it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedWeightsConfig {
    /// The parts that are trained wholly.
    pub parts: Vec<Part>,
    /// Adapters on the language model.
    pub lora: Option<LoraConfig>,
    /// Of `embed_tokens` and `lm_head`, train only the rows from this id on; the others stay as they are.
    pub first_trained_row: Option<usize>,
    /// The dtypes that the parts compute in; what is trained is kept in f32 all the same.
    pub types: PartTypes,
    /// Seed of new adapters.
    pub seed: u64,
}

/// The tensors of a model in training: variables in f32, everything else frozen in the dtype that it computes in.
pub struct TrainedWeights {
    parameters: Parameters,
    adapters: BTreeMap<String, Var>,
    lora: Option<LoraConfig>,
    checkpoint: Arc<Source>,
    vision_tower: Arc<Source>,
    types: PartTypes,
    device: Device,
}

impl TrainedWeights {
    /// Reads the weights of `files` from its folder.
    ///
    /// # Errors
    /// When the files are damaged or do not fit, a part that is to be trained is not there or quantized, or the weights on the disk are quantized.
    pub fn read(
        files: &ModelFiles,
        config: &TrainedWeightsConfig,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let types = config.types;
        if !files.stored_quantization()?.is_none() {
            let reason = "is quantized, so that adapters could not be merged into it; start from the model that it was \
                          rounded from, with model.quantize if the memory needs it";
            return Err(TrainError::setting("model.init_from", reason));
        }
        if types.quantization.language != Quantization::None && config.parts.contains(&Part::LanguageModel) {
            let reason = "rounds the weights of language_model, which is to be trained; train adapters, or leave it out";
            return Err(TrainError::setting("model.quantize", reason));
        }
        files.check_shapes()?;
        let (checkpoint, tower) = (files.open_checkpoint()?, files.open_vision_tower()?);
        let adapters = match &config.lora {
            Some(lora) => lora.new_variables(checkpoint.as_ref(), device, config.seed)?,
            None => BTreeMap::new(),
        };
        let checkpoint = types.quantization.of_checkpoint(checkpoint);
        let of_sam = |name: &str| name.starts_with("model.visual_model.");
        let checkpoint = Source::read(checkpoint.as_ref(), config, device, |name| {
            if of_sam(name) { types.sam } else { types.language }
        })?;
        let vision_tower = Source::read(tower.as_ref(), config, device, |_| types.vision)?;
        let all = checkpoint.variables().chain(vision_tower.variables()).chain(adapters.clone());
        Ok(Self {
            parameters: Parameters::new(all.collect()),
            adapters,
            lora: config.lora.clone(),
            checkpoint: Arc::new(checkpoint),
            vision_tower: Arc::new(vision_tower),
            types,
            device: device.clone(),
        })
    }

    /// What is trained, by name: state-dict names, adapters under PEFT's.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The model over the variables' present values; its results carry gradients to them. With `dropout_seed` the adapters drop
    /// inputs, as in training.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn model(&self, files: &ModelFiles, dropout_seed: Option<u64>) -> Result<ReadModel, TrainError> {
        let language = Weights::new(Box::new(self.checkpoint.clone()), self.types.language, &self.device);
        let vision = Weights::new(Box::new(self.vision_tower.clone()), self.types.vision, &self.device);
        let parts = PartWeights { sam: language.with_dtype(self.types.sam), language, vision };
        let mut model = files.build(&parts)?;
        if let Some(lora) = &self.lora {
            lora.attach(&mut model.language_model, &self.adapters, self.types.language, dropout_seed)?;
        }
        Ok(model)
    }

    /// Cells along one side of SAM's embedding.
    ///
    /// # Errors
    /// When the checkpoint has no SAM.
    pub fn sam_grid(&self) -> Result<usize, TrainError> {
        let name = "model.visual_model.image_encoder.pos_embed";
        let info = self.checkpoint.tensors.get(name).filter(|info| info.shape.len() == 4);
        let info = info.ok_or_else(|| WeightsError::Missing { name: name.to_owned() })?;
        Ok(info.shape[1])
    }

    /// Whether something of `part` is trained.
    pub(super) fn trains(&self, part: Part) -> bool {
        self.parameters.iter().any(|(name, _)| part.holds(name))
    }

    /// The frozen tensors of the checkpoint, then those of the vision tower, each by name.
    pub(super) fn frozen(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let sources = [&self.checkpoint, &self.vision_tower];
        sources.into_iter().flat_map(|source| source.frozen())
    }

    /// The dtypes that the parts compute in.
    pub(super) fn types(&self) -> PartTypes {
        self.types
    }

    /// The adapters' settings.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }
}

/// The tensors of one state dict.
struct Source {
    tensors: BTreeMap<String, TensorInfo>,
    values: HashMap<String, Value>,
}

enum Value {
    /// In few bits, and frozen.
    Quantized(SharedBytes),
    Frozen(Tensor),
    Trained(Var),
    /// The first rows are frozen, the others trained.
    NewRows(Tensor, Var),
}

impl Source {
    fn read(
        source: &dyn TensorSource,
        config: &TrainedWeightsConfig,
        device: &Device,
        dtype: impl Fn(&str) -> DType,
    ) -> Result<Self, TrainError> {
        let mut values = HashMap::new();
        for (name, info) in source.tensors() {
            let trained = config.parts.iter().any(|part| part.holds(name));
            let by_rows = config.first_trained_row.filter(|_| name == EMBED_TOKENS || name == LM_HEAD);
            let value = match (trained, by_rows) {
                _ if Quantization::of(name) != Quantization::None => {
                    let bytes = source.bytes(name)?;
                    Value::Quantized(bytes.ok_or_else(|| WeightsError::UnknownTensor { name: name.clone() })?)
                }
                (false, _) => Value::Frozen(source.read(name, dtype(name), device)?),
                (true, None) => Value::Trained(Var::from_tensor(&source.read(name, DType::F32, device)?)?),
                (true, Some(first)) => {
                    let rows = info.shape.first().copied().unwrap_or(0);
                    if first >= rows {
                        return Err(TrainError::setting(
                            "trainable",
                            format!("{name} has {rows} rows, so there is none to train from row {first} on"),
                        ));
                    }
                    let table = source.read(name, dtype(name), device)?;
                    let new =
                        source.read(name, DType::F32, device)?.narrow(0, first, rows - first)?.copy()?;
                    Value::NewRows(table.narrow(0, 0, first)?.copy()?, Var::from_tensor(&new)?)
                }
            };
            values.insert(name.clone(), value);
        }
        Ok(Self { tensors: source.tensors().clone(), values })
    }

    fn frozen(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.keys().filter_map(|name| match self.values.get(name) {
            Some(Value::Frozen(tensor)) => Some((name.as_str(), tensor)),
            _ => None,
        })
    }

    fn variables(&self) -> impl Iterator<Item = (String, Var)> {
        self.values.iter().filter_map(|(name, value)| match value {
            Value::Frozen(_) | Value::Quantized(_) => None,
            Value::Trained(variable) | Value::NewRows(_, variable) => Some((name.clone(), variable.clone())),
        })
    }
}

impl TensorSource for Source {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let value =
            self.values.get(name).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_owned() })?;
        let converted = match value {
            Value::Quantized(bytes) => {
                Tensor::from_slice((**bytes).as_ref(), self.tensors[name].shape.as_slice(), device)
                    .and_then(|tensor| tensor.to_dtype(dtype))
            }
            Value::Frozen(tensor) => tensor.to_dtype(dtype),
            Value::Trained(variable) => variable.to_dtype(dtype),
            Value::NewRows(table, rows) => {
                table.to_dtype(dtype).and_then(|table| Tensor::cat(&[&table, &rows.to_dtype(dtype)?], 0))
            }
        };
        converted
            .and_then(|tensor| tensor.to_device(device))
            .map_err(|error| WeightsError::Tensor { name: name.to_owned(), source: error })
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        match self.values.get(name) {
            Some(Value::Quantized(bytes)) => Ok(Some(bytes.clone())),
            _ => Err(WeightsError::UnknownTensor { name: name.to_owned() }),
        }
    }
}
