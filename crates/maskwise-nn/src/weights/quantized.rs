//! Weights of linear layers in fewer bits: how they are named, rounded on their way to a file, and read.

use super::error::{MisShaped, WeightsError};
use super::source::{TensorInfo, TensorSource};
use super::{Loaded, Weights};
use candle_core::{DType, Device, Tensor};
use maskwise_kernels::int8::SharedBytes;
use maskwise_kernels::quantized::{Bits, MAX_INPUTS, QuantizedWeight};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How the weights of large linear layers are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantization {
    /// In the type of the model.
    #[default]
    None,
    /// Rounded to bf16 when they are loaded and arranged for the processor's tiles, for models that compute in f32 with
    /// [`Precision::Medium`](crate::ops::Precision::Medium); on a processor without tiles, or another device, as `None`.
    Bf16,
    /// In eight bits, symmetric with a scale for each output, multiplied with inputs that are rounded to eight bits row by row; on the CPU, for
    /// models that compute in f32. Weights are not trained then.
    Int8,
    /// In four bits, with a step and an offset for each 32 inputs, and otherwise as in eight.
    Int4,
}

impl Quantization {
    /// How many bits a weight takes, if there are fewer than in the type of the model.
    pub fn bits(self) -> Option<Bits> {
        match self {
            Self::None | Self::Bf16 => None,
            Self::Int8 => Some(Bits::Eight),
            Self::Int4 => Some(Bits::Four),
        }
    }

    /// How the weight of this name is kept.
    pub fn of(name: &str) -> Self {
        match name.rsplit('.').next() {
            Some(INT8) => Self::Int8,
            Some(INT4) => Self::Int4,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}

/// What stands in the place of `weight` in the name of a weight in eight bits.
const INT8: &str = "weight_int8";
/// The same of one in four bits.
const INT4: &str = "weight_int4";

fn suffix(bits: Bits) -> &'static str {
    match bits {
        Bits::Eight => INT8,
        Bits::Four => INT4,
    }
}

impl Weights {
    /// How many bits the weight under this prefix takes, if it is in few.
    pub(crate) fn quantized_bits(&self) -> Option<Bits> {
        [Bits::Eight, Bits::Four].into_iter().find(|bits| self.contains(suffix(*bits)))
    }

    /// The weight `[outputs, inputs]` under this prefix, which is in so many bits; none from a source that knows shapes only, or where it has other
    /// sizes, which is noted for [`Weights::finish`].
    pub(crate) fn get_quantized(
        &self,
        bits: Bits,
        outputs: usize,
        inputs: usize,
    ) -> Loaded<Option<QuantizedWeight>> {
        let (name, expected) = (self.full_name(suffix(bits)), bits.packed_shape(outputs, inputs));
        if self.dtype != DType::F32 || !matches!(self.device, Device::Cpu) {
            let reason = "it is quantized, which only the cpu computes with, in f32".to_owned();
            return Err(WeightsError::UnsupportedConversion { name, to: self.dtype, reason });
        }
        let found = self.shape(suffix(bits)).unwrap_or_default().to_vec();
        self.accounts().used.insert(name.clone());
        if found != expected {
            self.accounts().mis_shaped.push(MisShaped { name, found, expected: expected.to_vec() });
            return Ok(None);
        }
        let Some(bytes) = self.shared.source.bytes(&name)? else { return Ok(None) };
        self.observe(&name);
        let weight = QuantizedWeight::from_packed(bits, bytes, outputs, inputs);
        let to = self.dtype;
        weight.map(Some).map_err(|error| WeightsError::UnsupportedConversion {
            name,
            to,
            reason: error.to_string(),
        })
    }
}

/// A source that gives the weights of some linear layers in few bits.
pub struct Quantized {
    source: Box<dyn TensorSource>,
    tensors: BTreeMap<String, TensorInfo>,
    originals: BTreeMap<String, Original>,
}

/// What a weight in few bits is made of.
struct Original {
    name: String,
    bits: Bits,
}

impl Quantized {
    /// Rounds the matrices of `source` whose name ends with `.weight`, as `quantization` says of each name; those that have too many inputs, or are in
    /// few bits already, stay as they are.
    pub fn new(source: Box<dyn TensorSource>, quantization: impl Fn(&str) -> Quantization) -> Self {
        let (mut tensors, mut originals) = (BTreeMap::new(), BTreeMap::new());
        for (name, info) in source.tensors() {
            let layer = name.strip_suffix(".weight").filter(|_| info.dtype.is_float());
            match (layer, quantization(name).bits(), info.shape.as_slice()) {
                (Some(layer), Some(bits), &[outputs, inputs]) if inputs <= MAX_INPUTS => {
                    let shape = bits.packed_shape(outputs, inputs).to_vec();
                    let quantized = format!("{layer}.{}", suffix(bits));
                    originals.insert(quantized.clone(), Original { name: name.clone(), bits });
                    tensors
                        .insert(quantized, TensorInfo { shape, dtype: DType::U8, file: info.file.clone() });
                }
                _ => {
                    tensors.insert(name.clone(), info.clone());
                }
            }
        }
        Self { source, tensors, originals }
    }
}

impl TensorSource for Quantized {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let Some(original) = self.originals.get(name) else {
            return self.source.read(name, dtype, device);
        };
        let quantized = self.quantize(name, original)?;
        let shape = &original.bits.packed_shape(quantized.outputs(), quantized.inputs());
        let tensor = Tensor::from_slice(quantized.as_bytes(), shape, device);
        tensor.and_then(|tensor| tensor.to_dtype(dtype)).map_err(|error| WeightsError::tensor(name, error))
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        match self.originals.get(name) {
            Some(original) => Ok(Some(Arc::new(self.quantize(name, original)?))),
            None => self.source.bytes(name),
        }
    }
}

