//! The datasets that a recipe names.

use super::{DataSection, DatasetKind, DatasetSection, ValidationSection};
use crate::TrainError;
use maskwise_data::dataset::{
    Composition, DatasetError, Instruct, LabelMaps, Mixture, PartInstances, ReasonSeg, ReasonSegValidation,
    Refer, ReferValidation, Templates, TrainingDataset, ValidationDataset, ValidationItem, default_split_by,
};
use maskwise_data::tabletop::{QuestionWeights, SceneConfig, Split, World};
use maskwise_data::text::QuestionTemplates;
use std::path::Path;
use std::sync::Arc;

/// Share of LISA's explained items that are answered by the text alone (spec 6.3).
const EXPLANATION_ONLY: f64 = 0.1;

type Dataset = Box<dyn TrainingDataset>;

impl DataSection {
    /// Opens the datasets and mixes them by their rates; the subsets of one have equal rates.
    ///
    /// # Errors
    /// When a file or folder is missing or damaged, or templates lack what the convention needs.
    pub fn mixture(&self) -> Result<Mixture, TrainError> {
        let templates = self.templates.as_deref().map(Templates::read).transpose()?;
        let composition =
            Arc::new(Composition::new(self.convention, templates, self.num_classes_per_sample)?);
        let mut parts: Vec<(Dataset, f64)> = Vec::new();
        for dataset in &self.datasets {
            let subsets = dataset.open(self, &composition)?;
            let rate = dataset.rate / subsets.len() as f64;
            parts.extend(subsets.into_iter().map(|subset| (subset, rate)));
        }
        Ok(Mixture::new("data.datasets", parts)?)
    }

    /// Opens the validation set with the questions that the model is asked by; none where the recipe has none.
    ///
    /// # Errors
    /// When a file or folder is missing or damaged.
    pub fn open_validation(
        &self,
        questions: QuestionTemplates,
    ) -> Result<Option<Box<dyn ValidationDataset>>, TrainError> {
        let Some(section) = &self.validation else { return Ok(None) };
        let all: Box<dyn ValidationDataset> = match section.kind {
            DatasetKind::ReasonSeg => {
                Box::new(ReasonSegValidation::open("reason_seg", folder(&section.folder), questions)?)
            }
            DatasetKind::ReferSeg | DatasetKind::NegReferSeg | DatasetKind::CorrectReferSeg => {
                let subset = section.subset.as_deref().unwrap_or_default();
                let split_by = default_split_by(subset, self.convention);
                let root = folder(&section.folder).join("refer_seg");
                Box::new(ReferValidation::open(&root, subset, split_by, section.split(), questions)?)
            }
            DatasetKind::Tabletop => Box::new(section.tabletop()?),
            DatasetKind::SemSeg | DatasetKind::Vqa => {
                let reason = "`sem_seg` and `vqa` have no questions to validate with; choose another kind";
                return Err(TrainError::setting("data.validation.kind", reason));
            }
        };
        let count = section.limit.map_or(all.len(), |limit| limit.min(all.len()));
        Ok(Some(Box::new(First { all, count })))
    }
}

/// What [`super::check`] has found to be there.
fn folder(folder: &Option<std::path::PathBuf>) -> &Path {
    folder.as_deref().unwrap_or(Path::new("."))
}

