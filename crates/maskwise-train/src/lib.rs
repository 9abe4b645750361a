//! Training of maskwise's models.

mod error;
mod gradients;
mod learner;
mod optimizer;
mod parameters;
pub mod read;
mod schedule;

pub use error::TrainError;
pub use gradients::{GradientSum, clip_coefficient, first_not_finite, global_norm};
pub use learner::Gradients;
pub use learner::{Learner, LossTerms, MicroBatch};
pub use optimizer::{AdamW, AdamWConfig, ParameterGroup};
pub use parameters::Parameters;
pub use schedule::{Decay, Schedule};
