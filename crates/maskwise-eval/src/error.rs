use maskwise::data::dataset::DatasetError;
use maskwise::data::fingerprint::FingerprintError;
use std::io;
use std::path::{Path, PathBuf};

/// Why an evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model refused an item.
    #[error("{id}: {source}")]
    Model {
        /// The item.
        id: String,
        /// What the model says.
        source: Box<maskwise::Error>,
    },
    /// An item or the benchmark cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The benchmark cannot be made as asked for, or evaluations do not fit together.
    #[error("{0}")]
    Benchmark(String),
    /// The figures look like those of random weights.
    #[error("{0}. If that is meant, accept it with --accept-random")]
    NearRandom(String),
    /// A file or folder of an evaluation does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] maskwise::atomic::WriteError),
    /// A file of the model or the benchmark cannot be read.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
}

impl EvalError {
    pub(crate) fn folder(path: &Path, reason: impl Into<String>) -> Self {
        Self::Folder { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::folder(path, error.to_string())
    }
}
