use crate::ops;
use crate::weights::{Loaded, Weights};
use candle_core::{Result, Tensor};

/// Layer normalisation over the last dimension, with weight and bias `[dim]`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// Loads `weight` and `bias` `[dim]`.
    ///
    /// # Errors
    /// When reading fails; missing and mis-shaped tensors are reported by [`Weights::finish`].
    pub fn load(dim: usize, epsilon: f64, weights: &Weights) -> Loaded<Self> {
        Ok(Self { weight: weights.get(&[dim], "weight")?, bias: weights.get(&[dim], "bias")?, epsilon })
    }

    /// `x` `[.., dim]`.
    ///
    /// # Errors
    /// When the last dimension is not `dim`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}

/// Layer normalisation over the channels of `[batch, channels, height, width]`.
#[derive(Debug, Clone)]
pub struct LayerNorm2d(LayerNorm);

impl LayerNorm2d {
    /// Loads `weight` and `bias` `[channels]`.
    ///
    /// # Errors
    /// As [`LayerNorm::load`].
    pub fn load(channels: usize, epsilon: f64, weights: &Weights) -> Loaded<Self> {
        Ok(Self(LayerNorm::load(channels, epsilon, weights)?))
    }

    /// `x` `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When the number of channels differs.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_2d(x, &self.0.weight, &self.0.bias, self.0.epsilon)
    }

    /// Channels last: `x` `[.., channels]`.
    ///
    /// # Errors
    /// As [`LayerNorm2d::forward`].
    pub fn forward_rows(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

/// RMS normalisation over the last dimension, with weight `[dim]`.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    /// Loads `weight` `[dim]`.
    ///
    /// # Errors
    /// As [`LayerNorm::load`].
    pub fn load(dim: usize, epsilon: f64, weights: &Weights) -> Loaded<Self> {
        Ok(Self { weight: weights.get(&[dim], "weight")?, epsilon })
    }

    /// `x` `[.., dim]`.
    ///
    /// # Errors
    /// When the last dimension is not `dim`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, &self.weight, self.epsilon)
    }
}
