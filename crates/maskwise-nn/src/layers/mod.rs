//! Layers with weights, loaded by the names of the reference's state dicts.

mod convolution;
mod linear;
mod low_rank;
mod normalization;

pub use convolution::{Conv2d, ConvTranspose2x2};
pub use linear::{Embedding, Linear};
pub use low_rank::{Dropout, LowRank};
pub use normalization::{LayerNorm, LayerNorm2d, RmsNorm};