impl DatasetSection {
    fn open(&self, data: &DataSection, composition: &Arc<Composition>) -> Result<Vec<Dataset>, TrainError> {
        let root = folder(&self.folder);
        Ok(match self.kind {
            DatasetKind::SemSeg => {
                let open = |name: &str| open_semantic(name, root, composition.clone());
                self.each(&["ade20k", "cocostuff", "pascal_part", "paco_lvis", "mapillary"], open)?
            }
            DatasetKind::ReferSeg => self.each(&["refclef", "refcoco", "refcoco+", "refcocog"], |name| {
                self.refer(name, data, composition)
            })?,
            DatasetKind::NegReferSeg => self.each(&["R-refcoco", "R-refcoco+", "R-refcocog"], |name| {
                self.refer(name, data, composition)
            })?,
            DatasetKind::CorrectReferSeg => self
                .each(&["fprefcoco", "fprefcoco+", "fprefcocog"], |name| {
                    self.refer(name, data, composition)
                })?,
            DatasetKind::Vqa => {
                let file = root.join("llava_dataset/llava_instruct_150k.json");
                vec![Box::new(Instruct::open("vqa", &file, &root.join("coco/train2017"))?)]
            }
            DatasetKind::ReasonSeg => {
                let dataset = ReasonSeg::open("reason_seg", root, composition.clone())?;
                vec![Box::new(match &self.explanations {
                    Some(file) => dataset.with_explanations(file, EXPLANATION_ONLY)?,
                    None => dataset,
                })]
            }
            DatasetKind::Tabletop => {
                let world = world(self.world_seed, Split::Train, self.size)?;
                vec![Box::new(world.with_questions(QuestionWeights::default(), data.num_classes_per_sample))]
            }
        })
    }

    /// The named subsets, or those of the papers.
    fn each(
        &self,
        published: &[&str],
        open: impl Fn(&str) -> Result<Dataset, TrainError>,
    ) -> Result<Vec<Dataset>, TrainError> {
        if self.subsets.is_empty() {
            return published.iter().map(|name| open(name)).collect();
        }
        self.subsets.iter().map(|name| open(name)).collect()
    }

    fn refer(
        &self,
        name: &str,
        data: &DataSection,
        composition: &Arc<Composition>,
    ) -> Result<Dataset, TrainError> {
        let root = folder(&self.folder).join("refer_seg");
        let split_by = default_split_by(name, data.convention);
        Ok(Box::new(Refer::open(&root, name, split_by, "train", composition.clone())?))
    }
}

fn open_semantic(name: &str, root: &Path, composition: Arc<Composition>) -> Result<Dataset, TrainError> {
    Ok(match name {
        "ade20k" => Box::new(LabelMaps::ade20k(root, composition)?),
        "cocostuff" => Box::new(LabelMaps::cocostuff(root, composition)?),
        "mapillary" => Box::new(LabelMaps::mapillary(root, composition)?),
        "paco_lvis" => Box::new(PartInstances::paco_lvis(root, composition)?),
        "pascal_part" => Box::new(PartInstances::pascal_part(root, composition)?),
        _ => {
            let known = "ade20k, cocostuff, pascal_part, paco_lvis and mapillary";
            let reason = format!("`{name}` is no semantic set; known are {known}");
            return Err(TrainError::setting("data.datasets.subsets", reason));
        }
    })
}

fn world(seed: u64, split: Split, size: usize) -> Result<World, TrainError> {
    let scenes = SceneConfig { size, ..SceneConfig::default() };
    World::new(seed, split, scenes).map_err(|error| TrainError::setting("data: tabletop", error.to_string()))
}

impl ValidationSection {
    fn split(&self) -> &str {
        self.split.as_deref().unwrap_or("val")
    }

    fn tabletop(&self) -> Result<TabletopItems, TrainError> {
        let name = self.split.as_deref().unwrap_or(Split::Validation.name());
        let split =
            name.parse().map_err(|reason: String| TrainError::setting("data.validation.split", reason))?;
        let count = self.limit.ok_or_else(|| {
            TrainError::setting("data.validation.limit", "is missing; the Tabletop world has no end")
        })?;
        Ok(TabletopItems { world: world(self.world_seed, split, self.size)?, count })
    }
}

/// The first pictures of a split of the Tabletop world.
struct TabletopItems {
    world: World,
    count: usize,
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

/// The first items of a dataset.
struct First {
    all: Box<dyn ValidationDataset>,
    count: usize,
}

impl ValidationDataset for First {
    fn name(&self) -> &str {
        self.all.name()
    }

    fn len(&self) -> usize {
        self.count
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        self.all.item(index)
    }
}
