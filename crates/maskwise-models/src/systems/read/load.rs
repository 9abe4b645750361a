use super::model::PartWeights;
use super::vision_tower::INSIDE;
use super::{Family, ImageInputs, LlavaConfig, PartQuantization, ReadModel, SystemConfig, VisionTower};
use crate::clip::ClipVisionConfig;
use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use maskwise_data::folder::ModelFolder;
use maskwise_data::image::sam::SamPreprocessor;
use maskwise_data::text::{SpecialIds, Tokenizer};
use maskwise_nn::weights::{
    self, Filtered, Merged, Quantization, Renamed, SharedBytes, TensorInfo, TensorSource, Weights,
    WeightsError, looks_untrained,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SAM_PREFIX: &str = "model.visual_model";

/// A model folder whose small files were read and checked; weights are only opened by [`ModelFiles::load`].
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// The folder.
    pub folder: ModelFolder,
    /// Its `config.json`.
    pub config: LlavaConfig,
    /// Its `maskwise.json`, or what the published checkpoints of its family were run with.
    pub system: SystemConfig,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Special ids by vocabulary lookup.
    pub special: SpecialIds,
    /// Where the vision tower is.
    pub vision_tower: VisionTower,
    /// The tower's `config.json`.
    pub vision_config: ClipVisionConfig,
    /// The preprocessors.
    pub inputs: ImageInputs,
    /// A SAM `.pth` to take where the checkpoint has none.
    sam: Option<PathBuf>,
    /// The folder of the checkpoint's tensors.
    weights: ModelFolder,
}

/// What may lie outside of the model folder.
#[derive(Debug, Clone, Default)]
pub struct ModelPlaces {
    /// The folder of the vision tower; found by the name in `config.json` if absent.
    pub vision_tower: Option<PathBuf>,
    /// Further folders that may be the vision tower, tried after those beside the model: the hub cache.
    pub vision_tower_candidates: Vec<PathBuf>,
    /// A SAM checkpoint in the published layout, for a model folder without one.
    pub sam: Option<PathBuf>,
    /// The folder of the checkpoint's tensors, and the one that the vision tower is looked for around, where the model folder holds the
    /// small files only.
    pub weights: Option<PathBuf>,
}

/// The dtype that each part computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartTypes {
    /// The language model, its projector and `text_hidden_fcs`.
    pub language: DType,
    /// The vision tower.
    pub vision: DType,
    /// SAM's image encoder and mask decoder; its prompt encoder goes with the language model.
    pub sam: DType,
    /// How each part keeps the weights of its large linear layers; few bits need f32 on the CPU.
    pub quantization: PartQuantization,
    /// How the language model's output head keeps its weight.
    pub output_head: Quantization,
}

impl PartTypes {
    /// What follows the reference most closely: one dtype for all, except that on the CPU a half-precision model's CLIP and
    /// SAM compute in f32.
    ///
    /// The language model's states, the similarities, the points and the position encodings follow the reference's rounding.
    /// In dense image layers the order in which a library sums decides last bits that later layers amplify: another rounding of
    /// our own there only adds to the reference's, and f32 came out nearer to its half-precision masks (measured in
    /// `tests/parity_bf16.rs`).
    pub fn exact(dtype: DType, device: &Device) -> Self {
        let images = if device.is_cpu() { DType::F32 } else { dtype };
        Self { vision: images, sam: images, ..Self::uniform(dtype) }
    }

    /// One dtype for all.
    pub fn uniform(dtype: DType) -> Self {
        Self {
            language: dtype,
            vision: dtype,
            sam: dtype,
            quantization: PartQuantization::default(),
            output_head: Quantization::None,
        }
    }
}

/// How weights are brought to a device.
pub struct LoadOptions {
    /// The dtypes.
    pub types: PartTypes,
    /// The device.
    pub device: Device,
    /// Load weights that look untrained all the same.
    pub allow_untrained: bool,
    /// Called with (bytes read, bytes in all) as tensors arrive.
    pub on_progress: Option<ProgressObserver>,
}

