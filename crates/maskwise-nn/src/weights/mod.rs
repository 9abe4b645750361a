//! Strict loading of weights.
//!
//! [`Weights`] walks the names of a state dict the way the reference's modules do
//! (`weights.pp("layers").pp(0).get(&[4, 4], "weight")`). Nothing is silent: a tensor that is missing
//! or has another shape, and every tensor of the files that nobody asked for, ends up in the error of
//! [`Weights::finish`], which lists them all at once.

mod combine;
mod diagnose;
mod element;
mod error;
mod files;
mod index;
mod map;
mod pickle;
mod pickle_machine;
mod pickle_reader;
mod quantized;
mod safetensors;
mod source;
mod torch_file;
mod torch_legacy;
mod torch_zip;
mod write;

pub use combine::{Filtered, InMemory, Merged, Renamed};
pub use diagnose::{Finding, Problem, looks_untrained};
pub use error::{MisShaped, WeightsError};
pub use index::{open_bytes, open_checkpoint, open_file, open_files};
pub use quantized::{Quantization, Quantized};
pub use safetensors::SafetensorsFile;
pub use source::{TensorInfo, TensorSource};
pub use torch_file::TorchFile;
pub use write::{DEFAULT_SHARD_BYTES, TensorPlan, write_safetensors, write_sharded};

pub use maskwise_kernels::int8::SharedBytes;
pub use maskwise_kernels::quantized::Bits;

use candle_core::{DType, Device, Tensor};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The result of loading a layer.
pub type Loaded<T> = Result<T, WeightsError>;

/// A strict, prefix-walking view of a [`TensorSource`]; clones share the accounting.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<Shared>,
    prefix: String,
    dtype: DType,
    device: Device,
    quantization: Quantization,
}

struct Shared {
    source: Box<dyn TensorSource>,
    accounts: Mutex<Accounts>,
    on_read: Option<ReadObserver>,
}

type ReadObserver = Box<dyn Fn(&str, usize) + Send + Sync>;

#[derive(Default)]
struct Accounts {
    used: BTreeSet<String>,
    missing: BTreeSet<String>,
    mis_shaped: Vec<MisShaped>,
}

impl Weights {
    /// Views `source`; every tensor is converted to `dtype` on `device` as it is read.
    pub fn new(source: Box<dyn TensorSource>, dtype: DType, device: &Device) -> Self {
        Self::build(source, dtype, device, None)
    }

    /// As [`Weights::new`], calling `on_read(name, bytes on disk)` after each tensor, for progress bars.
    pub fn with_progress(
        source: Box<dyn TensorSource>,
        dtype: DType,
        device: &Device,
        on_read: impl Fn(&str, usize) + Send + Sync + 'static,
    ) -> Self {
        Self::build(source, dtype, device, Some(Box::new(on_read)))
    }

    fn build(
        source: Box<dyn TensorSource>,
        dtype: DType,
        device: &Device,
        on_read: Option<ReadObserver>,
    ) -> Self {
        let shared = Shared { source, accounts: Mutex::default(), on_read };
        let quantization = Quantization::None;
        Self { shared: Arc::new(shared), prefix: String::new(), dtype, device: device.clone(), quantization }
    }

    /// The same weights below `name`, separated by a dot as in a state dict.
    #[must_use]
    pub fn pp(&self, name: impl Display) -> Self {
        Self { prefix: self.full_name(&name.to_string()), ..self.clone() }
    }

