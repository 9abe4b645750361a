//! What a model is measured on.

use crate::EvalError;
use maskwise::data::dataset::{
    CocoInstances, Convention, IndexCache, InstructValidation, JsonLinesValidation, LabelMeFolder,
    MuseValidation, ReasonSegValidation, ReferValidation, ValidationDataset, default_split_by,
    semantic_sources, semantic_validation,
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
    /// MUSE: questions with several targets each.
    Muse {
        /// The folder that holds `muse_<split>.json` and the pictures of COCO.
        data: PathBuf,
        /// `train`, `val`, `test_less`, `test_many`.
        split: String,
    },
    /// A dataset of classes that LISA and its successors train on.
    Semantic {
        /// The folder that holds all of them, the reference's `dataset_dir`.
        data: PathBuf,
        /// One of [`SEM_SEG`](maskwise::data::dataset::SEM_SEG).
        dataset: String,
    },
    /// LLaVA-Instruct-150k: conversations that ask for no mask.
    Instruct {
        /// The folder that holds `llava_dataset` and `coco`, the reference's `dataset_dir`.
        data: PathBuf,
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

/// Where the conversations of LLaVA-Instruct lie.
const INSTRUCT: &str = "llava_dataset/llava_instruct_150k.json";

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
            Self::Muse { split, .. } => format!("muse {split}"),
            Self::Semantic { dataset, .. } => dataset.clone(),
            Self::Instruct { .. } => "llava-instruct".to_owned(),
        }
    }

    /// The families of its questions in the order of tables; empty where they come as they occur.
    pub fn families(&self) -> Vec<&'static str> {
        match self {
            Self::Tabletop { .. } => QuestionFamily::ALL.iter().map(|family| family.name()).collect(),
            Self::ReasonSeg { .. } => vec!["short", "long"],
            Self::JsonLines { .. }
            | Self::Coco { .. }
            | Self::LabelMe { .. }
            | Self::Muse { .. }
            | Self::Semantic { .. }
            | Self::Instruct { .. } => Vec::new(),
            Self::Refer { .. } => vec!["true", "false"],
        }
    }

    /// Opens it, asking in the words of `questions`; by the index in `cache` where one is kept.
    ///
    /// # Errors
    /// A file that is missing or damaged, a split that is not there.
    pub fn open(
        &self,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Box<dyn ValidationDataset>, EvalError> {
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
                Box::new(JsonLinesValidation::open(&self.name(), data, split, questions, cache)?)
            }
            Self::Coco { data, images } => {
                Box::new(CocoInstances::open(&self.name(), data, images, questions, cache)?)
            }
            Self::LabelMe { data } => Box::new(LabelMeFolder::open(&self.name(), data, questions)?),
            Self::Refer { data, dataset, split_by, split } => {
                Box::new(ReferValidation::open(data, dataset, split_by, split, questions, cache)?)
            }
            Self::Muse { data, split } => Box::new(MuseValidation::open(data, split, questions, cache)?),
            Self::Semantic { data, dataset } => semantic_validation(dataset, data, questions, cache)?,
            Self::Instruct { data } => {
                let file = data.join(INSTRUCT);
                Box::new(InstructValidation::open(&self.name(), &file, &data.join("coco/train2017"), cache)?)
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
            Self::Muse { .. } => Some(
                "MUSE is linked in the README of github.com/MaverickRen/PixelLM, the pictures (train2014, train2017, val2017) are at \
                 cocodataset.org",
            ),
            Self::Instruct { .. } => Some(
                "llava_instruct_150k.json is at huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K, the pictures (train2017) are at \
                 cocodataset.org",
            ),
            Self::Semantic { dataset, .. } => Some(match dataset.as_str() {
                "ade20k" => {
                    "ADE20K (the scene parsing challenge of 2016) is at groups.csail.mit.edu/vision/datasets/ADE20K, the names of its classes \
                     (ade20k_classes.json) are in github.com/dvlab-research/LISA"
                }
                "cocostuff" => {
                    "COCO-Stuff's label maps are at github.com/nightrome/cocostuff, the names of its classes (cocostuff_classes.txt) in \
                     github.com/dvlab-research/LISA, the pictures (train2017) at cocodataset.org"
                }
                "mapillary" => "Mapillary Vistas 2.0 is at mapillary.com/dataset/vistas",
                "paco_lvis" => {
                    "PACO-LVIS is at github.com/facebookresearch/paco, the pictures (train2017) are at cocodataset.org"
                }
                _ => {
                    "PASCAL-Part in COCO's format (train.json) is linked in github.com/facebookresearch/VLPart, the pictures (VOC2010) are at \
                     host.robots.ox.ac.uk/pascal/VOC"
                }
            }),
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
            Self::ReasonSeg { data, .. }
            | Self::JsonLines { data, .. }
            | Self::Refer { data, .. }
            | Self::Muse { data, .. }
            | Self::Semantic { data, .. }
            | Self::Instruct { data }
            | Self::LabelMe { data } => data.clear(),
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
            Self::Muse { data, split } => vec![MuseValidation::file(data, split)],
            Self::Semantic { data, dataset } => semantic_sources(dataset, data)?,
            Self::Instruct { data } => vec![data.join(INSTRUCT)],
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
