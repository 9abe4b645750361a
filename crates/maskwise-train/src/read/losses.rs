use candle_core::{Result, Tensor};
use maskwise_nn::ops;
use serde::{Deserialize, Serialize};

/// The weights of the loss's terms (spec 5.1): `ce·CE + bce·BCE + dice·DICE`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossWeights {
    /// Of the cross entropy of the answers' tokens.
    pub ce: f64,
    /// Of the masks' binary cross entropy.
    pub bce: f64,
    /// Of the masks' DICE loss.
    pub dice: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self { ce: 1.0, bce: 2.0, dice: 0.5 }
    }
}

impl LossWeights {
    /// Checks the ranges.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> std::result::Result<(), String> {
        for (name, weight) in [("ce", self.ce), ("bce", self.bce), ("dice", self.dice)] {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(format!("{name} must be at least 0, found {weight}"));
            }
        }
        Ok(())
    }
}

/// Added to the number of masks that a mean divides by, so that none gives 0.
const COUNT_EPSILON: f64 = 1e-8;

/// Losses of masks, gathered over the images of a micro-batch.
pub(crate) struct MaskLosses {
    /// BCE and DICE of each mask, `[masks, 2]` for each image.
    terms: Vec<Tensor>,
}

impl MaskLosses {
    pub(crate) fn new() -> Self {
        Self { terms: Vec::new() }
    }

    /// Adds the masks of one image: `logits` `[masks, height, width]`, `targets` of the same shape, u8, 0 or 1.
    pub(crate) fn add(&mut self, logits: &Tensor, targets: &Tensor) -> Result<()> {
        self.terms.push(ops::mask_losses(logits, targets)?);
        Ok(())
    }

    /// The means of BCE and DICE over all masks; none where there is no mask.
    pub(crate) fn means(self) -> Result<Option<(Tensor, Tensor)>> {
        if self.terms.is_empty() {
            return Ok(None);
        }
        let terms = Tensor::cat(&self.terms, 0)?;
        let means = (terms.sum(0)? / (terms.dim(0)? as f64 + COUNT_EPSILON))?;
        Ok(Some((means.get(0)?, means.get(1)?)))
    }
}
