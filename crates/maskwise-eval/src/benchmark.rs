//! What a model is measured on.

use crate::EvalError;
use maskwise::data::dataset::{
    Convention, DatasetError, ReasonSegValidation, ReferValidation, ValidationDataset, ValidationItem,
    default_split_by,
};
use maskwise::data::text::QuestionTemplates;
use maskwise::tabletop::{QuestionFamily, QuestionWeights, SceneConfig, Split, World};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A benchmark with its split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Benchmark {
    /// Pictures of the Tabletop world, each with one question.
    Tabletop {
        /// Which world.
        world_seed: u64,
        /// Which of its splits.
        split: String,
        /// How many pictures.
        count: usize,
        /// How often each family of questions is asked for.
        questions: QuestionWeights,
    },
    /// ReasonSeg, or any folder of its layout.
    ReasonSeg {
        /// The folder that holds the splits' folders.
        data: PathBuf,
        /// `train`, `val`, `test`.
        split: String,
    },
    /// RefCOCO and its relatives, with and without false premises.
    Refer {
        /// The folder `refer_seg`.
        data: PathBuf,
        /// `refcoco`, `fprefcoco+`, `R-refcocog`, …
        dataset: String,
        /// Who made the split, as in `refs(<split_by>).p`.
        split_by: String,
        /// `train`, `val`, `test`, `testA`, `testB`.
        split: String,
    },
}

/// The datasets of [`Benchmark::Refer`].
pub const REFER: [&str; 10] = [
    "refclef",
    "refcoco",
    "refcoco+",
    "refcocog",
    "R-refcoco",
    "R-refcoco+",
    "R-refcocog",
    "fprefcoco",
    "fprefcoco+",
    "fprefcocog",
];

impl Benchmark {
    /// A dataset of [`REFER`] with the `split_by` that SESAME and READ evaluate on, if none is given.
    pub fn refer(data: PathBuf, dataset: &str, split_by: Option<String>, split: String) -> Self {
        let split_by = split_by.unwrap_or_else(|| default_split_by(dataset, Convention::Read).to_owned());
        Self::Refer { data, dataset: dataset.to_owned(), split_by, split }
    }

    /// The name that tables use.
    pub fn name(&self) -> String {
        match self {
            Self::Tabletop { split, .. } => format!("tabletop {split}"),
            Self::ReasonSeg { split, .. } => format!("reasonseg {split}"),
            Self::Refer { dataset, split_by, split, .. } => format!("{dataset} {split_by} {split}"),
        }
    }

    /// The families of its questions in the order of tables; empty where they come as they occur.
    pub fn families(&self) -> Vec<&'static str> {
        match self {
            Self::Tabletop { .. } => QuestionFamily::ALL.iter().map(|family| family.name()).collect(),
            Self::ReasonSeg { .. } => vec!["short", "long"],
            Self::Refer { .. } => vec!["true", "false"],
        }
    }

    /// Opens it, asking in the words of `questions`.
    ///
    /// # Errors
    /// A file that is missing or damaged, a split that is not there.
    pub fn open(&self, questions: QuestionTemplates) -> Result<Box<dyn ValidationDataset>, EvalError> {
        Ok(match self {
            Self::Tabletop { world_seed, split, count, questions } => {
                Box::new(TabletopItems::new(*world_seed, split, *count, *questions)?)
            }
            Self::ReasonSeg { data, split } => {
                Box::new(ReasonSegValidation::open(&self.name(), &data.join(split), questions)?)
            }
            Self::Refer { data, dataset, split_by, split } => {
                Box::new(ReferValidation::open(data, dataset, split_by, split, questions)?)
            }
        })
    }

    /// What on disk decides about it.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Tabletop { .. } => Vec::new(),
            Self::ReasonSeg { data, split } => vec![data.join(split)],
            Self::Refer { data, dataset, split_by, .. } => {
                let folder = data.join(dataset);
                vec![folder.join(format!("refs({split_by}).p")), folder.join("instances.json")]
            }
        }
    }

    /// A fingerprint of what on disk decides about it; none where nothing does.
    pub(crate) fn fingerprint(&self) -> Result<Option<String>, EvalError> {
        let paths = self.paths();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            return Ok(None);
        }
        Ok(Some(maskwise::data::fingerprint::of_paths(&paths)?))
    }
}

/// The first pictures of a split of the Tabletop world.
struct TabletopItems {
    world: World,
    count: usize,
}

impl TabletopItems {
    fn new(seed: u64, split: &str, count: usize, questions: QuestionWeights) -> Result<Self, EvalError> {
        let split: Split = split.parse().map_err(EvalError::Benchmark)?;
        let world = World::new(seed, split, SceneConfig::default())
            .map_err(|error| EvalError::Benchmark(error.to_string()))?;
        Ok(Self { world: world.with_questions(questions, 1), count })
    }
}

impl ValidationDataset for TabletopItems {
    fn name(&self) -> &str {
        "tabletop"
    }

    fn len(&self) -> usize {
        self.count
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        self.world.validation_item(index as u64)
    }
}
