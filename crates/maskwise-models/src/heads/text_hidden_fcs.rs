use candle_core::{Result, Tensor};
use maskwise_nn::layers::Linear;
use maskwise_nn::weights::{Loaded, Weights};

/// `text_hidden_fcs.0`: Linear(d, d), ReLU, Linear(d, out), from the state that predicts `[SEG]` to a prompt for the mask
/// decoder (spec 1.6). The reference keeps it in a list of one; dropout is 0.
#[derive(Debug, Clone)]
pub struct TextHiddenFcs {
    first: Linear,
    second: Linear,
}

impl TextHiddenFcs {
    /// Loads `0.0` and `0.2` from `weights` standing at `model.text_hidden_fcs`, for hidden states of width `dim`.
    ///
    /// # Errors
    /// When the second weight is missing or is no matrix, or reading fails.
    pub fn load(dim: usize, weights: &Weights) -> Loaded<Self> {
        let [out, inner] = weights.dims("0.2.weight")?;
        Ok(Self {
            first: Linear::load(dim, inner, &weights.pp("0.0"))?,
            second: Linear::load(inner, out, &weights.pp("0.2"))?,
        })
    }

    /// `states` `[.., dim]` to `[.., out]`.
    ///
    /// # Errors
    /// When the width differs.
    pub fn forward(&self, states: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward(states)?.relu()?)
    }
}
