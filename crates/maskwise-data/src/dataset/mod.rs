//! Datasets: what training and evaluation take from them, readers of the published layouts, mixing.

mod item;

pub use item::{TrainingConversation, TrainingItem, ValidationItem};

/// The generator that items are drawn with: a function of the run's seed and the item's position, nothing else.
pub type SampleRng = rand_pcg::Pcg64Mcg;

/// A source of training items.
pub trait TrainingDataset: Send + Sync {
    /// The name that error messages and logs use.
    fn name(&self) -> &str;

    /// Draws one item; the same state of `rng` gives the same item.
    ///
    /// # Errors
    /// When a file of the dataset is missing or damaged, naming it.
    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError>;
}

/// Why a dataset could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A folder or a file that the layout has is not there.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The folder or file.
        path: std::path::PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}
