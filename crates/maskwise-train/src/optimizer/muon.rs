//! Muon (Jordan et al. 2024), for the matrices inside of transformer layers of a model that starts from random weights.

use candle_core::{Tensor, Var};
use maskwise_kernels::newton_schulz::newton_schulz;
use serde::{Deserialize, Serialize};

/// Which parameters Muon updates instead of AdamW: the `[optimizer.muon]` section.
///
/// The schedule's rate and the weight decay are those of AdamW: an update is scaled to the size that AdamW's typically has,
/// `0.2·√(larger side)` times the orthogonal matrix (Liu et al. 2025, "Muon is Scalable for LLM Training", equation 4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuonConfig {
    /// Parts of names. Muon takes the matrices among the parameters whose name contains one of them; vectors, tables and convolutions stay
    /// with AdamW.
    pub name_contains: Vec<String>,
    /// Decay of the momentum, in 0..1.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// By what the schedule's rate is multiplied, beside the multiplier of a parameter's group; not negative. Random weights bear several
    /// times the rate of AdamW.
    #[serde(default = "one")]
    pub learning_rate_multiplier: f64,
}

fn default_momentum() -> f64 {
    0.95
}

fn one() -> f64 {
    1.0
}

impl MuonConfig {
    pub(super) fn takes(&self, name: &str, variable: &Var) -> bool {
        variable.rank() == 2
            && variable.dims().iter().all(|side| *side > 1)
            && self.name_contains.iter().any(|part| name.contains(part))
    }
}

/// The momentum of one matrix, row by row.
#[derive(Debug)]
pub(super) struct Momentum(pub(super) Vec<f32>);

/// What an update of one step needs.
pub(super) struct Update {
    pub(super) learning_rate: f64,
    pub(super) momentum: f64,
    pub(super) weight_decay: f64,
    pub(super) gradient_scale: f64,
}

impl Momentum {
    pub(super) fn zeros(variable: &Var) -> Self {
        Self(vec![0.0; variable.elem_count()])
    }

    /// One update with `gradient` times its scale, computed on the calling thread.
    pub(super) fn update(
        &mut self,
        variable: &Var,
        gradient: &Tensor,
        update: &Update,
    ) -> candle_core::Result<()> {
        let (rows, columns) = variable.dims2()?;
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        let (beta, scale) = (update.momentum as f32, update.gradient_scale as f32);
        // Nesterov's: the step looks one decay ahead.
        let mut direction: Vec<f32> = self
            .0
            .iter_mut()
            .zip(&gradient)
            .map(|(momentum, gradient)| {
                *momentum = beta * *momentum + scale * gradient;
                beta * *momentum + scale * gradient
            })
            .collect();
        newton_schulz(&mut direction, rows, columns);
        let size = 0.2 * (rows.max(columns) as f64).sqrt();
        let direction = Tensor::from_vec(direction, (rows, columns), variable.device())?;
        let kept = (variable.as_detached_tensor() * (1.0 - update.learning_rate * update.weight_decay))?;
        variable.set(&(kept - (direction * (update.learning_rate * size))?)?)
    }
}
