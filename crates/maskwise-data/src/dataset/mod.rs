//! Datasets: what training and evaluation take from them, readers of the published layouts, mixing.

mod coco;
mod coco_instances;
mod composition;
mod convert;
mod drawn_templates;
mod error;
mod files;
mod groups;
mod index;
mod instruct;
mod item;
mod json_lines;
mod label_me;
mod loader;
mod mixture;
mod muse;
mod reason_seg;
mod refer;
mod semantic;
mod survey;
mod templates;

pub use coco_instances::CocoInstances;
pub use composition::{Composition, Convention};
pub use convert::{ConvertError, Converted, Target, convert};
pub use drawn_templates::DrawnTemplates;
pub use error::DatasetError;
pub use groups::{
    CORRECT_REFER_SEG, NEG_REFER_SEG, REFER_SEG, SEM_SEG, refer_group, semantic_group, semantic_sources,
    semantic_validation,
};
pub use index::IndexCache;
pub use instruct::{Instruct, InstructValidation};
pub use item::{Asked, TrainingConversation, TrainingItem, ValidationItem};
pub use json_lines::{JsonLine, JsonLines, JsonLinesValidation, MaskSource};
pub use label_me::LabelMeFolder;
pub use loader::{Loader, LoaderConfig};
pub use mixture::Mixture;
pub use muse::{Muse, MuseValidation};
pub use reason_seg::{ReasonSeg, ReasonSegValidation};
pub use refer::{Refer, ReferValidation, default_split_by};
pub use semantic::{LabelMaps, LabelMapsValidation, PartInstances};
pub use survey::{Problem, ProblemKind, Spread, Survey, survey};
pub use templates::Templates;

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

/// A list of validation items, read one by one.
pub trait ValidationDataset: Send + Sync {
    /// The name that error messages and tables use.
    fn name(&self) -> &str;

    /// Number of items.
    fn len(&self) -> usize;

    /// Whether there is no item.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number for the picture of the item at `index`. Items of one picture stand one after the other, so that it can be encoded once.
    fn picture(&self, index: usize) -> usize {
        index
    }

    /// The item at `index`, below [`len`](Self::len).
    ///
    /// # Errors
    /// When a file of the dataset is missing or damaged, naming it.
    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError>;
}
