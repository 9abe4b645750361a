//! The errors of the facade.

use crate::hub::HubError;
use maskwise_data::atomic::WriteError;
use maskwise_data::draw::DrawError;
use maskwise_data::image::{ImageError, PreprocessError};
use maskwise_data::mask::MaskError;
use maskwise_data::text::TextError;
use maskwise_models::ModelError;
use maskwise_nn::weights::WeightsError;

/// The result of the facade's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Whatever can go wrong between a model folder, an image and an answer. Each message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be built or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Weights could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The image could not be decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image cannot be brought into the form that the model takes.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The question or the prompt is at fault.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A mask could not be made of what the model computed.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The hub or its cache.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The model is neither a folder nor in the hub's cache.
    #[error("{0}")]
    ModelNotFound(String),
    /// The device is unknown, not compiled in, or refuses.
    #[error("{0}")]
    Device(String),
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// The system's own message.
        source: std::io::Error,
    },
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(ModelError::Tensor(error))
    }
}
