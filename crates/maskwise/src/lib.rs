//! Reasoning segmentation: an image and a question in, an answer and its mask out.

#[cfg(feature = "hub")]
pub mod hub;
