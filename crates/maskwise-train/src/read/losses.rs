use candle_core::{D, Result, Tensor};
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

/// Sums over masks, to be divided by the number of masks of the micro-batch.
pub(crate) struct MaskLosses {
    bce: Option<Tensor>,
    dice: Option<Tensor>,
    count: usize,
}

impl MaskLosses {
    pub(crate) fn new() -> Self {
        Self { bce: None, dice: None, count: 0 }
    }

    /// Adds the masks of one image: `logits` and `targets` (0 or 1) `[masks, height, width]` f32.
    pub(crate) fn add(&mut self, logits: &Tensor, targets: &Tensor) -> Result<()> {
        let add = |sum: &mut Option<Tensor>, terms: Tensor| -> Result<()> {
            let terms = terms.sum_all()?;
            *sum = Some(match sum.take() {
                Some(sum) => (sum + terms)?,
                None => terms,
            });
            Ok(())
        };
        add(&mut self.bce, binary_cross_entropy(logits, targets)?)?;
        add(&mut self.dice, dice(logits, targets)?)?;
        self.count += logits.dim(0)?;
        Ok(())
    }

    /// The means of BCE and DICE; none where there is no mask.
    pub(crate) fn means(self) -> Result<Option<(Tensor, Tensor)>> {
        let count = self.count as f64 + COUNT_EPSILON;
        match (self.bce, self.dice) {
            (Some(bce), Some(dice)) => Ok(Some(((bce / count)?, (dice / count)?))),
            _ => Ok(None),
        }
    }
}

/// Binary cross entropy of each mask, the mean over its pixels: `[masks]`.
fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - (logits * targets)?)? + softplus)?.flatten_from(1)?.mean(1)
}

/// 1 − DICE of each mask's probabilities: `[masks]`; numerator and denominator are scaled by 1000 before 1e-6 is added.
fn dice(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let probabilities = maskwise_nn::ops::sigmoid(logits)?.flatten_from(1)?;
    let targets = targets.flatten_from(1)?;
    let sum = |x: &Tensor| (x / 1000.0)?.sum(1);
    let overlap = ((sum(&(&probabilities * &targets)?)? * 2.0)? + 1e-6)?;
    let total = ((sum(&probabilities)? + sum(&targets)?)? + 1e-6)?;
    (overlap / total)?.affine(-1.0, 1.0)
}

/// Mean cross entropy of `logits` `[positions, vocab]` f32 with the ids that follow.
pub(super) fn cross_entropy(logits: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let highest = logits.max_keepdim(D::Minus1)?.detach();
    let total = logits.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let total = (total + highest)?;
    let chosen = logits.gather(&Tensor::from_slice(ids, (ids.len(), 1), logits.device())?, 1)?;
    (total - chosen)?.mean_all()
}
