//! Opening weights by folder or by file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::combine::Merged;
use super::error::WeightsError;
use super::files::{PositionedFile, folder_of};
use super::safetensors::SafetensorsFile;
use super::source::TensorSource;
use super::torch_file::{TorchFile, container};

/// File names that a folder is searched for, in order of preference.
const CANDIDATES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
const INDEX_SUFFIX: &str = ".index.json";
/// Largest index that is read: one line per tensor.
const MAXIMUM_INDEX_BYTES: u64 = 100_000_000;

/// Opens the weights of a model folder as Hugging Face lays them out: `model.safetensors`, sharded safetensors with
/// an index, `pytorch_model.bin`, sharded `.bin` with an index; the first that is there.
///
/// Index and shards must agree on every tensor. No tensor is read yet.
///
/// # Errors
/// [`WeightsError::NoWeights`] lists what was looked for, [`WeightsError::MissingShards`] the shards that are not
/// there, [`WeightsError::IndexMismatch`] the tensors on which index and shards disagree; and the errors of
/// [`open_file`].
pub fn open_checkpoint(folder: &Path) -> Result<Box<dyn TensorSource>, WeightsError> {
    let entries = std::fs::metadata(folder).map_err(|error| WeightsError::io("open", folder, error))?;
    let found = CANDIDATES.iter().map(|name| folder.join(name)).find(|path| path.exists());
    match found {
        Some(path) if is_index(&path) => open_sharded(&path),
        Some(path) => open_file(&path),
        None => {
            let mut looked_for: Vec<String> = CANDIDATES.iter().map(|name| (*name).to_string()).collect();
            if !entries.is_dir() {
                looked_for = vec!["a folder, but it is a file".to_string()];
            }
            Err(WeightsError::NoWeights { folder: folder.to_path_buf(), looked_for })
        }
    }
}

/// Opens one weight file, recognised by its content: safetensors, or a PyTorch checkpoint of either container; or an
/// index (`….index.json`) with its shards.
///
/// # Errors
/// [`WeightsError::UnknownFormat`] for anything else, and the errors of [`SafetensorsFile::open`],
/// [`TorchFile::open`] and, for an index, [`open_checkpoint`].
pub fn open_file(path: &Path) -> Result<Box<dyn TensorSource>, WeightsError> {
    if is_index(path) {
        return open_sharded(path);
    }
    recognise(PositionedFile::open(path)?)
}

/// Opens a weight file that lies in memory, recognised by its content; messages call it `path`.
///
/// # Errors
/// As [`open_file`].
pub fn open_bytes(path: &Path, bytes: &'static [u8]) -> Result<Box<dyn TensorSource>, WeightsError> {
    recognise(PositionedFile::in_memory(path.to_path_buf(), bytes))
}

fn recognise(file: PositionedFile) -> Result<Box<dyn TensorSource>, WeightsError> {
    if container(&file)?.is_some() {
        return Ok(Box::new(TorchFile::from_file(file, &[])?));
    }
    if let Some(reason) = why_not_safetensors(&file)? {
        return Err(WeightsError::UnknownFormat { path: file.path().to_path_buf(), reason });
    }
    Ok(Box::new(SafetensorsFile::from_file(file)?))
}

/// Opens several files as one set of weights; each as by [`open_file`].
///
/// # Errors
/// The errors of [`open_file`], and [`WeightsError::DuplicateTensor`] when two files hold the same name.
pub fn open_files(paths: &[PathBuf]) -> Result<Box<dyn TensorSource>, WeightsError> {
    let sources = paths.iter().map(|path| open_file(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(Merged::new(sources)?))
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX_SUFFIX))
}

/// What the file is instead, if its first bytes cannot be those of a safetensors file.
fn why_not_safetensors(file: &PositionedFile) -> Result<Option<String>, WeightsError> {
    let mut start = vec![0; file.length().min(24) as usize];
    file.read_at(&mut start, 0)?;
    // A header's length may begin with any byte, so the brace after it counts for more than what comes first.
    let reason = if start.get(8) == Some(&b'{') {
        return Ok(None);
    } else if start.is_empty() {
        "it is empty"
    } else if start.starts_with(b"version https://git-lfs") {
        "it is a Git LFS pointer, not the file itself; fetch it with `git lfs pull` or download it again"
    } else if start.first() == Some(&b'<') {
        "it is a web page, not the file itself; download it again"
    } else if start.len() < 9 {
        return Ok(None);
    } else {
        "it begins neither like safetensors nor like a PyTorch checkpoint"
    };
    Ok(Some(reason.to_string()))
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the shards that an index names, and holds both against each other.
fn open_sharded(index_path: &Path) -> Result<Box<dyn TensorSource>, WeightsError> {
    let index = read_index(index_path)?;
    let folder = folder_of(index_path);
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let missing: Vec<String> =
        shards.iter().filter(|name| !folder.join(name).exists()).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(WeightsError::MissingShards { index: index_path.to_path_buf(), shards: missing });
    }
    let mut sources = Vec::new();
    let mut found = BTreeSet::new();
    for shard in shards {
        let source = open_file(&folder.join(shard))?;
        found.extend(source.tensors().keys().map(|name| (name.clone(), shard.to_string())));
        sources.push(source);
    }
    let listed: BTreeSet<(String, String)> = index.weight_map.clone().into_iter().collect();
    let describe = |(name, shard): &(String, String)| format!("{name} ({shard})");
    let absent: Vec<String> = listed.difference(&found).map(describe).collect();
    let unlisted: Vec<String> = found.difference(&listed).map(describe).collect();
    if !absent.is_empty() || !unlisted.is_empty() {
        return Err(WeightsError::IndexMismatch { index: index_path.to_path_buf(), absent, unlisted });
    }
    Ok(Box::new(Merged::new(sources)?))
}

fn read_index(path: &Path) -> Result<Index, WeightsError> {
    let invalid = |reason: String| WeightsError::InvalidIndex { path: path.to_path_buf(), reason };
    let file = PositionedFile::open(path)?;
    if file.length() > MAXIMUM_INDEX_BYTES {
        return Err(invalid(format!("it has {} bytes", file.length())));
    }
    let mut text = vec![0; file.length() as usize];
    file.read_at(&mut text, 0)?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    if index.weight_map.is_empty() {
        return Err(invalid("its weight_map is empty".to_string()));
    }
    // A shard lies beside its index: anything but a bare name could point anywhere.
    let is_bare = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
    match index.weight_map.values().find(|name| !is_bare(name) || is_index(Path::new(name))) {
        Some(name) => Err(invalid(format!("it names the shard {name:?}, which is not a plain file name"))),
        None => Ok(index),
    }
}
