use crate::answer::ModelIdentity;
use crate::device::{DeviceChoice, DtypeChoice, NumericMode};
use crate::embedded::EmbeddedModel;
use crate::error::{Error, Result};
use crate::hub::Environment;
use crate::scene::Scene;
use crate::scene::beside::{Pools, THREADS_FOR_BOTH};
use crate::source::{ModelSource, cached_tower};
use candle_core::DType;
use maskwise_data::fingerprint::{self, FingerprintError};
use maskwise_data::folder::ModelFolder;
use maskwise_data::image::RgbImage;
use maskwise_data::text::QuestionTemplates;
use maskwise_models::heads::similarity_points::{SimilarityPointsConfig, Thresholds};
use maskwise_models::systems::read::{
    LoadOptions, MaskPrompting, ModelFiles, ModelPlaces, PartQuantization, ProgressObserver, ReadModel,
};
use maskwise_nn::ops::{Precision, with_precision};
use maskwise_nn::weights::Quantization;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How a model is loaded.
#[derive(Default)]
pub struct SegmenterOptions {
    /// Where it runs.
    pub device: DeviceChoice,
    /// The dtype; by the model's size if absent (see [`DtypeChoice::for_parameters`]).
    pub dtype: Option<DtypeChoice>,
    /// The dtype of the vision tower; as `mode` says if absent.
    pub vision_dtype: Option<DtypeChoice>,
    /// The dtype of SAM's image encoder and mask decoder; as `mode` says if absent.
    pub sam_dtype: Option<DtypeChoice>,
    /// How each part keeps the weights of its large linear layers; what is quantized on the disk stays so. A quantized part computes in
    /// f32, on the processor.
    pub quantization: PartQuantization,
    /// How closely the reference's rounding is followed.
    pub mode: NumericMode,
    /// Vision tower and SAM outside of the model folder.
    pub places: ModelPlaces,
    /// What to change of the model's own points.
    pub points: PointsChoice,
    /// Load weights that look untrained all the same.
    pub allow_untrained: bool,
    /// Called with (bytes read, bytes in all) while weights are read.
    pub on_progress: Option<ProgressObserver>,
    /// Where the hub cache is; read from the process's environment if absent.
    pub environment: Option<Environment>,
}

/// What to change of a model's configured similarity points.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PointsChoice {
    /// No points at all: what LISA and SESAME do.
    pub none: bool,
    /// The number of points.
    pub num_points: Option<usize>,
    /// The lowest value of a positive cell, 0..1.
    pub t_pos: Option<f32>,
    /// The highest value of a negative cell, 0..1.
    pub t_neg: Option<f32>,
    /// The factor by which the grid is reduced.
    pub down_sample: Option<usize>,
}

impl PointsChoice {
    /// The configuration after the changes. A model without points gets READ-7B's where any value is given.
    ///
    /// # Errors
    /// When a value is out of range, or a threshold is given for a model whose thresholds follow mean and deviation.
    pub fn apply(
        &self,
        configured: Option<SimilarityPointsConfig>,
    ) -> Result<Option<SimilarityPointsConfig>> {
        if self.none {
            return Ok(None);
        }
        if *self == Self::default() {
            return Ok(configured);
        }
        let mut config = configured.unwrap_or_else(SimilarityPointsConfig::read_7b);
        config.num_points = self.num_points.or(config.num_points);
        config.down_sample = self.down_sample.unwrap_or(config.down_sample);
        if self.t_pos.is_some() || self.t_neg.is_some() {
            let Thresholds::Fixed { t_pos, t_neg } = config.thresholds else {
                let reason =
                    "this model's thresholds follow mean and deviation; fixed thresholds cannot be given";
                return Err(Error::Model(maskwise_models::ModelError::Points(reason.to_owned())));
            };
            config.thresholds =
                Thresholds::Fixed { t_pos: self.t_pos.unwrap_or(t_pos), t_neg: self.t_neg.unwrap_or(t_neg) };
        }
        config.check().map_err(maskwise_models::ModelError::Points)?;
        Ok(Some(config))
    }
}

/// A loaded model that answers questions about images.
pub struct Segmenter {
    pub(crate) model: ReadModel,
    pub(crate) files: ModelFiles,
    identity: ModelIdentity,
    parameters: u64,
    /// Vision tower and SAM that were named besides the folder.
    further: Vec<PathBuf>,
    precision: Precision,
    /// Whether questions about one image share what the language model has read up to the image. In bf16 on a processor the reference's
    /// rounding depends on how many positions it reads at once.
    pub(crate) shares_beginning: bool,
    pools: OnceLock<Option<Pools>>,
}

