//! PyTorch checkpoints (`.bin`, `.pth`, `.pt`) of both container formats, read without executing anything.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::element::{StoredTensor, read_tensor};
use super::error::WeightsError;
use super::files::PositionedFile;
use super::pickle::{TensorView, collect_tensors};
use super::pickle_machine::{Heap, Value};
use super::pickle_reader::PickleError;
use super::source::{TensorInfo, TensorSource};
use super::torch_legacy::{LEGACY_MAGIC, read_legacy};
use super::torch_zip::read_zip;

/// What a container holds: the checkpoint's values, and where its storages lie.
pub(crate) struct Contents {
    pub(crate) heap: Heap,
    pub(crate) root: Value,
    pub(crate) storages: HashMap<String, Extent>,
}

/// A run of bytes in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) position: u64,
    pub(crate) length: u64,
}

/// One PyTorch checkpoint.
#[derive(Debug)]
pub struct TorchFile {
    file: PositionedFile,
    tensors: BTreeMap<String, TensorInfo>,
    stored: BTreeMap<String, StoredTensor>,
}

impl TorchFile {
    /// Opens a checkpoint and reads its list of tensors, not the tensors.
    ///
    /// Names of nested dictionaries are joined with dots. A dictionary that holds no tensor itself but has an entry
    /// `state_dict`, `model`, `model_state_dict` or `module` stands for that entry.
    ///
    /// # Errors
    /// [`WeightsError::PickleRefused`] names what the pickle asked for beyond the short list of names that tensors
    /// need, [`WeightsError::InvalidTorchFile`] and [`WeightsError::Truncated`] say how the file is damaged,
    /// [`WeightsError::BigEndian`] and [`WeightsError::Io`] the rest.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::from_file(PositionedFile::open(path)?, &[])
    }

    /// As [`TorchFile::open`], for the tensors under the given keys, one inside the other (`["optimizer", "state"]`).
    ///
    /// # Errors
    /// As [`TorchFile::open`], and [`WeightsError::InvalidTorchFile`] when there is no such entry.
    pub fn open_entry(path: &Path, entry: &[&str]) -> Result<Self, WeightsError> {
        Self::from_file(PositionedFile::open(path)?, entry)
    }

    pub(crate) fn from_file(file: PositionedFile, entry: &[&str]) -> Result<Self, WeightsError> {
        let contents = match container(&file)? {
            Some(TorchContainer::Zip) => read_zip(&file)?,
            Some(TorchContainer::Legacy) => read_legacy(&file)?,
            None => return Err(invalid_torch(&file, "it begins like neither of PyTorch's two formats")),
        };
        let views = collect_tensors(&contents.heap, &contents.root, entry)
            .map_err(|error| pickle_failure(&file, error))?;
        let mut stored = BTreeMap::new();
        for (name, view) in views {
            let tensor = locate(&file, &name, &view, &contents.storages)?;
            if stored.insert(name.clone(), tensor).is_some() {
                let (first, second) = (file.path().to_path_buf(), file.path().to_path_buf());
                return Err(WeightsError::DuplicateTensor { name, first, second });
            }
        }
        let info = |tensor: &StoredTensor| TensorInfo {
            shape: tensor.shape.clone(),
            dtype: tensor.element.dtype(),
            file: file.path().to_path_buf(),
        };
        let tensors = stored.iter().map(|(name, tensor)| (name.clone(), info(tensor))).collect();
        Ok(Self { file, tensors, stored })
    }
}

impl TensorSource for TorchFile {
    fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let stored =
            self.stored.get(name).ok_or_else(|| WeightsError::UnknownTensor { name: name.to_string() })?;
        read_tensor(&self.file, name, stored, dtype, device)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TorchContainer {
    Zip,
    Legacy,
}

/// Which of PyTorch's containers the file begins like, if any.
pub(crate) fn container(file: &PositionedFile) -> Result<Option<TorchContainer>, WeightsError> {
    let mut start = [0; 2 + LEGACY_MAGIC.len()];
    if file.length() < start.len() as u64 {
        return Ok(None);
    }
    file.read_at(&mut start, 0)?;
    if start.starts_with(b"PK\x03\x04") {
        Ok(Some(TorchContainer::Zip))
    } else if start[0] == 0x80 && start[2..] == LEGACY_MAGIC {
        Ok(Some(TorchContainer::Legacy))
    } else {
        Ok(None)
    }
}

fn locate(
    file: &PositionedFile,
    name: &str,
    view: &TensorView,
    storages: &HashMap<String, Extent>,
) -> Result<StoredTensor, WeightsError> {
    let key = &view.storage.key;
    let extent = storages.get(&**key).ok_or_else(|| {
        invalid_torch(file, format!("the data of tensor `{name}` (storage {key:?}) is missing"))
    })?;
    if extent.length != view.storage.length {
        let reason = format!(
            "the data of tensor `{name}` has {} bytes where {} are announced",
            extent.length, view.storage.length
        );
        return Err(invalid_torch(file, reason));
    }
    Ok(StoredTensor {
        element: view.element,
        shape: view.shape.clone(),
        position: extent.position + view.offset,
        strides: view.strides.clone(),
    })
}

pub(crate) fn invalid_torch(file: &PositionedFile, reason: impl Into<String>) -> WeightsError {
    WeightsError::InvalidTorchFile { path: file.path().to_path_buf(), reason: reason.into() }
}

pub(crate) fn pickle_failure(file: &PositionedFile, error: PickleError) -> WeightsError {
    match error {
        PickleError::Invalid(reason) => invalid_torch(file, reason),
        PickleError::Refused(request) => {
            WeightsError::PickleRefused { path: file.path().to_path_buf(), request }
        }
        PickleError::EndedEarly => {
            invalid_torch(file, "its pickle ends early, as after an incomplete download")
        }
        PickleError::Io(source) => WeightsError::io("read", file.path(), source),
    }
}
