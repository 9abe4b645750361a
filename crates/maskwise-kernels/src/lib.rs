//! CPU kernels on plain slices; knows no tensor library.
//!
//! Work is shared out in rayon's current pool, in pieces whose number does not depend on the number of threads, so that a
//! result is the same on any; small work stays on the calling thread.

pub mod attention;
pub mod convolution;
pub mod cross_entropy;
mod dots;
pub mod elementwise;
pub mod gemv;
pub mod int4;
pub mod int8;
pub mod limits;
pub mod mask_losses;
pub mod matmul;
pub mod newton_schulz;
pub mod norms;
pub mod optimizer;
pub mod quantized;
pub mod relative_attention;
pub mod resize;
pub mod rotary;
pub mod rows;
pub mod upsample;
mod work;

pub use work::vectorized;
