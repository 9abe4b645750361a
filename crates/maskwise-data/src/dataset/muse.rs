//! MUSE: questions whose answers have several targets (specification of PixelLM, section 6).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::Deserialize;

use super::coco::Segmentation;
use super::composition::joined;
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

impl Entry {
    /// The answer that the file has for a question, with a `[SEG]` for each `{seg}`; none where it has names alone.
    fn text_answer(&self, question: usize) -> Option<String> {
        Some(self.text_answers.get(question)?.as_ref()?.replace("{seg}", "[SEG]"))
    }
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
        if answers.len().saturating_mul(entry.height * entry.width) > MAX_TARGET_PIXELS {
            let reason = format!("question {question} has {} targets, too many for memory", answers.len());
            return Err(self.wrong(number, reason));
        }
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

    fn id(&self, picture: &Path) -> String {
        format!("muse: {}", relative(picture, &self.root))
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

/// Largest sum of the pixels of a question's targets, a bound on what a damaged file can make us allocate.
const MAX_TARGET_PIXELS: usize = 1 << 30;

/// Items without a usable answer that are drawn in a row before it is an error.
const MOST_ATTEMPTS: usize = 100;

/// Share of targets that are called by what GPT named them.
const REPHRASED: f64 = 0.9;

/// Training on MUSE: a picture, and up to `num_classes_per_sample` of its questions (PixelLM takes all). Where an answer has not as many places
/// for masks as it has targets another picture is drawn, as in the reference.
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

    /// The item of an entry with these questions and their answers.
    fn item(
        &self,
        rng: &mut SampleRng,
        number: usize,
        entry: &Entry,
        rows: Vec<(usize, String)>,
    ) -> Result<TrainingItem, DatasetError> {
        let picture = self.entries.picture(number, entry)?;
        let image = decode(&picture)?;
        let (width, height) = (entry.width, entry.height);
        check_size(&image, &picture, (width, height), &self.entries.file)?;
        let mut conversations = Vec::with_capacity(rows.len());
        for (question, answer) in rows {
            let targets = self.entries.targets(number, entry, question)?.into_iter();
            let mask = |target: Vec<u8>| {
                let data = target.into_iter().map(|count| u8::from(count != 0)).collect();
                Mask { width, height, data }
            };
            let asked = self.composition.long_question(rng, &entry.questions[question]);
            let rounds = vec![(asked, answer)];
            conversations.push(TrainingConversation { rounds, masks: targets.map(mask).collect() });
        }
        Ok(TrainingItem { id: self.entries.id(&picture), image, conversations })
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
        for _ in 0..MOST_ATTEMPTS {
            let number = rng.random_range(0..self.entries.places.len());
            let entry = self.entries.entry(number)?;
            let chosen = self.composition.sample(rng, entry.questions.len());
            let mut rows = Vec::with_capacity(chosen.len());
            for question in chosen {
                let answers = self.entries.answers(number, &entry, question)?;
                let answer = entry.text_answer(question).unwrap_or_else(|| self.answer(rng, answers));
                if answer.matches("[SEG]").count() == answers.len() {
                    rows.push((question, answer));
                }
            }
            if !rows.is_empty() && rows.len() == entry.questions.len().min(self.composition.rows) {
                return self.item(rng, number, &entry, rows);
            }
        }
        let reason = format!("{MOST_ATTEMPTS} pictures in a row had an answer that does not fit its targets");
        Err(unreadable(&self.entries.file, reason))
    }
}

/// Validation on all questions of MUSE. Where parts of an instance overlap its values are 2 and more, as in the reference. An answer may have more
/// or fewer `[SEG]` than there are targets, if the file's text has.
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
        let names = |answers: &[Annotation]| {
            each_named(&answers.iter().map(|annotation| annotation.name().to_owned()).collect::<Vec<_>>())
        };
        let answer = match entry.text_answer(question) {
            Some(text) => text,
            None => names(self.entries.answers(number, &entry, question)?),
        };
        let sentence = entry.questions.get(question).cloned();
        let sentence = sentence
            .ok_or_else(|| self.entries.wrong(number, format_args!("there is no question {question}")))?;
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
