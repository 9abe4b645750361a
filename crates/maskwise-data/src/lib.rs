//! Everything of maskwise that needs no tensors: images, masks, conversations and tokenizers.

pub mod atomic;
pub mod dataset;
pub mod draw;
pub mod fingerprint;
pub mod folder;
pub mod image;
pub mod mask;
pub mod pickle;
pub mod tabletop;
pub mod text;
