//! The networks of maskwise and the systems that join them.
//!
//! One folder per network, files named as in the reference implementations, so that the two can be read side by side.

pub mod clip;
pub mod error;
pub mod heads;
pub mod llama;
pub mod published;
pub mod sam;
pub mod systems;

pub use error::ModelError;
