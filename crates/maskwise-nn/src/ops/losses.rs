use super::{f32_slice, f32_tensor, f32_values};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
use maskwise_kernels::{cross_entropy as rows, mask_losses as masks};
use std::sync::OnceLock;

/// The mean cross-entropy of `logits` `[rows, vocabulary]` over the rows that have a target (an id below `vocabulary`), a scalar in f32.
///
/// Computed in f32 on the CPU, wherever the logits are.
///
/// # Errors
/// When there is not one entry for each row, no row has a target, or a target is not below `vocabulary`.
pub fn cross_entropy(logits: &Tensor, targets: &[Option<u32>]) -> Result<Tensor> {
    let (count, vocabulary) = logits.dims2()?;
    if targets.len() != count {
        candle_core::bail!("{} targets for {count} rows of logits", targets.len());
    }
    if let Some(target) = targets.iter().flatten().find(|target| **target as usize >= vocabulary) {
        candle_core::bail!("the target {target} is not below the vocabulary of {vocabulary}");
    }
    let kept = targets.iter().flatten().count();
    if kept == 0 {
        candle_core::bail!("none of {count} rows has a target, so their mean cross-entropy is undefined");
    }
    on_cpu(logits)?.apply_op1(CrossEntropy { targets: targets.to_vec(), kept, sums: OnceLock::new() })
}

/// Binary cross-entropy (mean over the pixels) and DICE of each mask (spec 5.1): `logits` `[masks, height, width]` and `targets` of the
/// same shape (u8, 0 or 1) to `[masks, 2]` in f32.
///
/// Computed in f32 on the CPU, wherever the logits are.
///
/// # Errors
/// When the shapes differ, the targets are not u8, or a mask has no pixel.
pub fn mask_losses(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (_, height, width) = logits.dims3()?;
    if logits.dims() != targets.dims() || targets.dtype() != DType::U8 || height * width == 0 {
        candle_core::bail!(
            "mask losses take logits and u8 targets of one shape that is not empty, not {:?} and {:?} {:?}",
            logits.dims(),
            targets.dtype(),
            targets.dims()
        );
    }
    let targets = targets.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u8>()?;
    on_cpu(logits)?.apply_op1(MaskLosses { targets, pixels: height * width, sums: OnceLock::new() })
}

fn on_cpu(logits: &Tensor) -> Result<Tensor> {
    logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()
}

struct CrossEntropy {
    targets: Vec<Option<u32>>,
    kept: usize,
    /// The logarithm of each row's sum of powers, from the forward pass.
    sums: OnceLock<Vec<f32>>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (count, vocabulary) = layout.shape().dims2()?;
        let mut sums = vec![0.0; count];
        let logits = f32_slice(storage, layout, self.name())?;
        let total = rows::forward(logits, vocabulary, &self.targets, &mut sums);
        self.sums.get_or_init(|| sums);
        Ok((CpuStorage::F32(vec![(total / self.kept as f64) as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(sums) = self.sums.get() else { return no_forward(self.name()) };
        let scale = gradient.to_scalar::<f32>()? / self.kept as f32;
        let output = rows::backward(&f32_values(logits)?, logits.dim(1)?, &self.targets, sums, scale);
        Ok(Some(f32_tensor(output, logits)?))
    }
}

struct MaskLosses {
    targets: Vec<u8>,
    pixels: usize,
    sums: OnceLock<Vec<masks::Sums>>,
}

impl CustomOp1 for MaskLosses {
    fn name(&self) -> &'static str {
        "mask_losses"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let sums = masks::forward(f32_slice(storage, layout, self.name())?, &self.targets, self.pixels);
        let mean = |sums: &masks::Sums| sums.cross_entropy / self.pixels as f64;
        let losses: Vec<f32> = sums.iter().flat_map(|sums| [mean(sums) as f32, sums.dice() as f32]).collect();
        let shape = Shape::from((sums.len(), 2));
        self.sums.get_or_init(|| sums);
        Ok((CpuStorage::F32(losses), shape))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(sums) = self.sums.get() else { return no_forward(self.name()) };
        let gradients: Vec<(f32, f32)> =
            gradient.to_vec2::<f32>()?.iter().map(|pair| (pair[0], pair[1])).collect();
        let output = masks::backward(&f32_values(logits)?, &self.targets, self.pixels, sums, &gradients);
        Ok(Some(f32_tensor(output, logits)?))
    }
}

fn no_forward<T>(operation: &str) -> Result<T> {
    candle_core::bail!("the backward pass of {operation} came before its forward pass")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, varied};

    #[test]
    fn gradients_match_finite_differences() {
        let targets = [Some(2), None, Some(0)];
        assert_gradient("cross_entropy", &[3, 5], |logits| cross_entropy(logits, &targets));
        let bits: Vec<u8> = (0..24).map(|index| u8::from(index % 3 == 0)).collect();
        let targets = Tensor::from_vec(bits, (2, 3, 4), &Device::Cpu).unwrap();
        // DICE of a few pixels is of the order of their thousandth, as is its numerator: its gradient is of the order of 1.
        assert_gradient("mask_losses", &[2, 3, 4], |logits| mask_losses(logits, &targets));
    }

    // Values from PyTorch: torch.nn.functional.cross_entropy([[1, 2, 3], [0, 0, 0]], [2, 0]) and, for logits [1, -2] and targets
    // [1, 0], binary_cross_entropy_with_logits and the DICE of spec 5.1 by hand.
    #[test]
    fn matches_known_values() {
        let logits = Tensor::new(&[[1.0_f32, 2.0, 3.0], [0.0; 3], [9.0; 3]], &Device::Cpu).unwrap();
        let loss = cross_entropy(&logits, &[Some(2), Some(0), None]).unwrap().to_scalar::<f32>().unwrap();
        assert!((loss - (0.407_606 + 1.098_612_3) / 2.0).abs() < 1e-6, "{loss}");
        let logits = Tensor::new(&[[[1.0_f32, -2.0]]], &Device::Cpu).unwrap();
        let targets = Tensor::new(&[[[1_u8, 0]]], &Device::Cpu).unwrap();
        let losses = mask_losses(&logits, &targets).unwrap().to_vec2::<f32>().unwrap();
        let (p, q) = (1.0 / (1.0 + (-1.0_f64).exp()), 1.0 / (1.0 + 2.0_f64.exp()));
        let entropy = (-(p.ln()) - (1.0 - q).ln()) / 2.0;
        let dice = 1.0 - (2.0 * p / 1000.0 + 1e-6) / ((p + q + 1.0) / 1000.0 + 1e-6);
        assert!((f64::from(losses[0][0]) - entropy).abs() < 1e-6, "{losses:?}");
        assert!((f64::from(losses[0][1]) - dice).abs() < 1e-6, "{losses:?}");
    }

    #[test]
    fn bad_input_is_an_error() {
        let logits = varied(&[2, 3], 1);
        let message = |targets: &[Option<u32>]| cross_entropy(&logits, targets).unwrap_err().to_string();
        assert!(message(&[None, None]).contains("none of 2 rows"));
        assert!(message(&[Some(0)]).contains("1 targets for 2 rows"));
        assert!(message(&[Some(0), Some(3)]).contains("target 3"));
        let masks = varied(&[1, 2, 3], 1);
        assert!(mask_losses(&masks, &masks).is_err());
        assert!(mask_losses(&masks, &Tensor::zeros((1, 3, 2), DType::U8, &Device::Cpu).unwrap()).is_err());
    }
}
