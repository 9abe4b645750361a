//! The trait behind which every kind of weight file stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::error::WeightsError;
use maskwise_kernels::int8::SharedBytes;

/// What is known of a tensor before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Sizes of the axes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The stored type. Types that candle lacks are named by the one they are read as:
    /// booleans as `U8`, signed bytes as `I16`, unsigned 16-bit integers as `U32`.
    pub dtype: DType,
    /// The file that holds the tensor; empty for tensors that live in memory.
    pub file: PathBuf,
}

impl TensorInfo {
    /// Number of elements: the product of the axes, 1 for a scalar.
    pub fn element_count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where named tensors come from.
pub trait TensorSource: Send + Sync {
    /// Every tensor by name, known without reading any of them.
    fn tensors(&self) -> &BTreeMap<String, TensorInfo>;

    /// Reads one tensor, converted to `dtype`, onto `device`.
    ///
    /// # Errors
    /// [`WeightsError::UnknownTensor`] for a name that [`TensorSource::tensors`] does not list, and whatever
    /// reading or converting may meet.
    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError>;

    /// The values of a tensor of bytes, where they lie if the source can show them there; none from a source that knows shapes only.
    ///
    /// # Errors
    /// As [`TensorSource::read`].
    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        let tensor = self.read(name, DType::U8, &Device::Cpu)?;
        let bytes = tensor.flatten_all().and_then(|tensor| tensor.to_vec1::<u8>());
        Ok(Some(Arc::new(bytes.map_err(|error| WeightsError::tensor(name, error))?)))
    }
}

impl<S: TensorSource + ?Sized> TensorSource for Box<S> {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        (**self).tensors()
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        (**self).read(name, dtype, device)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        (**self).bytes(name)
    }
}

impl<S: TensorSource + ?Sized> TensorSource for Arc<S> {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        (**self).tensors()
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        (**self).read(name, dtype, device)
    }

    fn bytes(&self, name: &str) -> Result<Option<SharedBytes>, WeightsError> {
        (**self).bytes(name)
    }
}
