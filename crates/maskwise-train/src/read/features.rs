//! What frozen encoders compute of an image, kept so that each image is encoded once.

use super::{Part, TrainedWeights};
use crate::TrainError;
use candle_core::{DType, Device, Tensor};
use maskwise_data::image::PixelValues;
use maskwise_models::systems::read::{ModelFiles, PartTypes, ReadModel};
use maskwise_nn::weights::{SafetensorsFile, TensorPlan, TensorSource, write_safetensors};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where features are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureSettings {
    /// Bytes that may be kept in memory. What comes when they are full is not kept there.
    pub memory_bytes: usize,
    /// A folder in which each image has a file, for the next epoch and for other runs of the same frozen weights; made if it is not
    /// there.
    pub folder: Option<PathBuf>,
}

/// The outputs of CLIP, its projector and SAM's image encoder, as far as these are frozen, by image.
///
/// A key is a hash of the preprocessed pixels and, on the disk, of the frozen weights and what else decides the output. A file holds
/// the output in the dtype that the part computes in, and a checksum; one that does not fit is computed again.
pub struct FeatureCache {
    settings: FeatureSettings,
    /// What is kept for the language model and for the masks; none where the encoder is trained.
    language: Option<Encoder>,
    masks: Option<Encoder>,
    kept: Mutex<Kept>,
    encoded: AtomicU64,
    notices: Mutex<Vec<String>>,
}

/// A frozen encoder.
#[derive(Clone, Debug)]
struct Encoder {
    output: Output,
    /// Hash of its weights; empty where nothing is kept on the disk.
    weights: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    ImageTokens,
    ClipFeatures,
    SamEmbedding,
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::ImageTokens => "image-tokens",
            Self::ClipFeatures => "clip-features",
            Self::SamEmbedding => "sam-embedding",
        }
    }

    fn parts(self) -> &'static [Part] {
        match self {
            Self::ImageTokens => &[Part::VisionTower, Part::MmProjector],
            Self::ClipFeatures => &[Part::VisionTower],
            Self::SamEmbedding => &[Part::ImageEncoder],
        }
    }
}

#[derive(Default)]
struct Kept {
    features: HashMap<String, Tensor>,
    bytes: usize,
}

impl FeatureCache {
    pub(super) fn new(
        settings: FeatureSettings,
        files: &ModelFiles,
        weights: &TrainedWeights,
    ) -> Result<Self, TrainError> {
        if let Some(folder) = &settings.folder {
            fs::create_dir_all(folder).map_err(|error| TrainError::io("create", folder, error))?;
        }
        let frozen = |output: &Output| !output.parts().iter().any(|part| weights.trains(*part));
        let encoder = |output: Output| {
            let weights = match &settings.folder {
                Some(_) => frozen_hash(output, files, weights)?,
                None => String::new(),
            };
            Ok::<_, TrainError>(Encoder { output, weights })
        };
        let language = [Output::ImageTokens, Output::ClipFeatures].into_iter().find(frozen);
        let masks = Some(Output::SamEmbedding).filter(frozen);
        Ok(Self {
            language: language.map(encoder).transpose()?,
            masks: masks.map(encoder).transpose()?,
            settings,
            kept: Mutex::default(),
            encoded: AtomicU64::new(0),
            notices: Mutex::default(),
        })
    }

    /// The image tokens `[1, tokens, width]` of CLIP's pixels.
    pub(super) fn image_tokens(&self, model: &ReadModel, pixels: &PixelValues) -> Result<Tensor, TrainError> {
        match &self.language {
            Some(encoder) if encoder.output == Output::ImageTokens => {
                self.get(encoder, pixels, || Ok(model.encode_for_language(pixels)?))
            }
            Some(encoder) => {
                let features = self.get(encoder, pixels, || Ok(model.clip_features(pixels)?))?;
                Ok(model.mm_projector.forward(&features)?)
            }
            None => Ok(model.encode_for_language(pixels)?),
        }
    }

    /// SAM's embedding `[1, dim, grid, grid]` of its pixels.
    pub(super) fn sam_embedding(
        &self,
        model: &ReadModel,
        pixels: &PixelValues,
    ) -> Result<Tensor, TrainError> {
        let encode = || Ok(model.encode_for_masks(pixels)?);
        self.masks.as_ref().map_or_else(encode, |encoder| self.get(encoder, pixels, encode))
    }

