//! ReasonSeg, and any folder of pictures with LabelMe files that hold a question (spec 6.3).

mod annotation;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use serde::Deserialize;

use super::composition::single;
use super::files::{decode, has_extension, list, read_json, unreadable};
use super::{Asked, ValidationDataset, ValidationItem};
use super::{Composition, DatasetError, SampleRng, TrainingConversation, TrainingDataset, TrainingItem};
use crate::mask::Mask;
use crate::text::QuestionTemplates;
use annotation::Annotation;

/// Share of items that ask for what is not there, under the read convention.
const FALSE_PREMISES: f64 = 0.15;
/// Endings of the pictures that a folder may hold; ReasonSeg has `.jpg`.
const PICTURES: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "tif"];

/// A folder of pictures, each with a JSON of the same name.
struct Folder {
    name: String,
    images: Vec<PathBuf>,
}

impl Folder {
    fn open(name: &str, folder: &Path) -> Result<Self, DatasetError> {
        let files = list(folder)?;
        let known: HashSet<&PathBuf> = files.iter().collect();
        let images: Vec<PathBuf> =
            files.iter().filter(|path| has_extension(path, &PICTURES)).cloned().collect();
        if images.is_empty() {
            return Err(unreadable(folder, "it has no pictures (jpg, jpeg, png, webp, bmp, tif)"));
        }
        if let Some(lonely) = images.iter().find(|image| !known.contains(&image.with_extension("json"))) {
            let json = lonely.with_extension("json");
            let json = json.file_name().unwrap_or_default().display();
            return Err(unreadable(
                lonely,
                format!("it has no annotation; put {json} beside it, as LabelMe saves it"),
            ));
        }
        Ok(Self { name: name.to_owned(), images })
    }
}

/// Training on a folder of ReasonSeg's layout.
///
/// Under the read convention, 15 % of the items take the questions and answers of `false_premise_QA`, from those images whose JSON has
/// it; the reference wants it everywhere.
pub struct ReasonSeg {
    folder: Folder,
    composition: Arc<Composition>,
    explanations: HashMap<String, String>,
    explanation_only: f64,
}

/// An entry of `explanatory/train.json`.
#[derive(Deserialize)]
struct Explanation {
    image: String,
    outputs: String,
}

/// What an item of LISA's explained images asks for.
#[derive(Clone, Copy)]
enum Explained<'a> {
    /// The mask alone, as for all other images.
    No,
    /// The mask, then this text.
    WithMask(&'a str),
    /// This text alone.
    TextOnly(&'a str),
}

impl ReasonSeg {
    /// Opens a folder; its pictures are listed, but none is read.
    ///
    /// # Errors
    /// A missing or empty folder, a picture without its JSON.
    pub fn open(name: &str, folder: &Path, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        let folder = Folder::open(name, folder)?;
        Ok(Self { folder, composition, explanations: HashMap::new(), explanation_only: 0.0 })
    }

    /// Adds LISA's explanations (`explanatory/train.json`). Of the items whose image has one, this share is answered by the text
    /// alone (0.1 in the reference); half of the others by mask and text.
    ///
    /// # Errors
    /// A file that cannot be read, or a share outside of 0 to 1.
    pub fn with_explanations(mut self, file: &Path, text_only: f64) -> Result<Self, DatasetError> {
        if !(0.0..=1.0).contains(&text_only) {
            return Err(DatasetError::Config(format!(
                "explanatory is {text_only}; it is a share between 0 and 1"
            )));
        }
        let explanations: Vec<Explanation> = read_json(file)?;
        self.explanations = explanations.into_iter().map(|entry| (entry.image, entry.outputs)).collect();
        self.explanation_only = text_only;
        Ok(self)
    }

    fn explained(&self, rng: &mut SampleRng, image: &Path) -> Explained<'_> {
        let name = image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(text) = self.explanations.get(name) else { return Explained::No };
        if rng.random_bool(self.explanation_only) {
            Explained::TextOnly(text)
        } else if rng.random_bool(0.5) {
            Explained::WithMask(text)
        } else {
            Explained::No
        }
    }

    fn question(&self, rng: &mut SampleRng, text: &str, is_sentence: bool) -> String {
        match is_sentence {
            true => self.composition.long_question(rng, text),
            false => self.composition.short_question(rng, text),
        }
    }

    fn false_conversations(&self, rng: &mut SampleRng, annotation: &Annotation) -> Vec<TrainingConversation> {
        let rows = annotation.texts.len().min(self.composition.rows);
        let chosen = self.composition.sample(rng, annotation.false_premises.len());
        let mut conversations = Vec::new();
        for index in chosen.into_iter().take(rows) {
            let (text, is_sentence, answer) = &annotation.false_premises[index];
            conversations.push(single(self.question(rng, text, *is_sentence), answer.clone(), None));
        }
        conversations
    }

    fn conversations(
        &self,
        rng: &mut SampleRng,
        annotation: &Annotation,
        mask: &Mask,
        explained: Explained<'_>,
    ) -> Vec<TrainingConversation> {
        let mut conversations = Vec::new();
        for index in self.composition.sample(rng, annotation.texts.len()) {
            let text = &annotation.texts[index];
            conversations.push(match explained {
                Explained::TextOnly(explanation) => single(text.clone(), explanation.to_owned(), None),
                Explained::WithMask(explanation) => {
                    let question = format!("{text} {}", self.composition.explanation_request(rng));
                    let answer = format!("{} {explanation}", self.composition.long_answer(rng));
                    single(question, answer, Some(mask.clone()))
                }
                Explained::No => {
                    let text = if annotation.is_sentence { text.clone() } else { text.to_lowercase() };
                    let question = self.question(rng, &text, annotation.is_sentence);
                    single(question, self.composition.long_answer(rng), Some(mask.clone()))
                }
            });
        }
        conversations
    }
}

