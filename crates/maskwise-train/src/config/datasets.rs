//! The datasets that a recipe names.

use super::{DataSection, DatasetKind, DatasetSection, ValidationSection};
use crate::TrainError;
use maskwise_data::dataset::{
    CORRECT_REFER_SEG, Composition, DatasetError, IndexCache, Instruct, JsonLines, JsonLinesValidation,
    Mixture, Muse, MuseValidation, NEG_REFER_SEG, REFER_SEG, ReasonSeg, ReasonSegValidation, ReferValidation,
    SEM_SEG, Templates, TrainingDataset, ValidationDataset, ValidationItem, default_split_by, refer_group,
    semantic_group,
};
use maskwise_data::tabletop::{FirstPictures, SceneConfig, Split, World};
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
            parts.push((dataset.open(self, &composition)?, dataset.rate));
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
                Box::new(ReferValidation::open(
                    &root,
                    subset,
                    split_by,
                    section.split(),
                    questions,
                    &IndexCache::none(),
                )?)
            }
            DatasetKind::Muse => {
                let (folder, cache) = (folder(&section.folder), IndexCache::none());
                Box::new(MuseValidation::open(folder, section.split(), questions, &cache)?)
            }
            DatasetKind::JsonLines => {
                let folder = folder(&section.folder);
                Box::new(JsonLinesValidation::open(
                    "json_lines",
                    folder,
                    section.split(),
                    questions,
                    &IndexCache::none(),
                )?)
            }
            DatasetKind::Tabletop => Box::new(section.tabletop()?),
            DatasetKind::SemSeg | DatasetKind::Vqa => {
                let reason = "`sem_seg` and `vqa` are not validated on; choose another kind";
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
    fn open(&self, data: &DataSection, composition: &Arc<Composition>) -> Result<Dataset, TrainError> {
        let root = folder(&self.folder);
        let refer = |name: &str, published: &[&str]| {
            refer_group(name, &root.join("refer_seg"), &self.members(published), composition)
        };
        Ok(match self.kind {
            DatasetKind::SemSeg => {
                Box::new(semantic_group("sem_seg", root, &self.members(&SEM_SEG), composition)?)
            }
            DatasetKind::ReferSeg => Box::new(refer("refer_seg", &REFER_SEG)?),
            DatasetKind::NegReferSeg => Box::new(refer("neg_refer_seg", &NEG_REFER_SEG)?),
            DatasetKind::CorrectReferSeg => Box::new(refer("correct_refer_seg", &CORRECT_REFER_SEG)?),
            DatasetKind::Vqa => {
                let file = root.join("llava_dataset/llava_instruct_150k.json");
                Box::new(Instruct::open("vqa", &file, &root.join("coco/train2017"))?)
            }
            DatasetKind::ReasonSeg => {
                let dataset = ReasonSeg::open("reason_seg", root, composition.clone())?;
                Box::new(match &self.explanations {
                    Some(file) => dataset.with_explanations(file, EXPLANATION_ONLY)?,
                    None => dataset,
                })
            }
            DatasetKind::Muse => Box::new(Muse::open(root, "train", composition.clone())?),
            DatasetKind::JsonLines => {
                Box::new(JsonLines::open("json_lines", root, "train", composition.clone())?)
            }
            DatasetKind::Tabletop => {
                let world = world(self.world_seed, Split::Train, self.size)?;
                Box::new(
                    world.with_questions(self.questions.unwrap_or_default(), data.num_classes_per_sample),
                )
            }
        })
    }

    /// The sets that are named, or those of the papers.
    fn members<'a>(&'a self, published: &[&'a str]) -> Vec<&'a str> {
        if self.subsets.is_empty() {
            return published.to_vec();
        }
        self.subsets.iter().map(String::as_str).collect()
    }
}

fn world(seed: u64, split: Split, size: usize) -> Result<World, TrainError> {
    let scenes = SceneConfig { size, ..SceneConfig::default() };
    World::new(seed, split, scenes).map_err(|error| TrainError::setting("data: tabletop", error.to_string()))
}

impl ValidationSection {
    fn split(&self) -> &str {
        self.split.as_deref().unwrap_or("val")
    }

    fn tabletop(&self) -> Result<FirstPictures, TrainError> {
        let name = self.split.as_deref().unwrap_or(Split::Validation.name());
        let split =
            name.parse().map_err(|reason: String| TrainError::setting("data.validation.split", reason))?;
        let count = self.limit.ok_or_else(|| {
            TrainError::setting("data.validation.limit", "is missing; the Tabletop world has no end")
        })?;
        Ok(FirstPictures::new(world(self.world_seed, split, self.size)?, count))
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
