//! Training of READ, SESAME and LISA (spec 5): what is trained, how an item becomes a loss.

mod adapters;
mod features;
mod forward;
mod learner;
mod losses;
mod prepare;
mod recompute;
mod validation;
mod weights;

pub use adapters::LoraConfig;
pub use features::{FeatureCache, FeatureSettings};
pub(crate) use learner::mask_tensor;
pub use learner::{ReadLearner, ReadSettings};
pub use losses::LossWeights;
pub(crate) use losses::MaskLosses;
pub use prepare::{PreparedItem, PreparedRow};
pub use validation::{AnswerMode, validate};
pub use weights::{Part, TrainedWeights, TrainedWeightsConfig};
