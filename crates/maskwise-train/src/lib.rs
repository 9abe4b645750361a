//! Training of maskwise's models.

mod learner;
mod parameters;

pub use learner::Gradients;
pub use learner::{Learner, LossTerms, MicroBatch};
pub use parameters::Parameters;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
