use super::{Recipe, Task};
use crate::checkpoint::checkpoint_parameters;
use crate::read::LoraConfig;
use crate::session::start::open_model;
use crate::{CheckpointFolder, TrainError};
use candle_core::{DType, Device, Tensor};
use maskwise_nn::weights::{TensorInfo, TensorSource, WeightsError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Which of a run's checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The one with the best validation; the last where nothing was validated.
    #[default]
    Best,
    /// The newest.
    Last,
}

/// Writes the model that `run` trained as a folder in the published layout (spec 2.1): adapters merged into their weights, what was
/// trained wholly in its place, everything else as the run found it. Every tensor is stored as `dtype`, or as in the model that the
/// run started from.
///
/// # Errors
/// When the folder holds no run or no checkpoint, `target` exists, or a file cannot be read or written; nothing is left behind then.
pub fn merge(
    run: &Path,
    which: Which,
    target: &Path,
    dtype: Option<DType>,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<(), TrainError> {
    maskwise_models::systems::read::refuse_existing(target)?;
    let recipe = Recipe::read(&run.join("config.toml"))?;
    let files = open_model(recipe.model(), run, recipe.run().seed)?;
    let checkpoints = CheckpointFolder::of(run);
    let folder = match which {
        Which::Best => checkpoints.best()?.or(checkpoints.last()?),
        Which::Last => checkpoints.last()?,
    };
    let folder = folder.ok_or_else(|| {
        TrainError::setting(run.display().to_string(), "holds no checkpoint; let the run reach its first one")
    })?;
    let trained = Arc::new(checkpoint_parameters(&folder)?);
    let lora = match &recipe {
        Recipe::Read(config) => config.lora.clone(),
        Recipe::Vision(_) => None,
    };
    let merged = |source| Merged { source, trained: trained.clone(), lora: lora.clone() };
    let (checkpoint, tower) = (merged(files.open_checkpoint()?), merged(files.open_vision_tower()?));
    check_used(&recipe, &trained, [&checkpoint, &tower], &folder)?;
    Ok(files.write_folder(target, &checkpoint, &tower, dtype, on_progress)?)
}

/// Every trained tensor has its place in the model; the heads of the vision stage have none.
fn check_used(
    recipe: &Recipe,
    trained: &BTreeMap<String, Tensor>,
    sources: [&Merged; 2],
    folder: &Path,
) -> Result<(), TrainError> {
    let known = |name: &str| {
        sources.iter().any(|source| {
            let layer = name.split(".lora_").next().unwrap_or(name);
            source.tensors().contains_key(name) || source.tensors().contains_key(&format!("{layer}.weight"))
        }) || (recipe.task() == Task::Vision && name.starts_with("heads."))
    };
    match trained.keys().find(|name| !known(name)) {
        Some(name) => Err(TrainError::Resume {
            path: folder.to_owned(),
            reason: format!("it holds `{name}`, which the model of the run has not"),
        }),
        None => Ok(()),
    }
}

/// A model with what was trained in the place of what it started from.
struct Merged {
    source: Box<dyn TensorSource>,
    trained: Arc<BTreeMap<String, Tensor>>,
    lora: Option<LoraConfig>,
}

impl TensorSource for Merged {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        self.source.tensors()
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let failed =
            |error: candle_core::Error| WeightsError::Tensor { name: name.to_owned(), source: error };
        let original = || self.source.read(name, DType::F32, device);
        let rows = self.tensors().get(name).and_then(|info| info.shape.first().copied()).unwrap_or(0);
        let merged = match (self.trained.get(name), &self.lora) {
            // Only the new rows of the vocabulary were trained.
            (Some(trained), _) if trained.dims().first().is_some_and(|found| *found < rows) => {
                let kept = rows - trained.dims()[0];
                let table = original()?.narrow(0, 0, kept).map_err(failed)?;
                Some(Tensor::cat(&[&table, trained], 0).map_err(failed)?)
            }
            (Some(trained), _) => Some(trained.clone()),
            (None, Some(lora)) if lora.adapts(name, &self.trained) => {
                Some(lora.merged(name, &original()?, &self.trained).map_err(failed)?)
            }
            _ => None,
        };
        match merged {
            Some(merged) => merged.to_dtype(dtype).map_err(failed),
            None => self.source.read(name, dtype, device),
        }
    }
}