/// Called with (bytes read, bytes in all).
pub type ProgressObserver = Box<dyn Fn(u64, u64) + Send + Sync>;

impl ModelFiles {
    /// Reads the small files of `folder` and finds its vision tower.
    ///
    /// # Errors
    /// [`ModelError::NotAModel`], [`ModelError::Config`] or a tokenizer error naming the file at fault;
    /// [`ModelError::VisionTowerNotFound`].
    pub fn open(folder: impl Into<ModelFolder>, places: &ModelPlaces) -> Result<Self> {
        let folder = folder.into();
        check_folder(&folder)?;
        let config_path = folder.path("config.json");
        let config = read_config(&folder, "config.json", LlavaConfig::from_json)?;
        let system = read_system(&folder, &config)?;
        let tokenizer = Arc::new(Tokenizer::from_dir(&folder)?);
        let special = tokenizer.special_ids(config.language_model.vocab_size)?;
        let name = config.vision_tower_name().map_err(|reason| at(&config_path, reason))?;
        let (asked, candidates) = (places.vision_tower.as_deref(), &places.vision_tower_candidates);
        let weights = places.weights.as_ref().map_or_else(|| folder.clone(), ModelFolder::from);
        let vision_tower = VisionTower::find(&weights, name, asked, candidates)?;
        let vision_config = vision_tower.config()?;
        let clip = vision_tower.preprocessor(vision_config.image_size)?;
        let size = vision_config.image_size;
        if clip.crop_size != Some((size, size)) || clip.shortest_edge.is_none() {
            let reason = format!(
                "the tower takes {size}x{size} pixels (image_size in its config.json), but its preprocessor_config.json \
                 resizes to {:?} and crops to {:?}",
                clip.shortest_edge, clip.crop_size
            );
            return Err(at(&vision_tower.folder().location(), reason));
        }
        let mut files = Self {
            folder,
            config,
            system,
            tokenizer,
            special,
            vision_tower,
            vision_config,
            inputs: ImageInputs { clip, sam: SamPreprocessor::default() },
            sam: places.sam.clone(),
            weights,
        };
        files.inputs.sam = SamPreprocessor::new(sam_image_size(files.open_checkpoint()?.as_ref())?);
        Ok(files)
    }

    /// The tensors of the checkpoint, a separate SAM included; a vision tower inside is left to [`ModelFiles::vision_tower`].
    ///
    /// # Errors
    /// When the files are missing, damaged or no weights.
    pub fn open_checkpoint(&self) -> Result<Box<dyn TensorSource>> {
        let checkpoint = open_weights(&self.weights)?;
        let checkpoint: Box<dyn TensorSource> =
            Box::new(Filtered::new(checkpoint, |name| !name.starts_with(INSIDE)));
        let has_sam = checkpoint.tensors().keys().any(|name| name.starts_with(SAM_PREFIX));
        let Some(sam) = &self.sam else { return Ok(checkpoint) };
        if has_sam {
            let reason = format!("the checkpoint holds a SAM of its own; leave {} out", sam.display());
            return Err(at(&self.weights.location(), reason));
        }
        let sam = Renamed::under(weights::open_file(sam)?, SAM_PREFIX);
        Ok(Box::new(Merged::new(vec![checkpoint, Box::new(sam)])?))
    }

    /// The tensors of the vision tower.
    ///
    /// # Errors
    /// As [`ModelFiles::open_checkpoint`].
    pub fn open_vision_tower(&self) -> Result<Box<dyn TensorSource>> {
        self.vision_tower.open()
    }

