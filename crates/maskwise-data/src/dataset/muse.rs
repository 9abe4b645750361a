//! MUSE: questions whose answers have several targets (specification of PixelLM, section 6).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::Deserialize;

use super::coco::Segmentation;
use super::files::{LastPicture, check_size, decode, relative, unreadable};
use super::index::{Span, list_entries};
use super::{Asked, IndexCache, ValidationDataset, ValidationItem};
use super::{Composition, DatasetError, SampleRng, TrainingConversation, TrainingDataset, TrainingItem};
use crate::mask::Mask;
use crate::text::QuestionTemplates;

/// An entry: a picture and all that is asked about it.
#[derive(Deserialize)]
struct Entry {
    file_name: Option<String>,
    coco_url: Option<String>,
    height: usize,
    width: usize,
    #[serde(default)]
    questions: Vec<String>,
    #[serde(default)]
    answers: Vec<Vec<Annotation>>,
    #[serde(default)]
    text_answers: Vec<Option<String>>,
}

#[derive(Deserialize)]
struct Annotation {
    category_name: String,
    rephrased_name: Option<String>,
    segmentation: Segmentation,
}

impl Annotation {
    /// What GPT called it, or its category.
    fn name(&self) -> &str {
        self.rephrased_name.as_deref().unwrap_or(&self.category_name)
    }
}

/// What opening a file needs of an entry: how many questions it has. One without annotations is left out, as in the reference.
#[derive(Deserialize)]
struct Brief {
    #[serde(default)]
    ann_list: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    questions: Vec<serde::de::IgnoredAny>,
}

/// The pictures of a file, read one by one.
struct Entries {
    root: PathBuf,
    file: PathBuf,
    /// Place and number of questions of each entry that has any; one for an entry that is none.
    places: Vec<(Span, usize)>,
}

impl Entries {
    fn open(root: &Path, split: &str, cache: &IndexCache) -> Result<Self, DatasetError> {
        let file = MuseValidation::file(root, split);
        let places: Vec<(Span, usize)> = cache.open("muse", &[&file], || {
            let questions = |value: &str| match serde_json::from_str::<Brief>(value) {
                Ok(Brief { ann_list, .. }) if ann_list.is_empty() => 0,
                Ok(Brief { questions, .. }) => questions.len(),
                Err(_) => 1,
            };
            let mut entries = list_entries(&file, |_, value| Ok(questions(value.get())))?;
            entries.retain(|(_, questions)| *questions > 0);
            Ok(entries)
        })?;
        if places.is_empty() {
            return Err(unreadable(&file, "it has no questions"));
        }
        Ok(Self { root: root.to_owned(), file, places })
    }

    fn entry(&self, number: usize) -> Result<Entry, DatasetError> {
        let text = self.places[number].0.read(&self.file)?;
        serde_json::from_slice(&text).map_err(|error| self.wrong(number, error.to_string()))
    }

    fn wrong(&self, number: usize, reason: impl std::fmt::Display) -> DatasetError {
        unreadable(&self.file, format!("entry {number} of those with questions: {reason}"))
    }

    /// The picture of an entry: of COCO's 2014 training set by its name, of 2017's sets by its address.
    fn picture(&self, number: usize, entry: &Entry) -> Result<PathBuf, DatasetError> {
        if let Some(name) = &entry.file_name {
            return Ok(self.root.join("refer_seg/images/mscoco/images/train2014").join(name));
        }
        let Some(url) = &entry.coco_url else {
            return Err(self.wrong(number, "it has neither `file_name` nor `coco_url`"));
        };
        let folder = if url.contains("train2017") { "coco/train2017" } else { "coco/val2017" };
        Ok(self.root.join(folder).join(url.rsplit('/').next().unwrap_or_default()))
    }

    /// The targets of a question: how many parts of each cover each pixel, since the reference adds them up.
    fn targets(&self, number: usize, entry: &Entry, question: usize) -> Result<Vec<Vec<u8>>, DatasetError> {
        let answers = self.answers(number, entry, question)?;
        let target = |annotation: &Annotation| {
            annotation.segmentation.sum(entry.height, entry.width).map_err(|error| {
                self.wrong(number, format_args!("question {question}: {:?}: {error}", annotation.name()))
            })
        };
        answers.iter().map(target).collect()
    }

    fn answers<'a>(
        &self,
        number: usize,
        entry: &'a Entry,
        question: usize,
    ) -> Result<&'a [Annotation], DatasetError> {
        match entry.answers.get(question) {
            Some(answers) if !answers.is_empty() => Ok(answers),
            _ => Err(self.wrong(number, format_args!("question {question} has no answer"))),
        }
    }

    /// The answer that the file has for a question, with a `[SEG]` for each target; none where it has names alone.
    fn text_answer(
        &self,
        number: usize,
        entry: &Entry,
        question: usize,
    ) -> Result<Option<String>, DatasetError> {
        let Some(Some(text)) = entry.text_answers.get(question) else { return Ok(None) };
        let (found, wanted) = (text.matches("{seg}").count(), self.answers(number, entry, question)?.len());
        if found != wanted {
            let reason =
                format!("question {question}: its text has {found} {{seg}}, but there are {wanted} targets");
            return Err(self.wrong(number, reason));
        }
        Ok(Some(text.replace("{seg}", "[SEG]")))
    }

    fn id(&self, picture: &Path) -> String {
        format!("muse: {}", relative(picture, &self.root))
    }
}

