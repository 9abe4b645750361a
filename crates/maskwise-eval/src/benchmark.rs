//! What a model is measured on.

use crate::EvalError;
use maskwise::data::dataset::{
    CocoInstances, Convention, JsonLinesValidation, LabelMeFolder, ReasonSegValidation, ReferValidation,
    ValidationDataset, default_split_by,
};
use maskwise::data::text::QuestionTemplates;
use maskwise::tabletop::{FirstPictures, QuestionFamily, QuestionWeights, SceneConfig, Split, World};
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
    /// A dataset in our own layout.
    JsonLines {
        /// The folder that holds `<split>.jsonl`.
        data: PathBuf,
        /// The split.
        split: String,
    },
    /// Each category of each picture of a COCO annotation file.
    Coco {
        /// The annotation file.
        data: PathBuf,
        /// The folder of its pictures.
        images: PathBuf,
    },
    /// Each label of each picture of a folder annotated with LabelMe.
    #[serde(rename = "labelme")]
    LabelMe {
        /// The folder.
        data: PathBuf,
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
            Self::JsonLines { data, split } => format!("{} {split}", last(data)),
            Self::Coco { data, .. } | Self::LabelMe { data } => last(data),
            Self::Refer { dataset, split_by, split, .. } => format!("{dataset} {split_by} {split}"),
        }
    }

    /// The families of its questions in the order of tables; empty where they come as they occur.
    pub fn families(&self) -> Vec<&'static str> {
        match self {
            Self::Tabletop { .. } => QuestionFamily::ALL.iter().map(|family| family.name()).collect(),
            Self::ReasonSeg { .. } => vec!["short", "long"],
            Self::JsonLines { .. } | Self::Coco { .. } | Self::LabelMe { .. } => Vec::new(),
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
                let split: Split = split.parse().map_err(EvalError::Benchmark)?;
                let world = World::new(*world_seed, split, SceneConfig::default())
                    .map_err(|error| EvalError::Benchmark(error.to_string()))?;
                Box::new(FirstPictures::new(world.with_questions(*questions, 1), *count))
            }
            Self::ReasonSeg { data, split } => {
                Box::new(ReasonSegValidation::open(&self.name(), &data.join(split), questions)?)
            }
            Self::JsonLines { data, split } => {
                Box::new(JsonLinesValidation::open(&self.name(), data, split, questions)?)
            }
            Self::Coco { data, images } => {
                Box::new(CocoInstances::open(&self.name(), data, images, questions)?)
            }
            Self::LabelMe { data } => Box::new(LabelMeFolder::open(&self.name(), data, questions)?),
            Self::Refer { data, dataset, split_by, split } => {
                Box::new(ReferValidation::open(data, dataset, split_by, split, questions)?)
            }
        })
    }

    /// Where its files are officially obtained; none where they are a person's own.
    pub fn origin(&self) -> Option<&'static str> {
        match self {
            Self::Tabletop { .. } | Self::JsonLines { .. } | Self::LabelMe { .. } => None,
            Self::ReasonSeg { .. } => Some(
                "ReasonSeg is linked in the README of github.com/dvlab-research/LISA; the one with false premises in that of \
                 github.com/see-say-segment/sesame",
            ),
            Self::Coco { .. } => Some("COCO's annotations and pictures are at cocodataset.org"),
            Self::Refer { dataset, .. } => Some(match dataset.as_str() {
                "refclef" | "refcoco" | "refcoco+" | "refcocog" => {
                    "refs(unc).p, refs(umd).p and instances.json come from github.com/lichengunc/refer, the splits *_exclude_unified from \
                     github.com/see-say-segment/sesame, the pictures (train2014, saiapr_tc-12) from cocodataset.org and imageclef.org"
                }
                "R-refcoco" | "R-refcoco+" | "R-refcocog" => {
                    "R-RefCOCO comes from github.com/jianzongwu/robust-ref-seg, the splits *_exclude_unified from \
                     github.com/see-say-segment/sesame, the pictures (train2014) from cocodataset.org"
                }
                _ => {
                    "FP-RefCOCO comes from github.com/see-say-segment/sesame, the pictures (train2014) from cocodataset.org"
                }
            }),
        }
    }

    /// Leaves out where its files lie.
    pub(crate) fn forget_place(&mut self) {
        match self {
            Self::Tabletop { .. } => {}
            Self::Coco { data, images } => {
                data.clear();
                images.clear();
            }
            Self::ReasonSeg { data, .. } | Self::JsonLines { data, .. } | Self::Refer { data, .. } => {
                data.clear()
            }
            Self::LabelMe { data } => data.clear(),
        }
    }

    /// What on disk decides about it, apart from pictures that an annotation file names.
    fn paths(&self) -> Result<Vec<PathBuf>, EvalError> {
        Ok(match self {
            Self::Tabletop { .. } => Vec::new(),
            Self::ReasonSeg { data, split } => vec![data.join(split)],
            Self::JsonLines { data, split } => vec![data.join(format!("{split}.jsonl"))],
            Self::Coco { data, .. } => vec![data.clone()],
            Self::LabelMe { data } => LabelMeFolder::files(data)?,
            Self::Refer { data, dataset, split_by, .. } => {
                let folder = data.join(dataset);
                vec![folder.join(format!("refs({split_by}).p")), folder.join("instances.json")]
            }
        })
    }

    /// A fingerprint of what on disk decides about it; none where nothing does.
    pub(crate) fn fingerprint(&self) -> Result<Option<String>, EvalError> {
        let paths = self.paths()?;
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            return Ok(None);
        }
        Ok(Some(maskwise::data::fingerprint::of_paths(&paths)?))
    }
}

/// The last part of a path, which is the same on every machine.
fn last(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
