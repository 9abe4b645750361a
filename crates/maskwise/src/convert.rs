//! From a published checkpoint to one folder: safetensors, tokenizer, vision tower and `maskwise.json` together.

use crate::device::DtypeChoice;
use crate::error::Result;
use crate::hub::Environment;
use crate::segmenter::open_files;
use crate::source::ModelSource;
use maskwise_models::systems::read::{ModelPlaces, PartQuantization, refuse_existing};
use std::path::Path;

/// How a checkpoint is converted.
#[derive(Default)]
pub struct ConvertOptions {
    /// The dtype of every tensor; each keeps its own if absent.
    pub dtype: Option<DtypeChoice>,
    /// The parts whose large linear layers are written in few bits, ready to be mapped into memory.
    pub quantization: PartQuantization,
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
    refuse_existing(target)?;
    let folder = source.locate(environment)?;
    let files = open_files(&folder, options.places, environment)?;
    files.check_shapes()?;
    if !options.allow_untrained {
        files.check_trained()?;
    }
    let checkpoint = options.quantization.of_checkpoint(files.open_checkpoint()?);
    let tower = options.quantization.of_vision_tower(files.open_vision_tower()?);
    let dtype = options.dtype.map(DtypeChoice::dtype);
    files.write_folder(target, checkpoint.as_ref(), tower.as_ref(), dtype, on_progress)?;
    Ok(())
}