    /// The same weights read as `dtype`.
    #[must_use]
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, ..self.clone() }
    }

    /// The same weights, with those of large linear layers kept as `quantization` says.
    #[must_use]
    pub fn with_quantization(&self, quantization: Quantization) -> Self {
        Self { quantization, ..self.clone() }
    }

    /// How layers keep the weights of large linear layers.
    pub fn quantization(&self) -> Quantization {
        self.quantization
    }

    /// The dtype that tensors are converted to.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that tensors are read to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The prefix walked so far, without a trailing dot.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The shape of `name` under this prefix, if the source has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.shared.source.tensors().get(&self.full_name(name)).map(|info| info.shape.as_slice())
    }

    /// Whether the source has `name` under this prefix.
    pub fn contains(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// How many consecutive `0., 1., …` children this prefix has: the depth of a module list.
    pub fn count_children(&self) -> usize {
        (0..).take_while(|index| self.has_child(&index.to_string())).count()
    }

    /// Whether any tensor lies below `name` under this prefix.
    pub fn has_child(&self, name: &str) -> bool {
        let prefix = format!("{}.", self.full_name(name));
        let mut following = self.shared.source.tensors().range(prefix.clone()..);
        following.next().is_some_and(|(key, _)| key.starts_with(&prefix))
    }

    /// Reads the tensor `name` of `shape`.
    ///
    /// A missing or mis-shaped tensor is noted for [`Weights::finish`] and stands in as zeros, so that one
    /// load reports every defect; a caller must not use what it built when `finish` fails.
    ///
    /// # Errors
    /// When the file cannot be read or the device refuses the tensor.
    pub fn get(&self, shape: &[usize], name: &str) -> Result<Tensor, WeightsError> {
        let full_name = self.full_name(name);
        match self.shape(name) {
            None => {
                self.accounts().missing.insert(full_name);
                self.placeholder(shape)
            }
            Some(found) if found != shape => {
                let found = found.to_vec();
                let mut accounts = self.accounts();
                accounts.used.insert(full_name.clone());
                accounts.mis_shaped.push(MisShaped { name: full_name, found, expected: shape.to_vec() });
                drop(accounts);
                self.placeholder(shape)
            }
            Some(_) => self.read(&full_name),
        }
    }

    /// Reads the tensor `name` whatever its shape; missing is an error at once, since nothing can stand in.
    ///
    /// # Errors
    /// [`WeightsError::Missing`], or when the file cannot be read.
    pub fn get_unshaped(&self, name: &str) -> Result<Tensor, WeightsError> {
        let full_name = self.full_name(name);
        if !self.contains(name) {
            return Err(WeightsError::Missing { name: full_name });
        }
        self.read(&full_name)
    }

    /// The shape of a tensor that decides the widths of others.
    ///
    /// # Errors
    /// [`WeightsError::Missing`], or [`WeightsError::Rank`] when its rank is not `RANK`.
    pub fn dims<const RANK: usize>(&self, name: &str) -> Result<[usize; RANK], WeightsError> {
        let name_of = || self.full_name(name);
        let shape = self.shape(name).ok_or_else(|| WeightsError::Missing { name: name_of() })?;
        shape.try_into().map_err(|_| WeightsError::Rank {
            name: name_of(),
            found: shape.to_vec(),
            rank: RANK,
        })
    }

    /// Declares that the tensors below this prefix whose full name satisfies `condition` are known and not needed.
    pub fn ignore(&self, condition: impl Fn(&str) -> bool) {
        let known = self.shared.source.tensors().keys();
        let ignored: Vec<String> =
            known.filter(|name| name.starts_with(&self.prefix) && condition(name)).cloned().collect();
        self.accounts().used.extend(ignored);
    }

    /// Ends loading: every tensor asked for was there with its shape, every tensor of the source was asked for.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with the full lists.
    pub fn finish(&self) -> Result<(), WeightsError> {
        let accounts = self.accounts();
        let all = self.shared.source.tensors().keys();
        let unexpected: Vec<String> = all.filter(|name| !accounts.used.contains(*name)).cloned().collect();
        if accounts.missing.is_empty() && accounts.mis_shaped.is_empty() && unexpected.is_empty() {
            return Ok(());
        }
        Err(WeightsError::Mismatch {
            missing: accounts.missing.iter().cloned().collect(),
            unexpected,
            mis_shaped: accounts.mis_shaped.clone(),
        })
    }

    fn read(&self, full_name: &str) -> Result<Tensor, WeightsError> {
        let tensor = self.shared.source.read(full_name, self.dtype, &self.device)?;
        self.accounts().used.insert(full_name.to_owned());
        self.observe(full_name);
        Ok(tensor)
    }

    fn observe(&self, full_name: &str) {
        if let (Some(observe), Some(info)) =
            (&self.shared.on_read, self.shared.source.tensors().get(full_name))
        {
            observe(full_name, info.shape.iter().product::<usize>() * info.dtype.size_in_bytes());
        }
    }

    pub(crate) fn placeholder(&self, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let zero = Tensor::zeros((), self.dtype, &self.device).and_then(|zero| zero.broadcast_as(shape));
        zero.map_err(WeightsError::from)
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.shared.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
