use maskwise_data::dataset::DatasetError;
use maskwise_models::ModelError;
use maskwise_nn::weights::WeightsError;
use std::path::PathBuf;

/// Why training stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file of tensors could not be read or written.
    #[error(transparent)]
    Weights(Box<WeightsError>),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] maskwise_data::atomic::WriteError),
    /// The networks refused.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// An item of the data does not fit the model.
    #[error("{id}: {reason}")]
    Item {
        /// The item.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An item could not be drawn from a dataset.
    #[error(transparent)]
    Dataset(Box<DatasetError>),
    /// A file or folder of the run could not be read, renamed or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Settings that cannot be meant.
    #[error("{field}: {reason}")]
    Setting {
        /// The key, or the parameter it is about.
        field: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A loss or a gradient is infinite or not a number.
    #[error("step {step}: {what} is not finite, computed from {}; the last checkpoint is intact (look at these items, lower the learning rate, or compute in f32)", items.join(", "))]
    NotFinite {
        /// The optimiser step, counted from 1.
        step: u64,
        /// The loss term, or the gradient's parameter.
        what: String,
        /// The ids of the micro-batch's items.
        items: Vec<String>,
    },
    /// The items ended before the run did.
    #[error("the data ended at position {position}, {wanted} items before the run does")]
    OutOfItems {
        /// The global position of the first missing item.
        position: u64,
        /// How many more the run needs.
        wanted: u64,
    },
    /// A checkpoint cannot be continued from.
    #[error("cannot resume from {}: {reason}", path.display())]
    Resume {
        /// The checkpoint or run folder.
        path: PathBuf,
        /// What differs and what to do.
        reason: String,
    },
    /// The learner or the observer of a run reported an error of its own.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

// Boxed, so that results without an error stay small.
macro_rules! boxed_from {
    ($($variant:ident: $source:ty),*) => {$(
        impl From<$source> for TrainError {
            fn from(source: $source) -> Self {
                Self::$variant(Box::new(source))
            }
        }
    )*};
}

boxed_from!(Weights: WeightsError, Model: ModelError, Dataset: DatasetError);

impl TrainError {
    /// The same error with the file that a setting stands in.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Setting { field, reason } => Self::setting(format!("{}: {field}", path.display()), reason),
            other => other,
        }
    }

    /// The same error with the item that it came up with.
    pub(crate) fn of_item(self, id: &str) -> Self {
        match self {
            Self::Item { .. } => self,
            other => Self::Item { id: id.to_owned(), reason: other.to_string() },
        }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn setting(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { field: field.into(), reason: reason.into() }
    }
}
