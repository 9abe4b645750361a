use crate::{Gradients, LossTerms, Parameters, TrainError};
use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Storage, Tensor};
use maskwise_kernels::optimizer;
use rayon::prelude::*;

/// Elements that one task of the thread pool adds.
const BLOCK: usize = 1 << 14;

/// Adds up the gradients of a step's micro-batches.
#[derive(Debug, Default)]
pub struct GradientSum {
    sums: Vec<Option<Sum>>,
}

#[derive(Debug)]
struct Sum {
    tensor: Tensor,
    /// Whether the storage is ours alone. A learner's gradients may share theirs.
    owned: bool,
}

impl GradientSum {
    /// Adds the gradients of one micro-batch. The order of the calls decides the rounding, so it must not depend on threads.
    ///
    /// # Errors
    /// When shapes differ between micro-batches, or the device refuses.
    pub fn add(&mut self, gradients: Gradients) -> Result<(), TrainError> {
        self.sums.resize_with(gradients.len().max(self.sums.len()), || None);
        for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?.detach();
            match sum {
                None => *sum = Some(Sum { tensor: gradient, owned: false }),
                Some(sum) if sum.owned && gradient.device().is_cpu() => {
                    sum.tensor.inplace_op2(&gradient, &AddAssign)?;
                }
                Some(sum) => *sum = Sum { tensor: (&sum.tensor + &gradient)?, owned: true },
            }
        }
        Ok(())
    }

    /// The sums, in the order of the gradients.
    pub fn finish(self) -> Gradients {
        self.sums.into_iter().map(|sum| sum.map(|sum| sum.tensor)).collect()
    }
}

struct AddAssign;

impl InplaceOp2 for AddAssign {
    fn name(&self) -> &'static str {
        "add-assign"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = f32_slice(gradient, gradient_layout)?;
        let sum = f32_slice_mut(sum, sum_layout)?;
        sum.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).for_each(|(sum, gradient)| {
            for (sum, gradient) in sum.iter_mut().zip(gradient) {
                *sum += gradient;
            }
        });
        Ok(())
    }
}

/// The values of a contiguous f32 tensor on the CPU.
pub(crate) fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = contiguous_range(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// As [`f32_slice`], to be written.
pub(crate) fn f32_slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let (start, end) = contiguous_range(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("only f32 is updated in place"),
    }
}

fn contiguous_range(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => candle_core::bail!("only contiguous tensors are updated in place"),
    }
}

/// The Euclidean norm over all gradients together; infinite or not a number where one of them is.
///
/// Squares are summed in f64, on the CPU in an order that does not depend on the number of threads.
///
/// # Errors
/// When the device refuses.
pub fn global_norm(gradients: &Gradients) -> Result<f64, TrainError> {
    let mut total = 0.0;
    for gradient in gradients.iter().flatten() {
        total += sum_of_squares(gradient)?;
    }
    Ok(total.sqrt())
}

fn sum_of_squares(gradient: &Tensor) -> candle_core::Result<f64> {
    if !gradient.device().is_cpu() {
        return Ok(f64::from(gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?));
    }
    let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = gradient.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("the gradient left the CPU") };
    Ok(optimizer::sum_of_squares(f32_slice(storage, layout)?))
}

/// By what gradients of norm `norm` are multiplied so that it does not exceed `maximum`, as DeepSpeed computes it (spec 5.3).
pub fn clip_coefficient(norm: f64, maximum: f64) -> f64 {
    1.0 / ((norm + 1e-6) / maximum).max(1.0)
}

/// What of a micro-batch is infinite or not a number: "loss term `ce_loss`" or "the gradient of `lm_head.weight`".
///
/// # Errors
/// When the device refuses.
pub fn first_not_finite(
    terms: &LossTerms,
    gradients: &Gradients,
    parameters: &Parameters,
) -> Result<Option<String>, TrainError> {
    if let Some((name, value)) = terms.0.iter().find(|(_, value)| !value.is_finite()) {
        return Ok(Some(format!("the loss term `{name}` ({value})")));
    }
    for ((name, _), gradient) in parameters.iter().zip(gradients) {
        // A square of an f32 cannot overflow an f64, so a sum of them is finite exactly if all of them are.
        if let Some(gradient) = gradient
            && !sum_of_squares(gradient)?.is_finite()
        {
            return Ok(Some(format!("the gradient of `{name}`")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn sums_do_not_touch_what_a_learner_may_share() {
        let shared = tensor(&[1.0, 2.0]);
        let mut sum = GradientSum::default();
        for _ in 0..4 {
            sum.add(vec![Some(shared.clone()), None]).unwrap();
        }
        sum.add(vec![None, Some(shared.clone())]).unwrap();
        let sums = sum.finish();
        assert_eq!(sums[0].as_ref().unwrap().to_vec1::<f32>().unwrap(), [4.0, 8.0]);
        assert_eq!(sums[1].as_ref().unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(shared.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn the_norm_is_over_all_gradients() {
        let long: Vec<f32> = (0..40_000).map(|index| (index % 7) as f32 - 3.0).collect();
        let expected = (long.iter().map(|value| f64::from(value * value)).sum::<f64>() + 25.0).sqrt();
        let norm = global_norm(&vec![Some(tensor(&[3.0, 4.0])), None, Some(tensor(&long))]).unwrap();
        assert!((norm - expected).abs() < 1e-9);
    }

    #[test]
    fn clipping_follows_the_reference() {
        assert_eq!(clip_coefficient(0.5, 1.0), 1.0);
        assert_eq!(clip_coefficient(4.0, 1.0), 1.0 / 4.000001);
        assert_eq!(clip_coefficient(4.0, 2.0), 2.0 / 4.000001);
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let variable = || Var::zeros(2, DType::F32, &Device::Cpu).unwrap();
        let parameters = Parameters::new([("a".to_owned(), variable()), ("b".to_owned(), variable())].into());
        let good = LossTerms(vec![("loss", 1.0)]);
        let found = |terms: &LossTerms, value: f32| {
            first_not_finite(terms, &vec![None, Some(tensor(&[0.0, value]))], &parameters).unwrap()
        };
        assert_eq!(found(&good, f32::MAX), None);
        assert_eq!(found(&good, f32::NAN).unwrap(), "the gradient of `b`");
        assert_eq!(found(&good, f32::NEG_INFINITY).unwrap(), "the gradient of `b`");
        assert_eq!(
            found(&LossTerms(vec![("ce_loss", f64::NAN)]), 0.0).unwrap(),
            "the loss term `ce_loss` (NaN)"
        );
    }
}
