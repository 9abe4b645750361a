//! Datasets: what training and evaluation take from them, readers of the published layouts, mixing.

mod error;
mod item;
mod loader;
mod mixture;

pub use error::DatasetError;
pub use item::{TrainingConversation, TrainingItem, ValidationItem};
pub use loader::{Loader, LoaderConfig};
pub use mixture::Mixture;

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
