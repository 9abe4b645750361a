//! Weights of linear layers in fewer bits: how they are named, rounded on their way to a file, and read.

use super::error::{MisShaped, WeightsError};
use super::source::{TensorInfo, TensorSource};
use super::{Loaded, Weights};
use candle_core::{DType, Device, Tensor};
use maskwise_kernels::int8::{Int8Weight, MAX_INPUTS, SharedBytes};
use std::collections::BTreeMap;

/// How the weights of large linear layers are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantization {
    /// In the type of the model.
    #[default]
    None,
    /// In eight bits, symmetric with a scale for each output, multiplied with inputs that are rounded to eight bits row by row; on the CPU, for
    /// models that compute in f32. Weights are not trained then.
    Int8,
}

/// What stands in the place of `weight` in the name of a weight in eight bits.
const INT8: &str = "weight_int8";

/// Whether this is the name of a weight in eight bits.
pub fn is_int8(name: &str) -> bool {
    name.rsplit('.').next() == Some(INT8)
}

impl Weights {
    /// Whether the weight under this prefix is in eight bits.
    pub(crate) fn has_int8(&self) -> bool {
        self.contains(INT8)
    }

    /// The weight `[outputs, inputs]` under this prefix, which is in eight bits; none from a source that knows shapes only, or where it has other
    /// sizes, which is noted for [`Weights::finish`].
    pub(crate) fn get_int8(&self, outputs: usize, inputs: usize) -> Loaded<Option<Int8Weight>> {
        let (name, expected) = (self.full_name(INT8), Int8Weight::packed_shape(outputs, inputs));
        if self.dtype != DType::F32 || !matches!(self.device, Device::Cpu) {
            let reason = "it is in eight bits, which only the cpu computes with, in f32".to_owned();
            return Err(WeightsError::UnsupportedConversion { name, to: self.dtype, reason });
        }
        let found = self.shape(INT8).unwrap_or_default().to_vec();
        self.accounts().used.insert(name.clone());
        if found != expected {
            self.accounts().mis_shaped.push(MisShaped { name, found, expected: expected.to_vec() });
            return Ok(None);
        }
        let Some(bytes) = self.shared.source.bytes(&name)? else { return Ok(None) };
        self.observe(&name);
        let weight = Int8Weight::from_packed(bytes, outputs, inputs);
        let to = self.dtype;
        weight.map(Some).map_err(|error| WeightsError::UnsupportedConversion {
            name,
            to,
            reason: error.to_string(),
        })
    }
}

/// A source that gives the weights of some linear layers in eight bits.
pub struct Quantized {
    source: Box<dyn TensorSource>,
    tensors: BTreeMap<String, TensorInfo>,
    original_names: BTreeMap<String, String>,
}

impl Quantized {
    /// Rounds the matrices of `source` whose name satisfies `condition` and ends with `.weight`; those that have too many inputs, or are in
    /// eight bits already, stay as they are.
    pub fn new(source: Box<dyn TensorSource>, condition: impl Fn(&str) -> bool) -> Self {
        let (mut tensors, mut original_names) = (BTreeMap::new(), BTreeMap::new());
        for (name, info) in source.tensors() {
            let layer = name.strip_suffix(".weight").filter(|_| condition(name) && info.dtype.is_float());
            match (layer, info.shape.as_slice()) {
                (Some(layer), &[outputs, inputs]) if inputs <= MAX_INPUTS => {
                    let shape = Int8Weight::packed_shape(outputs, inputs).to_vec();
                    let quantized = format!("{layer}.{INT8}");
                    original_names.insert(quantized.clone(), name.clone());
                    tensors
                        .insert(quantized, TensorInfo { shape, dtype: DType::U8, file: info.file.clone() });
                }
                _ => {
                    tensors.insert(name.clone(), info.clone());
                }
            }
        }
        Self { source, tensors, original_names }
    }
}

impl TensorSource for Quantized {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let Some(original) = self.original_names.get(name) else {
            return self.source.read(name, dtype, device);
        };
        let failed = |error| WeightsError::tensor(name, error);
        let weight = self.source.read(original, DType::F32, &Device::Cpu)?;
        let (outputs, inputs) = weight.dims2().map_err(failed)?;
        let values = weight.flatten_all().and_then(|weight| weight.to_vec1::<f32>()).map_err(failed)?;
        drop(weight);
        let quantized = Int8Weight::quantize(&values, outputs, inputs);
        let shape = &Int8Weight::packed_shape(outputs, inputs);
        let tensor = Tensor::from_slice(quantized.as_bytes(), shape, device);
        tensor.and_then(|tensor| tensor.to_dtype(dtype)).map_err(failed)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        match self.original_names.contains_key(name) {
            true => {
                let tensor = self.read(name, DType::U8, &Device::Cpu)?;
                let bytes = tensor.flatten_all().and_then(|tensor| tensor.to_vec1::<u8>());
                let bytes = bytes.map_err(|error| WeightsError::tensor(name, error))?;
                Ok(Some(std::sync::Arc::new(bytes)))
            }
            false => self.source.bytes(name),
        }
    }
}
