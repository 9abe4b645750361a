use std::path::PathBuf;

use crate::image::ImageError;

/// Why a dataset could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A folder or a file that the layout has is not there, or does not say what it should.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A picture has another size than its annotation says.
    #[error("{}: it has {}x{} pixels, but {} says {}x{}", path.display(), found.0, found.1, said_by.display(), said.0, said.1)]
    Size {
        /// The picture.
        path: PathBuf,
        /// Its columns and rows.
        found: (usize, usize),
        /// The annotation.
        said_by: PathBuf,
        /// The columns and rows that it says.
        said: (usize, usize),
    },
    /// A picture cannot be decoded; the message names its file.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The datasets, their rates or their templates do not fit together.
    #[error("{0}")]
    Config(String),
    /// What was drawn contradicts itself.
    #[error("{item}: {reason}")]
    Item {
        /// [`TrainingItem::id`](super::TrainingItem::id).
        item: String,
        /// What is wrong.
        reason: String,
    },
    /// An item of a mixture could not be drawn.
    #[error("dataset {dataset}: {source}")]
    Dataset {
        /// The dataset's name.
        dataset: String,
        /// What went wrong in it.
        source: Box<DatasetError>,
    },
    /// The code that draws or prepares items panicked.
    #[error("preparing the item at position {position} failed: {message}")]
    Panicked {
        /// Position of the item in the run.
        position: u64,
        /// What the panic said.
        message: String,
    },
    /// The system refused a thread.
    #[error("cannot start a thread that prepares items: {0}; ask for fewer of them")]
    Thread(std::io::Error),
}
