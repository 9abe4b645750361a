use crate::TrainError;
use crate::config::ModelSection;
use crate::scratch::{ModelSizes, TokenizerFiles, write_model};
use candle_core::DType;
use maskwise_data::text::sentencepiece::SentencePiece;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder inside of a run's that holds a model made from nothing.
const START: &str = "start";

/// The model that a run starts from. One from nothing is written into the run folder first, once.
pub(super) fn open_model(model: &ModelSection, run: &Path, seed: u64) -> Result<ModelFiles, TrainError> {
    let folder = match (&model.init_from, &model.architecture) {
        (Some(folder), _) => folder.clone(),
        (None, Some(architecture)) => from_nothing(architecture, run, seed)?,
        (None, None) => return Err(TrainError::setting("model", "names no model to start from")),
    };
    Ok(ModelFiles::open(&folder, &ModelPlaces::default())?)
}

/// Random weights of the sizes in `architecture/sizes.toml` with the tokenizer beside it.
fn from_nothing(architecture: &Path, run: &Path, seed: u64) -> Result<PathBuf, TrainError> {
    let target = run.join(START);
    if target.is_dir() {
        return Ok(target);
    }
    let read = |name: &str| {
        let path = architecture.join(name);
        fs::read(&path).map_err(|error| TrainError::io("read", &path, error))
    };
    let text = String::from_utf8_lossy(&read("sizes.toml")?).into_owned();
    let sizes: ModelSizes = toml::from_str(&text).map_err(|error| {
        TrainError::setting(architecture.join("sizes.toml").display().to_string(), error.message())
    })?;
    let sentencepiece = read("tokenizer.model")?;
    let tokenizer = SentencePiece::from_bytes(&sentencepiece).map_err(|error| {
        TrainError::setting(architecture.join("tokenizer.model").display().to_string(), error.to_string())
    })?;
    let tokenizer = TokenizerFiles { pieces: tokenizer.vocab_size(), sentencepiece };
    // Under its name only when it is complete.
    let partial = run.join(format!("{START}.partial"));
    if partial.is_dir() {
        fs::remove_dir_all(&partial).map_err(|error| TrainError::io("remove", &partial, error))?;
    }
    fs::create_dir_all(&partial).map_err(|error| TrainError::io("create", &partial, error))?;
    write_model(&partial, &sizes, &tokenizer, DType::F32, seed)?;
    fs::rename(&partial, &target).map_err(|error| TrainError::io("rename", &partial, error))?;
    Ok(target)
}
