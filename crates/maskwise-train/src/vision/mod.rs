//! The first stage of a model from nothing: its two image encoders and its mask decoder learn to see the Tabletop world, from
//! dense labels and from masks of things and parts prompted as READ will prompt them. The heads that this needs are dropped
//! afterwards.

mod classes;
mod heads;
mod learner;
mod prepare;

pub use classes::{Classes, Group};
pub use learner::{Encoder, VisionLearner, VisionScores};
pub use prepare::{ClipView, Region, SamView, VisionItem, VisionTarget};
