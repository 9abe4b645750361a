//! Sources made of other sources: in memory, renamed, filtered, merged.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};

use super::error::WeightsError;
use super::source::{TensorInfo, TensorSource};
use maskwise_kernels::int8::SharedBytes;

/// Tensors that are there already: for tests, and for networks built over a trainer's variables.
#[derive(Debug, Clone)]
pub struct InMemory {
    tensors: BTreeMap<String, TensorInfo>,
    values: HashMap<String, Tensor>,
}

impl InMemory {
    /// Offers `values` by their names.
    pub fn new(values: HashMap<String, Tensor>) -> Self {
        let info = |tensor: &Tensor| TensorInfo {
            shape: tensor.dims().to_vec(),
            dtype: tensor.dtype(),
            file: PathBuf::new(),
        };
        let tensors = values.iter().map(|(name, tensor)| (name.clone(), info(tensor))).collect();
        Self { tensors, values }
    }
}

impl TensorSource for InMemory {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Hands out the tensor itself when type and device agree, so that gradients reach a variable behind it;
    /// otherwise a differentiable conversion of it.
    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let tensor =
            self.values.get(name).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_string() })?;
        if tensor.dtype() == dtype && tensor.device().same_device(device) {
            return Ok(tensor.clone());
        }
        let converted = tensor.to_dtype(dtype).and_then(|tensor| tensor.to_device(device));
        converted.map_err(|error| WeightsError::tensor(name, error))
    }
}

/// A source whose tensors go by other names.
pub struct Renamed {
    source: Box<dyn TensorSource>,
    tensors: BTreeMap<String, TensorInfo>,
    original_names: BTreeMap<String, String>,
}

impl Renamed {
    /// Renames every tensor of `source` with `new_name`; `None` leaves the tensor out.
    ///
    /// # Errors
    /// [`WeightsError::DuplicateTensor`] when two tensors get the same name.
    pub fn new(
        source: Box<dyn TensorSource>,
        new_name: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, WeightsError> {
        let mut tensors: BTreeMap<String, TensorInfo> = BTreeMap::new();
        let mut original_names = BTreeMap::new();
        for (original, info) in source.tensors() {
            let Some(name) = new_name(original) else { continue };
            if let Some(first) = tensors.insert(name.clone(), info.clone()) {
                return Err(WeightsError::DuplicateTensor {
                    name,
                    first: first.file,
                    second: info.file.clone(),
                });
            }
            original_names.insert(name, original.clone());
        }
        Ok(Self { source, tensors, original_names })
    }

    /// Puts `prefix` and a dot before every name, as for a `.pth` of SAM under `model.visual_model`.
    pub fn under(source: Box<dyn TensorSource>, prefix: &str) -> Self {
        let original_names: BTreeMap<String, String> =
            source.tensors().keys().map(|name| (format!("{prefix}.{name}"), name.clone())).collect();
        let tensors =
            source.tensors().iter().map(|(name, info)| (format!("{prefix}.{name}"), info.clone())).collect();
        Self { source, tensors, original_names }
    }

    fn original(&self, name: &str) -> Result<&str, WeightsError> {
        let original = self.original_names.get(name);
        original.map(String::as_str).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_string() })
    }
}

impl TensorSource for Renamed {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        self.source.read(self.original(name)?, dtype, device)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        self.source.bytes(self.original(name)?)
    }
}

/// A source that shows only some of its tensors.
pub struct Filtered {
    source: Box<dyn TensorSource>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Filtered {
    /// Keeps the tensors of `source` whose name satisfies `keep`.
    pub fn new(source: Box<dyn TensorSource>, keep: impl Fn(&str) -> bool) -> Self {
        let kept = source.tensors().iter().filter(|(name, _)| keep(name));
        let tensors = kept.map(|(name, info)| (name.clone(), info.clone())).collect();
        Self { source, tensors }
    }

    /// The source, if it shows this tensor.
    fn known(&self, name: &str) -> Result<&dyn TensorSource, WeightsError> {
        match self.tensors.contains_key(name) {
            true => Ok(self.source.as_ref()),
            false => Err(WeightsError::UnknownTensor { name: name.to_string() }),
        }
    }
}

impl TensorSource for Filtered {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        self.known(name)?.read(name, dtype, device)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        self.known(name)?.bytes(name)
    }
}

/// Several sources as one. A name may occur once only: use [`Filtered`] to say which of two is meant.
pub struct Merged {
    sources: Vec<Box<dyn TensorSource>>,
    tensors: BTreeMap<String, TensorInfo>,
    owners: BTreeMap<String, usize>,
}

impl Merged {
    /// Joins `sources`.
    ///
    /// # Errors
    /// [`WeightsError::DuplicateTensor`] when two of them hold a tensor of the same name.
    pub fn new(sources: Vec<Box<dyn TensorSource>>) -> Result<Self, WeightsError> {
        let mut tensors: BTreeMap<String, TensorInfo> = BTreeMap::new();
        let mut owners = BTreeMap::new();
        for (owner, source) in sources.iter().enumerate() {
            for (name, info) in source.tensors() {
                if let Some(first) = tensors.insert(name.clone(), info.clone()) {
                    return Err(WeightsError::DuplicateTensor {
                        name: name.clone(),
                        first: first.file,
                        second: info.file.clone(),
                    });
                }
                owners.insert(name.clone(), owner);
            }
        }
        Ok(Self { sources, tensors, owners })
    }

    /// The source that holds this tensor.
    fn owner(&self, name: &str) -> Result<&dyn TensorSource, WeightsError> {
        match self.owners.get(name) {
            Some(owner) => Ok(self.sources[*owner].as_ref()),
            None => Err(WeightsError::UnknownTensor { name: name.to_string() }),
        }
    }
}

impl TensorSource for Merged {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        self.owner(name)?.read(name, dtype, device)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        self.owner(name)?.bytes(name)
    }
}
