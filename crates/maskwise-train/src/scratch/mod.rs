//! Models from nothing: sizes, the tensors of the published layout (spec 2) and their first values.

mod folder;
mod plan;
mod sizes;

pub use folder::{TokenizerFiles, write_model};
pub(crate) use plan::Init;
pub use sizes::{ClipSizes, DecoderSizes, LanguageSizes, ModelSizes, SamSizes};
