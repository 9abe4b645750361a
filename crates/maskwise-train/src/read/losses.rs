use candle_core::{DType, Result, Tensor};
use maskwise_nn::ops;
use serde::{Deserialize, Serialize};

/// The weights of the loss's terms (spec 5.1): `ce·CE + bce·BCE + dice·DICE`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossWeights {
    /// Of the cross entropy of the answers' tokens.
    pub ce: f64,
    /// Of the cross entropy of each answer's first token once more: not in the papers. The first token says whether the thing is there, and is
    /// one among many; a model from nothing learns it sooner where it weighs more.
    pub first_token: f64,
    /// Of the masks' binary cross entropy.
    pub bce: f64,
    /// Of the masks' DICE loss.
    pub dice: f64,
    /// Of the similarity map's binary cross entropy with the share of each cell that the mask covers, covered and free cells weighing the
    /// same in all: not in the papers, whose models start from weights that have learned to see. It shows a model from nothing where to look.
    pub similarity: f64,
    /// Of the same entropy for the state that predicts the first token of each conversation's first answer, as it is after half of the language model's layers;
    /// an answer without a mask has nothing covered. Not in the papers either: what says whether the thing is there has to find it first, and
    /// a model from nothing hardly learns that from the answers' words alone.
    pub halfway_similarity: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self { ce: 1.0, first_token: 0.0, bce: 2.0, dice: 0.5, similarity: 0.0, halfway_similarity: 0.0 }
    }
}

impl LossWeights {
    /// Whether masks are to be drawn: without a weight on them SAM is left out.
    pub(crate) fn draws(&self) -> bool {
        self.bce > 0.0 || self.dice > 0.0
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// With the field at fault.
    pub fn check(&self) -> std::result::Result<(), String> {
        let weights = [
            ("ce", self.ce),
            ("first_token", self.first_token),
            ("bce", self.bce),
            ("dice", self.dice),
            ("similarity", self.similarity),
            ("halfway_similarity", self.halfway_similarity),
        ];
        for (name, weight) in weights {
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
    /// The similarity's cross entropy, `[masks]` for each image.
    similarity: Vec<Tensor>,
    /// The same halfway, `[answers]` for each image.
    halfway_similarity: Vec<Tensor>,
}

impl MaskLosses {
    pub(crate) fn new() -> Self {
        Self { terms: Vec::new(), similarity: Vec::new(), halfway_similarity: Vec::new() }
    }

    /// Adds the masks of one image: `logits` `[masks, height, width]`, `targets` of the same shape, u8, 0 or 1.
    pub(crate) fn add(&mut self, logits: &Tensor, targets: &Tensor) -> Result<()> {
        self.terms.push(ops::mask_losses(logits, targets)?);
        Ok(())
    }

    /// Adds the similarity maps of one image: `maps` `[masks, tokens]`, `covered` of the same shape, 0..1, `width` that of the states
    /// whose products they are.
    pub(crate) fn add_similarity(&mut self, maps: &Tensor, covered: &Tensor, width: usize) -> Result<()> {
        self.similarity.push(similarity_costs(maps, covered, width)?);
        Ok(())
    }

    /// Adds the similarity maps of one image's answers halfway, as [`add_similarity`](Self::add_similarity).
    pub(crate) fn add_halfway_similarity(
        &mut self,
        maps: &Tensor,
        covered: &Tensor,
        width: usize,
    ) -> Result<()> {
        self.halfway_similarity.push(similarity_costs(maps, covered, width)?);
        Ok(())
    }

    /// The mean of the similarity's cross entropy; none where none was added.
    pub(crate) fn similarity_mean(&self) -> Result<Option<Tensor>> {
        mean(&self.similarity)
    }

    /// The mean of the similarity's cross entropy halfway; none where none was added.
    pub(crate) fn halfway_similarity_mean(&self) -> Result<Option<Tensor>> {
        mean(&self.halfway_similarity)
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

fn mean(costs: &[Tensor]) -> Result<Option<Tensor>> {
    match costs {
        [] => Ok(None),
        costs => Ok(Some(Tensor::cat(costs, 0)?.mean_all()?)),
    }
}

/// The balanced cross entropy `[maps]` of similarity maps `[maps, tokens]` with the share of each cell that is `covered`.
fn similarity_costs(maps: &Tensor, covered: &Tensor, width: usize) -> Result<Tensor> {
    let logits = (maps.to_dtype(DType::F32)? / (width as f64).sqrt())?;
    // softplus(−x) and softplus(x): what a covered and a free cell cost.
    let small = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let (covered_costs, free_costs) = ((logits.neg()?.relu()? + &small)?, (logits.relu()? + &small)?);
    let mean = |costs: Tensor, share: &Tensor| {
        // What covers less than a thousandth of a cell hardly counts.
        (costs * share)?.sum(1)?.div(&share.sum(1)?.clamp(1e-3, f64::MAX)?)
    };
    let free = (1.0 - covered)?;
    (mean(covered_costs, covered)? + mean(free_costs, &free)?)? * 0.5
}
