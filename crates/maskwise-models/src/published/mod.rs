//! The sizes of the published checkpoints, with random values in the place of theirs: for measuring.

mod random;
mod shapes;

pub use random::RandomWeights;
pub use shapes::{SamSize, Shapes, clip_shapes, clip_vit_l, llama_7b, llama_13b, read_shapes};