impl TrainingDataset for ReasonSeg {
    fn name(&self) -> &str {
        &self.folder.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let path = &self.folder.images[rng.random_range(0..self.folder.images.len())];
        let json = path.with_extension("json");
        let annotation = Annotation::read(&json)?;
        let false_premise = self.composition.false_premise(rng, FALSE_PREMISES);
        let image = decode(path)?;
        let conversations = if false_premise && !annotation.false_premises.is_empty() {
            self.false_conversations(rng, &annotation)
        } else {
            let (width, height) = (image.width() as usize, image.height() as usize);
            let target = annotation.target(&json, width, height)?;
            let data = target.iter().map(|&value| u8::from(value == 1)).collect();
            let explained = self.explained(rng, path);
            self.conversations(rng, &annotation, &Mask { width, height, data }, explained)
        };
        Ok(TrainingItem { id: format!("{}: {}", self.folder.name, path.display()), image, conversations })
    }
}

/// Validation on a folder of ReasonSeg's layout: the first text of each image, in the order of file names.
///
/// The family is `short` or `long`, as in the paper's tables.
pub struct ReasonSegValidation {
    folder: Folder,
    questions: QuestionTemplates,
}

impl ReasonSegValidation {
    /// Opens a folder as [`ReasonSeg::open`] does.
    ///
    /// # Errors
    /// As there.
    pub fn open(name: &str, folder: &Path, questions: QuestionTemplates) -> Result<Self, DatasetError> {
        Ok(Self { folder: Folder::open(name, folder)?, questions })
    }
}

impl ValidationDataset for ReasonSegValidation {
    fn name(&self) -> &str {
        &self.folder.name
    }

    fn len(&self) -> usize {
        self.folder.images.len()
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let path = &self.folder.images[index];
        let json = path.with_extension("json");
        let annotation = Annotation::read(&json)?;
        let image = decode(path)?;
        let target = annotation.target(&json, image.width() as usize, image.height() as usize)?;
        let text = &annotation.texts[0];
        let (question, asked, family) = match annotation.is_sentence {
            true => (self.questions.long.fill(text), Asked::Sentence(text.clone()), "long"),
            false => {
                let phrase = text.to_lowercase();
                (self.questions.short.fill(&phrase), Asked::Phrase(phrase), "short")
            }
        };
        let file = path.file_name().unwrap_or_default().display();
        Ok(ValidationItem {
            id: format!("{}: {file}", self.folder.name),
            image: Arc::new(image),
            file: Some(path.clone()),
            question,
            asked,
            masks: 1,
            instances: Vec::new(),
            answer: self.questions.answer.0.clone(),
            target,
            exists: true,
            family: family.to_owned(),
        })
    }
}
