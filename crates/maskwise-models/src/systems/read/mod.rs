//! READ and its parents (spec 1.1): LLaVA reads the image and the question and writes `[SEG]`; the state that predicts it
//! becomes a prompt for SAM, with points from its similarity to the image tokens (READ) or without (LISA, SESAME).

mod config;
mod generate;
mod image;
mod load;
mod model;
mod quantized;
mod segment;
mod together;
mod vision_tower;
mod write;

pub use config::{ConversationNames, Family, LlavaConfig, SystemConfig};
pub use generate::{Generation, PromptBeginning, StopReason, TokenStep};
pub use image::{ImageInputs, SamInputs};
pub use load::{LoadOptions, ModelFiles, ModelPlaces, PartTypes, ProgressObserver};
pub use model::{PartWeights, Projector, ReadModel};
pub use quantized::PartQuantization;
pub use segment::{MaskPrompting, SegmentInputs, SegmentedMask};
pub use vision_tower::VisionTower;
pub use write::refuse_existing;
