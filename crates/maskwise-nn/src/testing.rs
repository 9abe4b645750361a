//! What the tests of this crate share.

use candle_core::{Device, Result, Tensor, Var};

/// A tensor of values in [-1, 1) that look random and are the same on every run.
pub(crate) fn varied(shape: &[usize], seed: u32) -> Tensor {
    let count: usize = shape.iter().product();
    let value = |index: usize| {
        let mut bits = (index as u32).wrapping_mul(0x9e37_79b9) ^ seed.wrapping_mul(0x85eb_ca6b);
        bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
        (bits >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::from_vec((0..count).map(value).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

/// Checks the gradient of `Σ cotangent ⊙ function(x)` against central differences at a varied point.
pub(crate) fn assert_gradient(name: &str, shape: &[usize], function: impl Fn(&Tensor) -> Result<Tensor>) {
    let point = varied(shape, 11);
    let cotangent = varied(function(&point).unwrap().dims(), 12);
    let objective = |x: &Tensor| (function(x).unwrap() * &cotangent).unwrap().sum_all().unwrap();
    let variable = Var::from_tensor(&point).unwrap();
    let gradients = objective(variable.as_tensor()).backward().unwrap();
    let gradient = gradients.get(&variable).unwrap_or_else(|| panic!("{name}: no gradient"));
    let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let values = point.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let step = 1e-2;
    for (index, &analytic) in gradient.iter().enumerate() {
        let moved = |offset: f32| {
            let mut values = values.clone();
            values[index] += offset;
            let x = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            objective(&x).to_scalar::<f32>().unwrap()
        };
        // Richardson: the error of the central difference falls with the fourth power of the step.
        let central = |step: f32| (moved(step) - moved(-step)) / (2.0 * step);
        let numeric = (4.0 * central(step) - central(2.0 * step)) / 3.0;
        assert!(
            (analytic - numeric).abs() < 2e-3 * (1.0 + numeric.abs()),
            "{name}[{index}]: {analytic} {numeric}"
        );
    }
}