    /// How often a frozen encoder was run.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    /// What a person should know of, as damaged files; each is told once.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.notices))
    }

    fn get(
        &self,
        encoder: &Encoder,
        pixels: &PixelValues,
        compute: impl Fn() -> Result<Tensor, TrainError>,
    ) -> Result<Tensor, TrainError> {
        let encode = || {
            self.encoded.fetch_add(1, Ordering::Relaxed);
            Ok::<_, TrainError>(compute()?.detach().contiguous()?)
        };
        if self.settings.folder.is_none() && self.settings.memory_bytes == 0 {
            return encode();
        }
        let key = key(encoder, pixels);
        if let Some(features) = lock(&self.kept).features.get(&key) {
            return Ok(features.clone());
        }
        let features = match &self.settings.folder {
            Some(folder) => {
                let path = folder.join(format!("{key}.safetensors"));
                match self.read(&path, &key) {
                    Some(features) => features,
                    None => {
                        let features = encode()?;
                        write(&path, &key, &features)?;
                        features
                    }
                }
            }
            None => encode()?,
        };
        self.keep(key, &features);
        Ok(features)
    }

    fn keep(&self, key: String, features: &Tensor) {
        let bytes = features.elem_count() * features.dtype().size_in_bytes();
        let mut kept = lock(&self.kept);
        if kept.bytes + bytes <= self.settings.memory_bytes
            && kept.features.insert(key, features.clone()).is_none()
        {
            kept.bytes += bytes;
        }
    }

    /// The features in the file `path`; none, with a notice, where it is damaged.
    fn read(&self, path: &Path, key: &str) -> Option<Tensor> {
        if !path.exists() {
            return None;
        }
        let read = || {
            let file = SafetensorsFile::open(path).map_err(|error| error.to_string())?;
            let stored = |name: &str| {
                let info = file.tensors().get(name).ok_or_else(|| format!("it has no `{name}`"))?;
                file.read(name, info.dtype, &Device::Cpu).map_err(|error| error.to_string())
            };
            let features = stored(FEATURES)?;
            let expected = stored(CHECKSUM)?.to_vec1::<u8>().map_err(|error| error.to_string())?;
            match checksum(key, &features).map_err(|error| error.to_string())? == expected {
                true => Ok(features),
                false => Err("its checksum does not fit its content".to_owned()),
            }
        };
        let result: Result<Tensor, String> = read();
        match result {
            Ok(features) => Some(features),
            Err(reason) => {
                let notice = format!("{} is damaged and computed again: {reason}", path.display());
                lock(&self.notices).push(notice);
                None
            }
        }
    }
}

const FEATURES: &str = "features";
const CHECKSUM: &str = "checksum";

/// A panic elsewhere leaves whole values behind, so that a poisoned lock can be entered.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(path: &Path, key: &str, features: &Tensor) -> Result<(), TrainError> {
    let checksum = Tensor::from_vec(checksum(key, features)?, 32, &Device::Cpu)?;
    let plan = |name: &str, tensor: &Tensor| TensorPlan {
        name: name.to_owned(),
        shape: tensor.dims().to_vec(),
        dtype: tensor.dtype(),
    };
    let plans = [plan(FEATURES, features), plan(CHECKSUM, &checksum)];
    Ok(write_safetensors(path, &plans, &BTreeMap::new(), |name| {
        Ok(if name == FEATURES { features.clone() } else { checksum.clone() })
    })?)
}

fn key(encoder: &Encoder, pixels: &PixelValues) -> String {
    let mut hash = Sha256::new();
    hash.update(&encoder.weights);
    hash.update(format!("{} {} {}", pixels.channels, pixels.height, pixels.width));
    update(&mut hash, &pixels.data);
    format!("{}-{}", encoder.output.name(), hexadecimal(hash))
}

fn checksum(key: &str, features: &Tensor) -> candle_core::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    hash.update(key);
    update_tensor(&mut hash, features)?;
    Ok(hash.finalize().to_vec())
}

/// A hash of the tensors that `output` is computed by, and of what in the model's configuration alters it.
fn frozen_hash(output: Output, files: &ModelFiles, weights: &TrainedWeights) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    // The types as text, for files that earlier versions wrote are good still.
    let PartTypes { language, vision, sam, .. } = weights.types();
    let types = format!("PartTypes {{ language: {language:?}, vision: {vision:?}, sam: {sam:?} }}");
    hash.update(format!("{types} {:?}", files.vision_config));
    hash.update(format!("{:?}", files.config.vision_depth(files.vision_config.num_hidden_layers)));
    for (name, tensor) in weights.frozen() {
        if output.parts().iter().any(|part| part.holds(name)) {
            hash.update(name);
            update_tensor(&mut hash, tensor)?;
        }
    }
    Ok(hexadecimal(hash))
}

fn update_tensor(hash: &mut Sha256, tensor: &Tensor) -> candle_core::Result<()> {
    hash.update(format!("{:?} {:?}", tensor.dtype(), tensor.dims()));
    // Exact for every type that networks compute in.
    update(hash, &tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
    Ok(())
}

fn update(hash: &mut Sha256, values: &[f32]) {
    let mut bytes = Vec::new();
    for block in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(block.iter().flat_map(|value| value.to_le_bytes()));
        hash.update(&bytes);
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
