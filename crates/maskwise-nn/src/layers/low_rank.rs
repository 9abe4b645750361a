use crate::ops;
use candle_core::{DType, Result, Tensor};
use rand::{RngExt, SeedableRng};

/// What LoRA adds to a frozen linear layer: `scaling · B·A·dropout(x)` (Hu et al. 2021, equation 3).
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `lora_A`, `[rank, in]`.
    pub a: Tensor,
    /// `lora_B`, `[out, rank]`.
    pub b: Tensor,
    /// alpha / rank.
    pub scaling: f64,
    /// Dropout of the layer's input, where it is on.
    pub dropout: Option<Dropout>,
}

/// Dropout whose mask is a function of its seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The share of values that become 0, 0 ≤ p < 1; the others are divided by 1 − p.
    pub probability: f32,
    /// Another seed, another mask.
    pub seed: u64,
}

impl LowRank {
    /// The addition `[rows, out]` for the input `[rows, in]`.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = match self.dropout {
            Some(dropout) => dropout.apply(rows)?,
            None => rows.clone(),
        };
        ops::linear(&ops::linear(&rows, &self.a, None)?, &self.b, None)? * self.scaling
    }
}

impl Dropout {
    /// `x` of any shape, some of its values 0.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let kept = 1.0 - self.probability;
        let mut generator = rand_pcg::Pcg64Mcg::seed_from_u64(self.seed);
        let mask: Vec<f32> = (0..x.elem_count())
            .map(|_| if generator.random::<f32>() < kept { 1.0 / kept } else { 0.0 })
            .collect();
        x * Tensor::from_vec(mask, x.shape(), &candle_core::Device::Cpu)?
            .to_device(x.device())?
            .to_dtype(if x.dtype() == DType::F64 { DType::F64 } else { x.dtype() })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    fn adapter(dropout: Option<Dropout>) -> LowRank {
        LowRank { a: varied(&[2, 5], 1), b: varied(&[4, 2], 2), scaling: 1.5, dropout }
    }

    #[test]
    fn gradients_match_finite_differences() {
        let (adapter, x) = (adapter(Some(Dropout { probability: 0.4, seed: 3 })), varied(&[6, 5], 4));
        assert_gradient("LoRA of x", &[6, 5], |x| adapter.forward(x));
        assert_gradient("LoRA of A", &[2, 5], |a| LowRank { a: a.clone(), ..adapter.clone() }.forward(&x));
        assert_gradient("LoRA of B", &[4, 2], |b| LowRank { b: b.clone(), ..adapter.clone() }.forward(&x));
    }

    #[test]
    fn dropout_keeps_the_mean_and_follows_its_seed() {
        let ones = Tensor::ones((100, 100), DType::F32, &candle_core::Device::Cpu).unwrap();
        let drop = |seed| Dropout { probability: 0.25, seed }.apply(&ones).unwrap();
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mean = values(&drop(1)).iter().sum::<f32>() / 1e4;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(values(&drop(1)), values(&drop(1)));
        assert_ne!(values(&drop(1)), values(&drop(2)));
    }
}