impl Segmenter {
    /// Loads a model; `ModelSource::default()` is the embedded one. Nothing is downloaded; the hub cache is looked up for the model and for the vision tower that its
    /// configuration names.
    ///
    /// # Errors
    /// When the model, its tower or the device is not there, or the weights do not fit: see [`Error`].
    pub fn load(source: &ModelSource, options: SegmenterOptions) -> Result<Self> {
        let environment = options.environment.unwrap_or_else(Environment::from_env);
        let folder = source.locate(&environment)?;
        let further = options.places.vision_tower.iter().chain(&options.places.sam).cloned().collect();
        let mut files = open_files(&folder, options.places, &environment)?;
        files.system.similarity_points = options.points.apply(files.system.similarity_points.take())?;
        let device = options.device.open()?;
        let parameters = count_parameters(&files)?;
        let stored = files.stored_quantization()?;
        let quantization = join(options.quantization, stored);
        if !quantization.is_none() && options.device != DeviceChoice::Cpu {
            let reason = "quantized weights run on the cpu only; leave out the device";
            return Err(Error::Device(reason.to_owned()));
        }
        let language = match quantization.language.bits() {
            None => options.dtype.unwrap_or_else(|| DtypeChoice::for_parameters(parameters)),
            Some(_) => in_f32(options.dtype, "the language model")?,
        };
        let mut types = options.mode.types(language, options.device);
        types.vision =
            part_type(options.vision_dtype, quantization.vision, types.vision, "the vision tower")?;
        types.sam = part_type(options.sam_dtype, quantization.sam, types.sam, "SAM")?;
        types.quantization = PartQuantization {
            language: options.mode.kept(quantization.language),
            vision: options.mode.kept(quantization.vision),
            sam: options.mode.kept(quantization.sam),
        };
        types.output_head = options.mode.kept(Quantization::None);
        let model = files.load(LoadOptions {
            types,
            device,
            allow_untrained: options.allow_untrained,
            on_progress: options.on_progress,
        })?;
        let config = folder
            .read("config.json")
            .map_err(|source| Error::Read { path: folder.path("config.json"), source })?;
        let digest = Sha256::digest(&config);
        let identity = ModelIdentity {
            name: name_of(source),
            revision: source.revision(&environment),
            config_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            system: files.system.system,
            dtype: match quantization.language.bits() {
                None => language.to_string(),
                Some(_) => quantization.language.to_string(),
            },
            mode: options.mode.to_string(),
            device: options.device.to_string(),
        };
        let rounds_like_reference = options.mode == NumericMode::Exact
            && types.language == DType::BF16
            && options.device == DeviceChoice::Cpu;
        Ok(Self {
            model,
            files,
            identity,
            parameters,
            further,
            precision: options.mode.precision(),
            shares_beginning: !rounds_like_reference,
            pools: OnceLock::new(),
        })
    }

    /// Looks at an image; it is encoded when the first question needs it, and only once.
    ///
    /// # Errors
    /// When the image has no pixel or is too thin for the model.
    pub fn look(&self, image: &RgbImage) -> Result<Scene<'_>> {
        Scene::new(self, image)
    }

    /// Runs one of the large networks as exactly as was asked.
    pub(crate) fn compute<R>(&self, work: impl FnOnce(&ReadModel) -> R) -> R {
        with_precision(self.precision, || work(&self.model))
    }

    /// Threads for two networks at a time; none where the current pool has too few.
    pub(crate) fn pools(&self) -> Option<&Pools> {
        let threads = rayon::current_num_threads();
        if threads < THREADS_FOR_BOTH {
            return None;
        }
        self.pools.get_or_init(|| Pools::new(threads)).as_ref()
    }

    /// Which model this is and how it runs.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Values in the checkpoint and in its vision tower.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// A fingerprint of the files of the model, and of a tower and a SAM that were named besides it: names, sizes, and content, of large files the
    /// first and the last MiB.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn fingerprint(&self) -> std::result::Result<String, FingerprintError> {
        let folder = fingerprint::of_model(&self.files.folder)?;
        if self.further.is_empty() {
            return Ok(folder);
        }
        let further: Vec<&Path> = self.further.iter().map(PathBuf::as_path).collect();
        Ok(format!("{folder}-{}", fingerprint::of_paths(&further)?))
    }

    /// What prompts SAM.
    pub fn mask_prompting(&self) -> MaskPrompting {
        self.model.mask_prompting()
    }

    /// The words that a benchmark's texts are put into when this model is asked.
    pub fn question_templates(&self) -> QuestionTemplates {
        self.files.system.system.question_templates()
    }

    /// How many positions the model's context holds, image tokens included.
    pub fn context(&self) -> usize {
        self.model.language_model.config().max_position_embeddings
    }
}