    /// Reads the weights, strictly: everything expected is there with its shape, everything there is used.
    ///
    /// # Errors
    /// [`ModelError::Weights`] with every defect, [`ModelError::Untrained`], or what reading and the device say.
    pub fn load(&self, options: LoadOptions) -> Result<ReadModel> {
        let (checkpoint, tower) = (self.open_checkpoint()?, self.open_vision_tower()?);
        // Shapes first: a checkpoint that does not fit is refused before minutes are spent on reading it.
        self.check_shapes()?;
        if !options.allow_untrained {
            refuse_untrained(checkpoint.as_ref())?;
        }
        let total = bytes(checkpoint.as_ref()) + bytes(tower.as_ref());
        let progress = Progress::new(options.on_progress, total);
        let (language, vision) = (progress.clone(), progress);
        let types = options.types;
        let language =
            Weights::with_progress(checkpoint, types.language, &options.device, move |_, bytes| {
                language.add(bytes)
            });
        let vision =
            Weights::with_progress(tower, types.vision, &options.device, move |_, bytes| vision.add(bytes));
        let PartQuantization { language: kept, vision: tower, sam } = types.quantization;
        let mut model = self.build(&PartWeights {
            sam: language.with_dtype(types.sam).with_quantization(sam),
            language: language.with_quantization(kept),
            vision: vision.with_quantization(tower),
        })?;
        model.language_model.keep_head_as(types.output_head)?;
        Ok(model)
    }

    /// Checks, without reading any values, that everything expected is there with its shape and everything there is used.
    ///
    /// # Errors
    /// [`ModelError::Weights`] with every defect.
    pub fn check_shapes(&self) -> Result<()> {
        self.check_shapes_of(self.open_checkpoint()?.as_ref(), self.open_vision_tower()?.as_ref())
    }

    /// As [`ModelFiles::check_shapes`], of other tensors than those of the folder.
    ///
    /// # Errors
    /// [`ModelError::Weights`] with every defect.
    pub fn check_shapes_of(&self, checkpoint: &dyn TensorSource, tower: &dyn TensorSource) -> Result<()> {
        let shapes = |source: &dyn TensorSource| {
            Weights::new(Box::new(ShapesOnly(source.tensors().clone())), DType::F32, &Device::Cpu)
        };
        let (language, vision) = (shapes(checkpoint), shapes(tower));
        self.build(&PartWeights { sam: language.clone(), language, vision }).map(|_| ())
    }

    /// Refuses weights whose values cannot come from training.
    ///
    /// # Errors
    /// [`ModelError::Untrained`], or what reading says.
    pub fn check_trained(&self) -> Result<()> {
        refuse_untrained(self.open_checkpoint()?.as_ref())
    }

    /// Builds the networks over given weights, strictly; a trainer gives its variables.
    ///
    /// # Errors
    /// [`ModelError::Weights`] with every defect, [`ModelError::Points`] when nothing prompts SAM, or what reading says.
    pub fn build(&self, parts: &PartWeights) -> Result<ReadModel> {
        self.system.check().map_err(ModelError::Points)?;
        let points = self.system.similarity_points.clone();
        let heads = self.system.sam_decoder_heads;
        let mut model =
            ReadModel::load(&self.config, &self.vision_config, points, heads, self.special, parts)?;
        model.text_prompt = self.system.text_prompt;
        parts.language.finish()?;
        parts.vision.finish()?;
        model.sam.image_encoder.check_depth()?;
        Ok(model)
    }
}

/// The shapes of a source without its values: every tensor reads as zeros that take no memory.
struct ShapesOnly(BTreeMap<String, TensorInfo>);

impl TensorSource for ShapesOnly {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.0
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> std::result::Result<Tensor, WeightsError> {
        let info = self.0.get(name).ok_or_else(|| WeightsError::Missing { name: name.to_owned() })?;
        Ok(Tensor::zeros((), dtype, device)?.broadcast_as(info.shape.as_slice())?)
    }

    fn bytes(&self, _: &str) -> std::result::Result<Option<SharedBytes>, WeightsError> {
        Ok(None)
    }
}

/// Refuses what is no model folder at first sight.
fn check_folder(folder: &ModelFolder) -> Result<()> {
    let reason = match folder {
        ModelFolder::Disk(path) if path.is_file() => "it is a file",
        ModelFolder::Disk(path) if !path.is_dir() => "it does not exist",
        _ if !folder.contains("config.json") => "it has no config.json; pass the folder that holds it",
        _ => return Ok(()),
    };
    Err(ModelError::NotAModel { path: folder.location(), reason: reason.to_owned() })
}