impl Quantized {
    fn quantize(&self, name: &str, original: &Original) -> Result<QuantizedWeight, WeightsError> {
        let failed = |error| WeightsError::tensor(name, error);
        let weight = self.source.read(&original.name, DType::F32, &Device::Cpu)?;
        let (outputs, inputs) = weight.dims2().map_err(failed)?;
        let values = weight.flatten_all().and_then(|weight| weight.to_vec1::<f32>()).map_err(failed)?;
        drop(weight);
        Ok(QuantizedWeight::quantize(original.bits, &values, outputs, inputs))
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

    fn write(folder: &Path, quantization: Quantization) {
        let only_a = |name: &str| if name.starts_with("a.") { quantization } else { Quantization::None };
        let quantized = Quantized::new(source(), only_a);
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
        for quantization in [Quantization::Int8, Quantization::Int4] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), quantization);
            let written = open(folder.path(), DType::F32);
            let layer = Linear::load(70, 40, &written.pp("a")).unwrap();
            written.get(&[3, 5], "b.weight").unwrap();
            written.finish().unwrap();
            let whole = Weights::new(source(), DType::F32, &Device::Cpu);
            let rounded = Linear::load(70, 40, &whole.pp("a")).unwrap().quantized(quantization).unwrap();
            let x = varied(&[7, 70], 4);
            let values = |layer: &Linear| layer.forward(&x).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(values(&layer), values(&rounded));
            assert_eq!(layer.output(), 40);
            // The file may go: what is mapped stays.
            std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
            assert_eq!(values(&layer), values(&rounded));
        }
    }

    #[test]
    fn bytes_lie_where_they_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Quantization::Int8);
        let source = open_checkpoint(folder.path()).unwrap();
        let bytes = source.bytes("a.weight_int8").unwrap().unwrap();
        assert_eq!((*bytes).as_ref().as_ptr().align_offset(64), 0);
        let reason = source.bytes("a.bias").err().unwrap().to_string();
        assert!(reason.contains("F32"), "{reason}");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Quantization::Int8);
        let other_sizes = open(folder.path(), DType::F32);
        Linear::load(70, 80, &other_sizes.pp("a")).unwrap();
        let reason = other_sizes.finish().unwrap_err().to_string();
        assert!(reason.contains("a.weight_int8"), "{reason}");
        let half = open(folder.path(), DType::BF16);
        let reason = Linear::load(70, 40, &half.pp("a")).unwrap_err().to_string();
        assert!(reason.contains("quantized"), "{reason}");
    }
}
