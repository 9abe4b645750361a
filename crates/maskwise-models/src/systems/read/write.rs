use super::ModelFiles;
use super::load::{at, read_small};
use crate::error::{ModelError, Result};
use candle_core::{DType, Device};
use maskwise_data::atomic::{WriteError, write_atomic};
use maskwise_nn::weights::{DEFAULT_SHARD_BYTES, TensorPlan, TensorSource, write_sharded};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of the vision tower inside of a written folder.
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

impl ModelFiles {
    /// Writes a model folder in the published layout that loads without anything beside it: the small files of this model with the
    /// tensors of `checkpoint` and `tower`, every tensor as `dtype`, or as its own where that is absent.
    ///
    /// The folder appears under its name only when it is complete. `on_progress` hears (tensors written, tensors in all).
    ///
    /// # Errors
    /// When `target` exists, or reading or writing fails; nothing is left behind then.
    pub fn write_folder(
        &self,
        target: &Path,
        checkpoint: &dyn TensorSource,
        tower: &dyn TensorSource,
        dtype: Option<DType>,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        refuse_existing(target)?;
        let partial = Partial::create(target)?;
        self.write_small_files(&partial.0)?;
        let total = checkpoint.tensors().len() + tower.tensors().len();
        let mut done = 0;
        let mut step = || {
            done += 1;
            on_progress(done.min(total), total);
        };
        write_weights(checkpoint, &partial.0, dtype, &mut step)?;
        write_weights(tower, &partial.0.join(TOWER), dtype, &mut step)?;
        partial.finish(target)
    }

    fn write_small_files(&self, target: &Path) -> Result<()> {
        for name in TOKENIZER_FILES {
            if self.folder.contains(name) {
                let bytes = read_small(&self.folder, name)?;
                write_atomic(&target.join(name), |file| file.write_all(&bytes))?;
            }
        }
        write_json(&target.join(TOWER).join("config.json"), &self.vision_config)?;
        write_json(&target.join(TOWER).join("preprocessor_config.json"), &self.inputs.clip)?;
        let config = read_small(&self.folder, "config.json")?;
        let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&config)
            .map_err(|error| at(&self.folder.path("config.json"), error.to_string()))?;
        for key in ["vision_tower", "mm_vision_tower"] {
            config.insert(key.to_owned(), TOWER.into());
        }
        write_json(&target.join("config.json"), &config)?;
        write_json(&target.join("maskwise.json"), &self.system)
    }
}

/// Refuses a target that is there already.
///
/// # Errors
/// [`ModelError::Config`].
pub fn refuse_existing(target: &Path) -> Result<()> {
    if target.exists() {
        return Err(at(target, "it exists already; choose a new folder".to_owned()));
    }
    Ok(())
}

/// A folder that is removed unless it is finished.
struct Partial(PathBuf);

impl Partial {
    fn create(target: &Path) -> Result<Self> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = target.with_file_name(name);
        std::fs::create_dir_all(partial.join(TOWER)).map_err(|error| WriteError::from_io(target, error))?;
        Ok(Self(partial))
    }

    fn finish(self, target: &Path) -> Result<()> {
        Ok(std::fs::rename(&self.0, target).map_err(|error| WriteError::from_io(target, error))?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; a failure here leaves a folder that is marked as partial.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| at(path, error.to_string()))?;
    Ok(write_atomic(path, |file| writeln!(file, "{text}"))?)
}

fn write_weights(
    source: &dyn TensorSource,
    folder: &Path,
    dtype: Option<DType>,
    step: &mut dyn FnMut(),
) -> Result<()> {
    let wanted = source.tensors().iter().filter(|(name, _)| !name.ends_with(".rotary_emb.inv_freq"));
    let plans: Vec<TensorPlan> = wanted
        .map(|(name, info)| TensorPlan {
            name: name.clone(),
            shape: info.shape.clone(),
            dtype: dtype.filter(|_| info.dtype.is_float()).unwrap_or(info.dtype),
        })
        .collect();
    let dtypes: BTreeMap<&str, _> = plans.iter().map(|plan| (plan.name.as_str(), plan.dtype)).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_sharded(folder, &plans, &metadata, DEFAULT_SHARD_BYTES, |name| {
        let tensor = source.read(name, dtypes[name], &Device::Cpu)?;
        step();
        Ok(tensor)
    })
    .map_err(ModelError::from)
}
