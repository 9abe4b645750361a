//! What can go wrong when a model is built or run.

use maskwise_data::image::PreprocessError;
use maskwise_data::text::TextError;
use maskwise_nn::weights::WeightsError;
use std::path::PathBuf;

/// An error of the networks, the heads and the systems.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor operation failed: shapes that do not fit, or a device out of memory.
    #[error("tensor operation failed: {}", first_line(.0))]
    Tensor(#[from] candle_core::Error),
    /// The weights could not be loaded.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer or the prompt is at fault.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The image could not be preprocessed.
    #[error(transparent)]
    Image(#[from] PreprocessError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] maskwise_data::atomic::WriteError),
    /// The folder is not a model folder.
    #[error("{} is not a model folder: {reason}", path.display())]
    NotAModel {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong, and what to do.
        reason: String,
    },
    /// A configuration file holds something that cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// The vision tower that the configuration names was not found.
    #[error("the vision tower `{name}` was not found; looked in {}. {}", list(looked_in), advice(name))]
    VisionTowerNotFound {
        /// The name in `config.json`.
        name: String,
        /// Every folder that was tried.
        looked_in: Vec<PathBuf>,
    },
    /// The weights look as if they were never trained or never loaded.
    #[error(
        "the checkpoint looks untrained: {findings}. Check that the download is complete and that this is the merged model, or pass --allow-untrained"
    )]
    Untrained {
        /// Which tensors, and what about them.
        findings: String,
    },
    /// The similarity map cannot be turned into points.
    #[error("the similarity map cannot be turned into points: {0}")]
    Similarity(String),
    /// Tensors or configuration whose sizes do not fit each other.
    #[error("the sizes of the model do not fit: {0}")]
    Sizes(String),
    /// The settings of the points are out of range.
    #[error("the settings of the points cannot be used: {0}")]
    Points(String),
    /// A prompt that does not fit the model.
    #[error("{0}")]
    Prompt(String),
}

/// The error without the backtrace that candle appends.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// A name with one slash is a repository of the hub; another is a folder that did not come along.
fn advice(name: &str) -> String {
    let is_repository =
        name.split('/').filter(|part| !part.is_empty()).count() == 2 && !name.starts_with(['/', '.']);
    if is_repository {
        format!("Download it with `maskwise pull {name}`, or pass --vision-tower DIR")
    } else {
        "Pass --vision-tower DIR".to_owned()
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The result of building or running a model.
pub type Result<T> = std::result::Result<T, ModelError>;