/// `a, b and c`.
fn joined(texts: &[String]) -> String {
    match texts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `a is [SEG], b is [SEG] and c is [SEG].`
fn each_named(names: &[String]) -> String {
    let parts: Vec<String> = names.iter().map(|name| format!("{name} is [SEG]")).collect();
    format!("{}.", joined(&parts))
}

/// Answers that name all targets before their masks; each also with `, separately`.
const TOGETHER: [&str; 4] = [
    "{class_name} are {seg}",
    "Sure, {class_name} are {seg}",
    "the segmentation result of {class_name} are {seg}",
    "Sure, the segmentation result of {class_name} are {seg}",
];

/// Share of targets that are called by what GPT named them.
const REPHRASED: f64 = 0.9;

/// Training on MUSE: a picture, and up to `num_classes_per_sample` of its questions.
pub struct Muse {
    entries: Entries,
    composition: Arc<Composition>,
}

impl Muse {
    /// Opens `muse_<split>.json` below `root`; the pictures are in `coco/train2017`, `coco/val2017` and
    /// `refer_seg/images/mscoco/images/train2014` there.
    ///
    /// # Errors
    /// A file that is missing, no list, or without questions.
    pub fn open(root: &Path, split: &str, composition: Arc<Composition>) -> Result<Self, DatasetError> {
        Ok(Self { entries: Entries::open(root, split, &IndexCache::none())?, composition })
    }

    fn answer(&self, rng: &mut SampleRng, answers: &[Annotation]) -> String {
        let mut names = Vec::with_capacity(answers.len());
        for annotation in answers {
            let rephrased = annotation.rephrased_name.as_deref().filter(|_| rng.random_bool(REPHRASED));
            names.push(rephrased.unwrap_or(&annotation.category_name).to_owned());
        }
        if rng.random_bool(0.5) {
            return each_named(&names);
        }
        let pattern = TOGETHER.choose(rng).map_or("", |pattern| pattern);
        let separately = if rng.random_bool(0.5) { ", separately" } else { "" };
        let segs = joined(&vec!["[SEG]".to_owned(); names.len()]);
        let (before, after) = pattern.split_once("{class_name}").unwrap_or((pattern, ""));
        format!("{before}{}{}{separately}.", names.join(", ").to_lowercase(), after.replace("{seg}", &segs))
    }
}

impl TrainingDataset for Muse {
    fn name(&self) -> &str {
        "muse"
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let number = rng.random_range(0..self.entries.places.len());
        let entry = self.entries.entry(number)?;
        let picture = self.entries.picture(number, &entry)?;
        let image = decode(&picture)?;
        check_size(&image, &picture, (entry.width, entry.height), &self.entries.file)?;
        let mut conversations = Vec::new();
        for question in self.composition.sample(rng, entry.questions.len()) {
            let answer = match self.entries.text_answer(number, &entry, question)? {
                Some(text) => text,
                None => self.answer(rng, self.entries.answers(number, &entry, question)?),
            };
            let targets = self.entries.targets(number, &entry, question)?.into_iter();
            let mask = |target: Vec<u8>| Mask {
                width: entry.width,
                height: entry.height,
                data: target.into_iter().map(|count| u8::from(count != 0)).collect(),
            };
            let asked = self.composition.long_question(rng, &entry.questions[question]);
            conversations.push(TrainingConversation {
                rounds: vec![(asked, answer)],
                masks: targets.map(mask).collect(),
            });
        }
        Ok(TrainingItem { id: self.entries.id(&picture), image, conversations })
    }
}

/// Validation on all questions of MUSE. Where parts of a target overlap its values are 2 and more, as in the reference.
pub struct MuseValidation {
    entries: Entries,
    /// Entry and question of each item.
    items: Vec<(usize, usize)>,
    questions: QuestionTemplates,
    last: LastPicture,
}

impl MuseValidation {
    /// The file of a split below `root`. The archive's `MUSE_<split>.json` stands in where the name in the reference's code is not there.
    pub fn file(root: &Path, split: &str) -> PathBuf {
        let (named, archived) =
            (root.join(format!("muse_{split}.json")), root.join(format!("MUSE_{split}.json")));
        if !named.exists() && archived.exists() { archived } else { named }
    }

    /// Opens `muse_<split>.json` (`train`, `val`, `test_less`, `test_many`) as [`Muse::open`] does.
    ///
    /// # Errors
    /// As there.
    pub fn open(
        root: &Path,
        split: &str,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        let entries = Entries::open(root, split, cache)?;
        let places = entries.places.iter().enumerate();
        let items = places.flat_map(|(entry, (_, count))| (0..*count).map(move |question| (entry, question)));
        Ok(Self { items: items.collect(), entries, questions, last: LastPicture::default() })
    }
}

impl ValidationDataset for MuseValidation {
    fn name(&self) -> &str {
        "muse"
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn picture(&self, index: usize) -> usize {
        self.items[index].0
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let (number, question) = self.items[index];
        let entry = self.entries.entry(number)?;
        let path = self.entries.picture(number, &entry)?;
        let image = self.last.decode(&path)?;
        check_size(&image, &path, (entry.width, entry.height), &self.entries.file)?;
        let instances = self.entries.targets(number, &entry, question)?;
        let mut target = vec![0; entry.width * entry.height];
        for instance in &instances {
            target.iter_mut().zip(instance).for_each(|(pixel, count)| *pixel |= u8::from(*count != 0));
        }
        let answer = match self.entries.text_answer(number, &entry, question)? {
            Some(text) => text,
            None => {
                let answers = self.entries.answers(number, &entry, question)?;
                each_named(&answers.iter().map(|annotation| annotation.name().to_owned()).collect::<Vec<_>>())
            }
        };
        let sentence = entry.questions[question].clone();
        Ok(ValidationItem {
            id: self.entries.id(&path),
            image,
            file: Some(path),
            question: self.questions.long.fill(&sentence),
            asked: Asked::Sentence(sentence),
            answer,
            target,
            masks: instances.len(),
            instances,
            exists: true,
            family: String::new(),
        })
    }
}
