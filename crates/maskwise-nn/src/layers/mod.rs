//! Layers with weights, loaded by the names of the reference's state dicts.

mod convolution;
mod linear;
mod normalization;

pub use convolution::{Conv2d, ConvTranspose2x2};
pub use linear::{Embedding, Linear};
pub use normalization::{LayerNorm, LayerNorm2d, RmsNorm};
