//! Where a run's weights start.

mod assemble;
mod grown;
mod vocabulary;

use crate::config::ModelSection;
use crate::scratch::{ModelSizes, TokenizerFiles, write_model};
use crate::{TrainError, fingerprint};
use candle_core::DType;
use maskwise_data::atomic::write_atomic;
use maskwise_data::text::sentencepiece::SentencePiece;
use maskwise_models::systems::read::{ModelFiles, ModelPlaces};
use maskwise_nn::weights::{TensorInfo, TensorSource};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder inside of a run's that holds a model which was made for it.
const START: &str = "start";
/// Beside it: what it was made from.
const SOURCE: &str = "start.txt";

/// The model that a run starts from. One that is not there as it is to be trained is written into the run folder first, once.
pub(super) fn open_model(model: &ModelSection, run: &Path, seed: u64) -> Result<ModelFiles, TrainError> {
    let was_made = run.join(START).is_dir();
    let folder = match (&model.init_from, &model.architecture) {
        (Some(folder), _) if !was_made && assemble::is_complete(model, folder)? => folder.clone(),
        (Some(folder), _) => once(model, run, seed, |target| assemble::write(model, folder, target, seed))?,
        (None, Some(architecture)) => {
            once(model, run, seed, |target| from_nothing(architecture, target, seed))?
        }
        (None, None) => return Err(TrainError::setting("model", "names no model to start from")),
    };
    Ok(ModelFiles::open(&folder, &ModelPlaces::default())?)
}

/// What is known of a model before any of its weights is read or made.
pub(super) struct Shapes {
    /// Tensors of the checkpoint.
    pub(super) checkpoint: BTreeMap<String, TensorInfo>,
    /// Tensors of the vision tower.
    pub(super) tower: BTreeMap<String, TensorInfo>,
    /// Image tokens of a conversation.
    pub(super) image_tokens: usize,
    /// The first id of the tokens that the system added.
    pub(super) first_new_row: usize,
}

/// The shapes of the model that a run would start from; writes nothing into the run's folder.
pub(super) fn shapes(model: &ModelSection, run: &Path, seed: u64) -> Result<Shapes, TrainError> {
    let of_files = |files: &ModelFiles, checkpoint: &dyn TensorSource| {
        let special = &files.special;
        Ok(Shapes {
            checkpoint: checkpoint.tensors().clone(),
            tower: files.open_vision_tower()?.tensors().clone(),
            image_tokens: files.vision_config.grid().pow(2),
            first_new_row: special.seg.min(special.im_start).min(special.im_end) as usize,
        })
    };
    let made = run.join(START);
    match (&model.init_from, &model.architecture) {
        _ if made.is_dir() => {
            let files = ModelFiles::open(&made, &ModelPlaces::default())?;
            of_files(&files, files.open_checkpoint()?.as_ref())
        }
        (Some(folder), _) => {
            let name = format!("maskwise-plan-{}-{:x}", std::process::id(), seed);
            let small = std::env::temp_dir().join(name);
            if assemble::is_complete(model, folder)? {
                let files = ModelFiles::open(folder, &ModelPlaces::default())?;
                return of_files(&files, files.open_checkpoint()?.as_ref());
            }
            let assembled = assemble::Assembled::new(model, folder, small, seed)?;
            of_files(&assembled.files, &assembled.checkpoint)
        }
        (None, Some(architecture)) => {
            let (sizes, tokenizer) = read_architecture(architecture)?;
            let (checkpoint, tower) = sizes.tensors();
            let image_tokens = (sizes.clip.image_size / sizes.clip.patch_size).pow(2);
            Ok(Shapes { checkpoint, tower, image_tokens, first_new_row: tokenizer.pieces })
        }
        (None, None) => Err(TrainError::setting("model", "names no model to start from")),
    }
}

/// The folder that `write` makes, or made before. What it was made from is kept, so that a run folder in which another model was made is
/// noticed; where the sources are no longer there, as on a later merge, the folder is taken as it is.
fn once(
    model: &ModelSection,
    run: &Path,
    seed: u64,
    write: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<PathBuf, TrainError> {
    let (target, record) = (run.join(START), run.join(SOURCE));
    let sizes = model.architecture.iter().flat_map(|folder| [folder.join(SIZES), folder.join(TOKENIZER)]);
    let checkpoint = [&model.init_from, &model.vision_tower, &model.sam].into_iter().flatten().cloned();
    let sources: Vec<PathBuf> = sizes.chain(checkpoint).collect();
    if target.is_dir() && (!record.is_file() || sources.iter().any(|source| !source.exists())) {
        return Ok(target);
    }
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let source = format!("{} seed {seed} system {:?}\n", fingerprint(&sources)?, model.system);
    if target.is_dir() {
        let known = fs::read_to_string(&record).map_err(|error| TrainError::io("read", &record, error))?;
        if known == source {
            return Ok(target);
        }
        let reason = format!(
            "{} was made from another model, seed or system than [model] and run.seed say; choose another folder",
            target.display()
        );
        return Err(TrainError::setting("run.folder", reason));
    }
    fs::create_dir_all(run).map_err(|error| TrainError::io("create", run, error))?;
    write_atomic(&record, |file| file.write_all(source.as_bytes()))?;
    write(&target)?;
    Ok(target)
}

/// Files of an architecture's folder.
const SIZES: &str = "sizes.toml";
const TOKENIZER: &str = "tokenizer.model";

/// Sizes and tokenizer of an architecture's folder.
fn read_architecture(architecture: &Path) -> Result<(ModelSizes, TokenizerFiles), TrainError> {
    let read = |name: &str| {
        let path = architecture.join(name);
        fs::read(&path).map_err(|error| TrainError::io("read", &path, error))
    };
    let failed = |name: &str, reason: String| {
        TrainError::setting(architecture.join(name).display().to_string(), reason)
    };
    let text = String::from_utf8_lossy(&read(SIZES)?).into_owned();
    let sizes: ModelSizes =
        toml::from_str(&text).map_err(|error| failed(SIZES, error.message().replace('\n', " ")))?;
    sizes.check().map_err(|reason| failed(SIZES, reason))?;
    let sentencepiece = read(TOKENIZER)?;
    let tokenizer =
        SentencePiece::from_bytes(&sentencepiece).map_err(|error| failed(TOKENIZER, error.to_string()))?;
    Ok((sizes, TokenizerFiles { pieces: tokenizer.vocab_size(), sentencepiece }))
}

/// Random weights of the sizes in `architecture/sizes.toml` with the tokenizer beside it.
fn from_nothing(architecture: &Path, target: &Path, seed: u64) -> Result<(), TrainError> {
    let (sizes, tokenizer) = read_architecture(architecture)?;
    // Under its name only when it is complete.
    let partial = Scratch::create(target.with_file_name(format!("{START}.partial")))?;
    write_model(&partial.0, &sizes, &tokenizer, DType::F32, seed)?;
    fs::rename(&partial.0, target).map_err(|error| TrainError::io("rename", &partial.0, error))
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn create(folder: PathBuf) -> Result<Self, TrainError> {
        if folder.is_dir() {
            fs::remove_dir_all(&folder).map_err(|error| TrainError::io("remove", &folder, error))?;
        }
        fs::create_dir_all(&folder).map_err(|error| TrainError::io("create", &folder, error))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind after a failure here is removed by the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}