/// What is asked for, and what is so on the disk.
fn join(asked: PartQuantization, stored: PartQuantization) -> PartQuantization {
    let either = |asked, stored| if asked == Quantization::None { stored } else { asked };
    PartQuantization {
        language: either(asked.language, stored.language),
        vision: either(asked.vision, stored.vision),
        sam: either(asked.sam, stored.sam),
    }
}

/// The dtype of a quantized part.
fn in_f32(asked: Option<DtypeChoice>, part: &str) -> Result<DtypeChoice> {
    match asked {
        None | Some(DtypeChoice::F32) => Ok(DtypeChoice::F32),
        Some(other) => Err(Error::Device(format!(
            "{part} is quantized and computes in f32, not {other}; leave out its dtype"
        ))),
    }
}

fn part_type(
    asked: Option<DtypeChoice>,
    quantization: Quantization,
    otherwise: DType,
    part: &str,
) -> Result<DType> {
    match quantization.bits() {
        None => Ok(asked.map_or(otherwise, DtypeChoice::dtype)),
        Some(_) => Ok(in_f32(asked, part)?.dtype()),
    }
}

/// What a report calls the model of `source`: the folder, the repository, or `embedded:NAME`.
fn name_of(source: &ModelSource) -> String {
    match (source, EmbeddedModel::get()) {
        (ModelSource::Embedded, Some(model)) => format!("{source}:{}", model.name),
        _ => source.to_string(),
    }
}

/// Opens the small files of a model, with the hub cache as one of the places where the vision tower may lie.
pub(crate) fn open_files(
    folder: &ModelFolder,
    mut places: ModelPlaces,
    environment: &Environment,
) -> Result<ModelFiles> {
    // What cannot be read is an error of the opening below.
    let config = folder.read("config.json").unwrap_or_default();
    let named = crate::hub::vision_tower_of(&String::from_utf8_lossy(&config));
    places.vision_tower_candidates.extend(named.and_then(|name| cached_tower(environment, &name)));
    Ok(ModelFiles::open(folder, &places)?)
}

/// Values in the checkpoint and in its vision tower; of quantized weights their bytes.
fn count_parameters(files: &ModelFiles) -> Result<u64> {
    let count = |source: &dyn maskwise_nn::weights::TensorSource| -> u64 {
        source.tensors().values().map(|info| info.element_count() as u64).sum()
    };
    Ok(count(files.open_checkpoint()?.as_ref()) + count(files.open_vision_tower()?.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_changed_one_by_one() {
        let read = Some(SimilarityPointsConfig::read_7b());
        assert_eq!(PointsChoice::default().apply(read.clone()).unwrap(), read);
        assert_eq!(PointsChoice { none: true, ..Default::default() }.apply(read.clone()).unwrap(), None);
        let changed = PointsChoice { num_points: Some(10), t_pos: Some(0.7), ..Default::default() };
        let config = changed.apply(read).unwrap().unwrap();
        assert_eq!(config.num_points, Some(10));
        assert_eq!(config.thresholds, Thresholds::Fixed { t_pos: 0.7, t_neg: 0.2 });
        assert_eq!(changed.apply(None).unwrap().unwrap().down_sample, 2);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for choice in [
            PointsChoice { num_points: Some(0), ..Default::default() },
            PointsChoice { t_pos: Some(1.5), ..Default::default() },
            PointsChoice { t_neg: Some(0.9), ..Default::default() },
            PointsChoice { down_sample: Some(0), ..Default::default() },
        ] {
            assert!(choice.apply(Some(SimilarityPointsConfig::read_7b())).is_err(), "{choice:?}");
        }
        let adaptive = Some(SimilarityPointsConfig::algorithm_1());
        assert!(PointsChoice { t_pos: Some(0.7), ..Default::default() }.apply(adaptive).is_err());
    }
}
