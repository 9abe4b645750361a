//! The training losses of the READ family (spec 5.1), as the recorded gradients need them.

use candle_core::{D, Result, Tensor};

/// Mean binary cross entropy of `logits` `[masks, height, width]` with `targets` of the same shape, averaged over masks.
pub(crate) fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - (logits * targets)?)? + softplus)?.mean_all()
}

/// 1 − DICE of the probabilities, averaged over masks; numerator and denominator are scaled by 1000 before 1e-6 is added.
pub(crate) fn dice(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let probabilities = maskwise_nn::ops::sigmoid(logits)?.flatten_from(1)?;
    let targets = targets.flatten_from(1)?;
    let sum = |x: &Tensor| (x / 1000.0)?.sum(1);
    let overlap = ((sum(&(&probabilities * &targets)?)? * 2.0)? + 1e-6)?;
    let total = ((sum(&probabilities)? + sum(&targets)?)? + 1e-6)?;
    (overlap / total)?.affine(-1.0, 1.0)?.mean_all()
}

/// Mean cross entropy of `logits` `[positions, vocab]` with the ids that follow; `ignored` positions have no label.
pub(crate) fn cross_entropy(logits: &Tensor, next: &[Option<u32>]) -> Result<Tensor> {
    let device = logits.device();
    let rows: Vec<u32> = (0..next.len() as u32).filter(|row| next[*row as usize].is_some()).collect();
    let ids: Vec<u32> = next.iter().copied().flatten().collect();
    let count = rows.len();
    let logits = logits.index_select(&Tensor::from_vec(rows, count, device)?, 0)?;
    let highest = logits.max_keepdim(D::Minus1)?.detach();
    let total = logits.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let total = (total + highest)?;
    let chosen = logits.gather(&Tensor::from_vec(ids, (count, 1), device)?, 1)?;
    (total - chosen)?.mean_all()
}
