//! From a published checkpoint to one folder: safetensors, tokenizer, vision tower and `maskwise.json` together.

use crate::device::DtypeChoice;
use crate::error::{Error, Result};
use crate::hub::Environment;
use crate::segmenter::open_files;
use crate::source::ModelSource;
use candle_core::Device;
use maskwise_data::atomic::{WriteError, write_atomic};
use maskwise_models::ModelError;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces};
use maskwise_nn::weights::{DEFAULT_SHARD_BYTES, TensorPlan, TensorSource, write_sharded};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of the vision tower inside of a converted folder.
const TOWER: &str = "vision_tower";
/// Small files that are taken over as they are.
const TOKENIZER_FILES: [&str; 6] = [
    "tokenizer.model",
    "tokenizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "generation_config.json",
];

/// How a checkpoint is converted.
#[derive(Default)]
pub struct ConvertOptions {
    /// The dtype of every tensor; each keeps its own if absent.
    pub dtype: Option<DtypeChoice>,
    /// Vision tower and SAM outside of the model folder.
    pub places: ModelPlaces,
    /// Convert weights that look untrained all the same.
    pub allow_untrained: bool,
}

/// Converts the model at `source` into the new folder `target`, which loads without anything beside it.
///
/// The folder appears under its name only when it is complete. `on_progress` hears (tensors written, tensors in all).
///
/// # Errors
/// When `target` exists, the source is not a model folder, its weights do not fit its configuration or look untrained, or
/// writing fails; nothing is left behind then.
pub fn convert(
    source: &ModelSource,
    target: &Path,
    options: ConvertOptions,
    environment: &Environment,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    if target.exists() {
        let reason = "it exists already; choose a new folder".to_owned();
        return Err(ModelError::Config { path: target.to_owned(), reason }.into());
    }
    let folder = source.locate(environment)?;
    let files = open_files(&folder, options.places, environment)?;
    files.check_shapes()?;
    if !options.allow_untrained {
        files.check_trained()?;
    }
    let partial = Partial::create(target)?;
    write_small_files(&files, &partial.0)?;
    let (checkpoint, tower) = (files.open_checkpoint()?, files.open_vision_tower()?);
    let total = checkpoint.tensors().len() + tower.tensors().len();
    let mut done = 0;
    let mut step = || {
        done += 1;
        on_progress(done.min(total), total);
    };
    write_weights(checkpoint.as_ref(), &partial.0, options.dtype, &mut step)?;
    write_weights(tower.as_ref(), &partial.0.join(TOWER), options.dtype, &mut step)?;
    partial.finish(target)
}

/// A folder that is removed unless it is finished.
struct Partial(PathBuf);

impl Partial {
    fn create(target: &Path) -> Result<Self> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = target.with_file_name(name);
        std::fs::create_dir_all(partial.join(TOWER)).map_err(|error| write_error(target, error))?;
        Ok(Self(partial))
    }

    fn finish(self, target: &Path) -> Result<()> {
        std::fs::rename(&self.0, target).map_err(|error| write_error(target, error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; a failure here leaves a folder that is marked as partial.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    WriteError::from_io(path, source).into()
}

fn write_small_files(files: &ModelFiles, target: &Path) -> Result<()> {
    for name in TOKENIZER_FILES {
        copy_if_there(&files.folder.join(name), &target.join(name))?;
    }
    write_json(&target.join(TOWER).join("config.json"), &files.vision_config)?;
    write_json(&target.join(TOWER).join("preprocessor_config.json"), &files.inputs.clip)?;
    let config_path = files.folder.join("config.json");
    let config =
        std::fs::read(&config_path).map_err(|source| Error::Read { path: config_path.clone(), source })?;
    let at = |error: serde_json::Error| ModelError::Config {
        path: config_path.clone(),
        reason: error.to_string(),
    };
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&config).map_err(at)?;
    for key in ["vision_tower", "mm_vision_tower"] {
        config.insert(key.to_owned(), TOWER.into());
    }
    write_json(&target.join("config.json"), &config)?;
    write_json(&target.join("maskwise.json"), &files.system)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| write_error(path, error.into()))?;
    Ok(write_atomic(path, |file| writeln!(file, "{text}"))?)
}

fn copy_if_there(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let bytes = std::fs::read(from).map_err(|source| Error::Read { path: from.to_owned(), source })?;
        write_atomic(to, |file| file.write_all(&bytes))?;
    }
    Ok(())
}

fn write_weights(
    source: &dyn TensorSource,
    folder: &Path,
    dtype: Option<DtypeChoice>,
    step: &mut dyn FnMut(),
) -> Result<()> {
    let wanted = source.tensors().iter().filter(|(name, _)| !name.ends_with(".rotary_emb.inv_freq"));
    let plans: Vec<TensorPlan> = wanted
        .map(|(name, info)| TensorPlan {
            name: name.clone(),
            shape: info.shape.clone(),
            dtype: match dtype {
                Some(dtype) if info.dtype.is_float() => dtype.dtype(),
                _ => info.dtype,
            },
        })
        .collect();
    let dtypes: BTreeMap<&str, _> = plans.iter().map(|plan| (plan.name.as_str(), plan.dtype)).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_sharded(folder, &plans, &metadata, DEFAULT_SHARD_BYTES, |name| {
        let tensor = source.read(name, dtypes[name], &Device::Cpu)?;
        step();
        Ok(tensor)
    })?;
    Ok(())
}
