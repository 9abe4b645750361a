//! Weights of linear layers in fewer bits: how they are named, rounded on their way to a file, and read.

use super::error::{MisShaped, WeightsError};
use super::source::{TensorInfo, TensorSource};
use super::{Loaded, Weights};
use candle_core::{DType, Device, Tensor};
use maskwise_kernels::int8::{Int8Weight, MAX_INPUTS};
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Linear;
    use crate::testing::varied;
    use crate::weights::{InMemory, TensorPlan, open_checkpoint, write_safetensors};
    use std::collections::HashMap;
    use std::path::Path;

    fn source() -> Box<dyn TensorSource> {
        let tensors = [
            ("a.weight", varied(&[40, 70], 1)),
            ("a.bias", varied(&[40], 2)),
            ("b.weight", varied(&[3, 5], 3)),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
        Box::new(InMemory::new(tensors.collect::<HashMap<_, _>>()))
    }

    fn write(folder: &Path) {
        let quantized = Quantized::new(source(), |name| name.starts_with("a."));
        let plan = |(name, info): (&String, &TensorInfo)| TensorPlan {
            name: name.clone(),
            shape: info.shape.clone(),
            dtype: info.dtype,
        };
        let plans: Vec<TensorPlan> = quantized.tensors().iter().map(plan).collect();
        let dtypes: HashMap<&str, DType> =
            plans.iter().map(|plan| (plan.name.as_str(), plan.dtype)).collect();
        write_safetensors(&folder.join("model.safetensors"), &plans, &BTreeMap::new(), |name| {
            quantized.read(name, dtypes[name], &Device::Cpu)
        })
        .unwrap();
    }

    fn open(folder: &Path, dtype: DType) -> Weights {
        Weights::new(open_checkpoint(folder).unwrap(), dtype, &Device::Cpu)
    }

    #[test]
    fn a_written_layer_computes_as_one_that_is_rounded_when_it_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let written = open(folder.path(), DType::F32);
        let layer = Linear::load(70, 40, &written.pp("a")).unwrap();
        written.get(&[3, 5], "b.weight").unwrap();
        written.finish().unwrap();
        let whole = Weights::new(source(), DType::F32, &Device::Cpu);
        let rounded = Linear::load(70, 40, &whole.pp("a")).unwrap().quantized(Quantization::Int8).unwrap();
        let x = varied(&[7, 70], 4);
        let values = |layer: &Linear| layer.forward(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(values(&layer), values(&rounded));
        assert_eq!(layer.output(), 40);
        // The file may go: what is mapped stays.
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        assert_eq!(values(&layer), values(&rounded));
    }

    #[test]
    fn bytes_lie_where_they_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let source = open_checkpoint(folder.path()).unwrap();
        let bytes = source.bytes("a.weight_int8").unwrap().unwrap();
        assert_eq!((*bytes).as_ref().as_ptr().align_offset(64), 0);
        let reason = source.bytes("a.bias").err().unwrap().to_string();
        assert!(reason.contains("F32"), "{reason}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let other_sizes = open(folder.path(), DType::F32);
        Linear::load(70, 80, &other_sizes.pp("a")).unwrap();
        let reason = other_sizes.finish().unwrap_err().to_string();
        assert!(reason.contains("a.weight_int8"), "{reason}");
        let half = open(folder.path(), DType::BF16);
        let reason = Linear::load(70, 40, &half.pp("a")).unwrap_err().to_string();
        assert!(reason.contains("eight bits"), "{reason}");
    }
}
