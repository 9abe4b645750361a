//! Layers and strict weight loading on candle tensors.
//!
//! Every operation here keeps its gradient: trained paths are built from these and never from candle's
//! fused inference operations, which drop gradients without a word.

pub mod layers;
pub use maskwise_kernels::limits;
pub mod ops;
pub mod weights;

#[cfg(test)]
mod testing;
