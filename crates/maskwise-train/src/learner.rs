use crate::Parameters;
use candle_core::Tensor;

/// What a run teaches: it turns items into losses and gradients. The loop, the optimiser and the checkpoints know nothing else
/// of a model.
///
/// It is shared by the threads of a step, each of which works on micro-batches of its own.
pub trait Learner: Send + Sync {
    /// An item as the model takes it: resized, tokenised.
    type Prepared: Send + Sync;

    /// What is trained.
    fn parameters(&self) -> &Parameters;

    /// Loss and gradients of one micro-batch, at the parameters' present values.
    ///
    /// # Errors
    /// When an item does not fit the model (its message names the item), or the device refuses.
    fn micro_batch(
        &self,
        batch: &MicroBatch<Self::Prepared>,
    ) -> Result<(LossTerms, Gradients), crate::TrainError>;
}

/// The items whose losses are averaged in one forward and backward pass.
#[derive(Debug)]
pub struct MicroBatch<'a, Prepared> {
    /// The items.
    pub items: &'a [Prepared],
    /// The seed of everything random in the pass (dropout): a function of the run's seed and the micro-batch's position.
    pub seed: u64,
}

/// Gradients in the order of [`Parameters::iter`]; none where a parameter took no part.
pub type Gradients = Vec<Option<Tensor>>;

/// The terms of a loss by their names in logs (`loss`, `ce_loss`, `mask_bce_loss`, …), `loss` being the one differentiated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossTerms(pub Vec<(&'static str, f64)>);
