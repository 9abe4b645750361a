//! refCLEF, RefCOCO, RefCOCO+, RefCOCOg, and their relatives with false premises: R-RefCOCO and FP-RefCOCO (spec 6.2).

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;

use super::composition::single;
use super::files::{LastPicture, check_size, decode, relative};
use super::{Asked, IndexCache, ValidationDataset, ValidationItem};
use super::{Composition, Convention, DatasetError, SampleRng, TrainingDataset, TrainingItem};
use crate::mask::Mask;
use crate::text::QuestionTemplates;
use files::Split;

/// The `splitBy` that a convention uses for a dataset: LISA the published splits, SESAME and READ splits without overlap between the
/// datasets.
pub fn default_split_by(dataset: &str, convention: Convention) -> &'static str {
    match (dataset, convention) {
        ("refclef", _) => "unc",
        ("refcocog", Convention::Lisa) => "umd",
        (_, Convention::Lisa) => "unc",
        ("refcocog" | "R-refcocog", Convention::Read) => "umd_exclude_unified",
        ("fprefcoco" | "fprefcoco+" | "fprefcocog", Convention::Read) => "berkeley_exclude_unified",
        (_, Convention::Read) => "unc_exclude_unified",
    }
}

/// Training on the referring expressions of one dataset.
///
/// Where polygons overlap the reference's masks hold 2; these are binary.
pub struct Refer {
    name: String,
    split: Split,
    composition: Arc<Composition>,
}

impl Refer {
    /// Opens a split of `root/dataset` (`refs(<split_by>).p` and `instances.json`); `root` is the folder `refer_seg`, with the
    /// pictures in `images/mscoco/images/train2014`, or `images/saiapr_tc-12` for `refclef`.
    ///
    /// # Errors
    /// A file that is missing, damaged or contradicts the other; a false premise under LISA's convention, which cannot answer one.
    pub fn open(
        root: &Path,
        dataset: &str,
        split_by: &str,
        split: &str,
        composition: Arc<Composition>,
    ) -> Result<Self, DatasetError> {
        let split = Split::open(root, dataset, split_by, split, &IndexCache::none())?;
        let mut sentences = split.images.iter().flat_map(|image| &image.sentences);
        if composition.convention == Convention::Lisa && sentences.any(|sentence| !sentence.exists) {
            let reason =
                format!("{dataset} has false premises, which the lisa convention cannot answer; use read");
            return Err(DatasetError::Config(reason));
        }
        Ok(Self { name: dataset.to_owned(), split, composition })
    }
}

impl TrainingDataset for Refer {
    fn name(&self) -> &str {
        &self.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let image = &self.split.images[rng.random_range(0..self.split.images.len())];
        let (width, height) = (image.width, image.height);
        let mut conversations = Vec::new();
        for index in self.composition.sample(rng, image.sentences.len()) {
            let sentence = &image.sentences[index];
            let lower = sentence.text.to_lowercase();
            let stripped = lower.trim();
            let asked = if self.composition.convention == Convention::Lisa { stripped } else { &lower };
            let question = self.composition.short_question(rng, asked);
            let (answer, mask) = match (sentence.exists, &sentence.ground_truth) {
                (true, _) => {
                    let target = self.split.target(image, sentence)?;
                    let data = target.iter().map(|&value| u8::from(value != 0)).collect();
                    (self.composition.short_answer(rng, stripped), Some(Mask { width, height, data }))
                }
                (false, Some(ground_truth)) => {
                    let ground_truth = ground_truth.trim().to_lowercase();
                    (self.composition.correction(rng, stripped, &ground_truth), None)
                }
                (false, None) => (self.composition.denial(rng, stripped), None),
            };
            conversations.push(single(question, answer, mask));
        }
        let id = format!("{}: {}", self.name, image.path.display());
        Ok(TrainingItem { id, image: decode(&image.path)?, conversations })
    }
}

/// Validation on all sentences of a split, those of an image one after the other.
///
/// The target of a false premise is empty; elsewhere it holds 2 and more where polygons overlap, as the reference's does. The family is
/// `true` or `false`, as the premise is.
pub struct ReferValidation {
    name: String,
    split: Split,
    /// Image and sentence of each item.
    items: Vec<(usize, usize)>,
    questions: QuestionTemplates,
    pictures: LastPicture,
    root: PathBuf,
}

impl ReferValidation {
    /// Opens a split as [`Refer::open`] does.
    ///
    /// # Errors
    /// As there.
    pub fn open(
        root: &Path,
        dataset: &str,
        split_by: &str,
        split: &str,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        let name = format!("{dataset}|{split_by}|{split}");
        let split = Split::open(root, dataset, split_by, split, cache)?;
        let images = split.images.iter().enumerate();
        let items =
            images.flat_map(|(image, at)| (0..at.sentences.len()).map(move |sentence| (image, sentence)));
        let items = items.collect();
        Ok(Self { name, items, split, questions, pictures: LastPicture::default(), root: root.to_owned() })
    }
}

impl ValidationDataset for ReferValidation {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn picture(&self, index: usize) -> usize {
        self.items[index].0
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let (image, sentence) = self.items[index];
        let image = &self.split.images[image];
        let sentence = &image.sentences[sentence];
        let picture = self.pictures.decode(&image.path)?;
        check_size(&picture, &image.path, (image.width, image.height), &self.split.instances)?;
        let phrase = sentence.text.to_lowercase().trim().to_owned();
        Ok(ValidationItem {
            id: format!("{}: {}", self.name, relative(&image.path, &self.root)),
            image: picture,
            file: Some(image.path.clone()),
            question: self.questions.short.fill(&phrase),
            answer: self.questions.answer.fill(&phrase),
            asked: Asked::Phrase(phrase),
            masks: 1,
            instances: Vec::new(),
            target: self.split.target(image, sentence)?,
            exists: sentence.exists,
            family: sentence.exists.to_string(),
        })
    }
}