pub(super) fn at(path: &Path, reason: String) -> ModelError {
    ModelError::Config { path: path.to_owned(), reason }
}

/// The weights of a folder; embedded ones are one file of safetensors.
pub(super) fn open_weights(folder: &ModelFolder) -> std::result::Result<Box<dyn TensorSource>, WeightsError> {
    const EMBEDDED: &str = "model.safetensors";
    match folder {
        ModelFolder::Disk(path) => weights::open_checkpoint(path),
        ModelFolder::Embedded(embedded) => match embedded.bytes(EMBEDDED) {
            Some(bytes) => weights::open_bytes(&folder.path(EMBEDDED), bytes),
            None => Err(WeightsError::NoWeights {
                folder: folder.location(),
                looked_for: vec![EMBEDDED.to_owned()],
            }),
        },
    }
}

pub(super) fn read_config<T>(
    folder: &ModelFolder,
    name: &str,
    parse: impl FnOnce(&str) -> std::result::Result<T, String>,
) -> Result<T> {
    let bytes = read_small(folder, name)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
    text.and_then(parse).map_err(|reason| at(&folder.path(name), reason))
}

pub(super) fn read_small(folder: &ModelFolder, name: &str) -> Result<Cow<'static, [u8]>> {
    folder.read(name).map_err(|error| at(&folder.path(name), format!("cannot be read: {error}")))
}

fn read_system(folder: &ModelFolder, config: &LlavaConfig) -> Result<SystemConfig> {
    if folder.contains("maskwise.json") {
        return read_config(folder, "maskwise.json", |text| {
            let system: SystemConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
            system.check().map(|()| system)
        });
    }
    let family = Family::from_architectures(&config.architectures)
        .map_err(|reason| at(&folder.path("config.json"), reason))?;
    Ok(SystemConfig::published(family, config.language_model.hidden_size))
}

/// Side of SAM's square input: its grid times its patch.
fn sam_image_size(checkpoint: &dyn TensorSource) -> Result<usize> {
    let size = |name: &str, axis: usize| {
        let name = format!("{SAM_PREFIX}.image_encoder.{name}");
        let info = checkpoint.tensors().get(&name);
        info.and_then(|info| info.shape.get(axis).copied()).ok_or(weights::WeightsError::Missing { name })
    };
    Ok(size("pos_embed", 1)? * size("patch_embed.proj.weight", 2)?)
}

/// Looks at the matrices that training must have moved.
fn refuse_untrained(checkpoint: &dyn TensorSource) -> Result<()> {
    const TRAINED: [&str; 7] = [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.text_hidden_fcs.0.0.weight",
        "model.text_hidden_fcs.0.2.weight",
        "model.visual_model.mask_decoder.mask_tokens.weight",
        "model.visual_model.image_encoder.patch_embed.proj.weight",
    ];
    let present = TRAINED.into_iter().filter(|name| checkpoint.tensors().contains_key(*name));
    let findings = looks_untrained(checkpoint, present)?;
    if findings.is_empty() {
        return Ok(());
    }
    let findings = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(ModelError::Untrained { findings })
}

fn bytes(source: &dyn TensorSource) -> u64 {
    source.tensors().values().map(|info| (info.element_count() * info.dtype.size_in_bytes()) as u64).sum()
}

/// Bytes read so far, shared by the checkpoint and the tower.
#[derive(Clone)]
struct Progress(Arc<(Option<ProgressObserver>, AtomicU64, u64)>);

impl Progress {
    fn new(observer: Option<ProgressObserver>, total: u64) -> Self {
        Self(Arc::new((observer, AtomicU64::new(0), total)))
    }

    fn add(&self, bytes: usize) {
        let (observer, read, total) = &*self.0;
        let bytes = bytes as u64;
        let read = read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(observer) = observer {
            observer(read, *total);
        }
    }
}
