//! Everything that can go wrong between a weight file and a tensor.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::DType;
use thiserror::Error;

/// A failure while finding, reading, checking or writing weights.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: "open", "read", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own message.
        source: io::Error,
    },

    /// The disk ran full while a file was being written; nothing of it was left behind.
    #[error("the disk is full: {} needs {needed_bytes} bytes; free some space or choose another folder (nothing was written)", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// Size of the whole file.
        needed_bytes: u64,
    },

    /// The target folder is missing or may not be written to.
    #[error("cannot write into {}: {source}; choose a folder that exists and is writable", folder.display())]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// The system's own message.
        source: io::Error,
    },

    /// The folder holds none of the files that weights are looked for in.
    #[error("no weights in {}: looked for {}", folder.display(), looked_for.join(", "))]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// File names that were tried, in order of preference.
        looked_for: Vec<String>,
    },

    /// The file is neither safetensors nor a PyTorch checkpoint.
    #[error("{} is not a weight file: {reason}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What its content looks like.
        reason: String,
    },

    /// A file that starts like safetensors but breaks the format's rules.
    #[error("{} is not a valid safetensors file: {reason}", path.display())]
    InvalidSafetensors {
        /// The file.
        path: PathBuf,
        /// Which rule is broken, with the tensor's name where there is one.
        reason: String,
    },

    /// A PyTorch file whose container or pickle is damaged or of an unknown kind.
    #[error("{} is not a readable PyTorch checkpoint: {reason}", path.display())]
    InvalidTorchFile {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },

    /// The file is shorter than its own header says.
    #[error("{} is truncated: it has {actual_bytes} bytes where at least {expected_bytes} are needed; download it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the header promises (a lower bound).
        expected_bytes: u64,
        /// Bytes that are there.
        actual_bytes: u64,
    },

    /// The pickle asks for something that could run code.
    #[error(
        "{} is refused: its pickle asks for `{request}`, which is not one of the few names that weights need; nothing was executed. \
         Convert the file to safetensors with the software that wrote it, if you trust it", path.display()
    )]
    PickleRefused {
        /// The file.
        path: PathBuf,
        /// The global (`module.name`) or the operation that was asked for.
        request: String,
    },

    /// Numbers were stored with the most significant byte first.
    #[error("{} was written on a big-endian machine; convert it to safetensors there", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
    },

    /// An index file that is not the JSON object it should be.
    #[error("{} is not a valid weight index: {reason}", path.display())]
    InvalidIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The index names files that do not lie beside it.
    #[error("{} names shards that are missing: {}; download them into the same folder", index.display(), list(shards))]
    MissingShards {
        /// The index file.
        index: PathBuf,
        /// File names of the shards that are not there.
        shards: Vec<String>,
    },

    /// Index and shards disagree on which tensors there are.
    #[error("{} does not fit its shards:{}", index.display(), disagreement(absent, unlisted))]
    IndexMismatch {
        /// The index file.
        index: PathBuf,
        /// `tensor (shard)` listed in the index but absent from that shard.
        absent: Vec<String>,
        /// `tensor (shard)` held by a shard but not listed for it in the index.
        unlisted: Vec<String>,
    },

    /// Two places offer a tensor of the same name.
    #[error("tensor `{name}` is there twice: in {} and in {}", first.display(), second.display())]
    DuplicateTensor {
        /// Its name.
        name: String,
        /// The file that offered it first.
        first: PathBuf,
        /// The file that offered it again.
        second: PathBuf,
    },

    /// A name was asked for that the source does not list.
    #[error("there is no tensor `{name}` in these weights")]
    UnknownTensor {
        /// The name.
        name: String,
    },

    /// An element type that this program does not read.
    #[error("tensor `{name}` in {} has the element type {dtype}, which is not supported; convert it to F32, F16 or BF16", path.display())]
    UnsupportedDtype {
        /// The tensor.
        name: String,
        /// Its file.
        path: PathBuf,
        /// The type as the file calls it.
        dtype: String,
    },

    /// A conversion that would lose the values.
    #[error("tensor `{name}` cannot be read as {to:?}: {reason}")]
    UnsupportedConversion {
        /// The tensor.
        name: String,
        /// The requested type.
        to: DType,
        /// Why not.
        reason: String,
    },

    /// The network needs a tensor that the weights do not hold, and cannot go on without it.
    #[error("the weights lack tensor `{name}`, which the model needs")]
    Missing {
        /// The tensor.
        name: String,
    },

    /// A tensor that decides the widths of others has another number of axes than it should.
    #[error("tensor `{name}` should have {rank} axes but has the shape {found:?}")]
    Rank {
        /// The tensor.
        name: String,
        /// The shape in the checkpoint.
        found: Vec<usize>,
        /// The number of axes that it should have.
        rank: usize,
    },

    /// The tensors of a checkpoint are not the ones that the network needs.
    #[error("the weights do not fit the model:{}", mismatch(missing, unexpected, mis_shaped))]
    Mismatch {
        /// Names that the network needs and the checkpoint lacks.
        missing: Vec<String>,
        /// Names that the checkpoint holds and the network does not use.
        unexpected: Vec<String>,
        /// Tensors whose shape is not the expected one.
        mis_shaped: Vec<MisShaped>,
    },

    /// A tensor to be written has another shape or type than was announced.
    #[error("tensor `{name}` was announced as {announced} but is {actual}; nothing was written")]
    NotAsAnnounced {
        /// The tensor.
        name: String,
        /// Announced type and shape.
        announced: String,
        /// Type and shape of the tensor itself.
        actual: String,
    },

    /// The tensor library failed.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Its message.
        source: candle_core::Error,
    },

    /// The tensor library failed on something that has no name.
    #[error("tensor operation failed while loading: {0}")]
    Candle(#[from] candle_core::Error),
}

/// A tensor whose shape is not the one that the network expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisShaped {
    /// The tensor.
    pub name: String,
    /// The shape that the network needs.
    pub expected: Vec<usize>,
    /// The shape in the checkpoint.
    pub found: Vec<usize>,
}

impl fmt::Display for MisShaped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (needs {:?}, has {:?})", self.name, self.expected, self.found)
    }
}

impl WeightsError {
    /// A failed operation on a file that exists or should exist.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    /// A failure of the tensor library, with the tensor's name.
    pub(crate) fn tensor(name: &str, source: candle_core::Error) -> Self {
        Self::Tensor { name: name.to_string(), source }
    }
}

/// How many names a message shows before it only counts the rest.
const SHOWN_NAMES: usize = 20;

fn list<T: fmt::Display>(names: &[T]) -> String {
    let mut shown: Vec<String> = names.iter().take(SHOWN_NAMES).map(T::to_string).collect();
    if names.len() > SHOWN_NAMES {
        shown.push(format!("and {} more", names.len() - SHOWN_NAMES));
    }
    shown.join(", ")
}

fn section<T: fmt::Display>(title: &str, names: &[T]) -> String {
    if names.is_empty() { String::new() } else { format!(" {title} ({}): {};", names.len(), list(names)) }
}

fn disagreement(absent: &[String], unlisted: &[String]) -> String {
    let text = section("listed but absent", absent) + &section("present but not listed", unlisted);
    text.trim_end_matches(';').to_string()
}

fn mismatch(missing: &[String], unexpected: &[String], mis_shaped: &[MisShaped]) -> String {
    let text = section("missing", missing)
        + &section("unexpected", unexpected)
        + &section("wrong shape", mis_shaped);
    text.trim_end_matches(';').to_string()
}
