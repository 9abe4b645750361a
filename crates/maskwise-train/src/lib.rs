//! Training of maskwise's models.

mod checkpoint;
pub mod config;
mod coverage;
mod error;
mod fingerprint;
mod gradients;
mod learner;
pub mod log;
mod optimizer;
mod parameters;
pub mod read;
mod run;
mod schedule;
pub mod scratch;
pub mod session;
pub mod vision;

/// The element types that weights are stored in.
pub use candle_core::DType;
pub use checkpoint::{BestScore, CheckpointFolder, Checkpoints, Progress, RunIdentity};
pub use error::TrainError;
use fingerprint::fingerprint;
pub use gradients::{GradientSum, clip_coefficient, first_not_finite, global_norm};
pub use learner::Gradients;
pub use learner::{Learner, LossTerms, MicroBatch};
pub use optimizer::{Moment, MuonConfig, Optimizer, OptimizerConfig, ParameterGroup};
pub use parameters::Parameters;
pub use run::{
    MatmulPrecision, Observer, RunSettings, StepReport, Trainer, Validation, prepared_items, write_run_record,
};
pub use schedule::{Decay, Schedule};
