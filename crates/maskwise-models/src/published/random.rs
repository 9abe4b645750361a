use super::Shapes;
use candle_core::{DType, Device, Tensor};
use maskwise_nn::weights::{TensorInfo, TensorSource, WeightsError};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Random values in given shapes, the same at every reading: for timing, and for trying whether a machine can hold a model. What a model of them
/// answers means nothing.
pub struct RandomWeights {
    tensors: BTreeMap<String, TensorInfo>,
    values: Vec<f32>,
}

/// Length of the block of random values that tensors are cut from, each from another place: quicker than drawing billions of them.
const LENGTH: usize = (1 << 20) + 7;

impl RandomWeights {
    /// Offers `shapes` as bf16.
    pub fn new(shapes: &Shapes) -> Self {
        let info = |shape: &Vec<usize>| TensorInfo {
            shape: shape.clone(),
            dtype: DType::BF16,
            file: PathBuf::new(),
        };
        let tensors = shapes.0.iter().map(|(name, shape)| (name.clone(), info(shape))).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        Self { tensors, values: (0..LENGTH).map(|_| draw()).collect() }
    }

    /// Norm weights near one, everything else uniform and scaled by the width that a product sums over.
    fn fill(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let is_norm = shape.len() == 1 && name.ends_with("weight");
        let summed: usize = shape[1..].iter().product();
        let (centre, scale) = if is_norm { (1.0, 0.1) } else { (0.0, 1.0 / (summed.max(1) as f32).sqrt()) };
        let count: usize = shape.iter().product();
        let start = name.bytes().fold(7, |hash: usize, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            let from = start.wrapping_add(values.len()) % LENGTH;
            let take = (LENGTH - from).min(count - values.len());
            values.extend(self.values[from..from + take].iter().map(|value| centre + scale * value));
        }
        values
    }
}

impl TensorSource for RandomWeights {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let info =
            self.tensors.get(name).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_owned() })?;
        let values = self.fill(name, &info.shape);
        Ok(Tensor::from_vec(values, info.shape.as_slice(), device)?.to_dtype(dtype)?)
    }
}
