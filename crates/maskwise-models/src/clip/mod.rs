//! CLIP's vision tower (spec 1.2), as `CLIPVisionModel` of the reference.

mod config;
mod vision;

pub use config::ClipVisionConfig;
pub use vision::ClipVisionModel;
