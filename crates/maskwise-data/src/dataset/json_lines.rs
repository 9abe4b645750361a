//! Our own layout: a folder with `<split>.jsonl`, a JSON line for each question, and the pictures that they name.
//!
//! ```json
//! {"image": "images/7.jpg", "question": "What could cut paper?", "answer": "The scissors: [SEG].", "masks": [{"size": [480, 640], "counts": "…"}]}
//! {"image": "images/7.jpg", "phrase": "the stapler", "masks": []}
//! ```
//!
//! `question` is asked as it stands; a `phrase` is put into the words of a template, a `sentence` gets its request for a mask from one. `masks` has
//! one mask for each `[SEG]` of the answer, as COCO RLE or as the path of a picture that is black outside; without a mask what is asked for is not
//! there. `answer`, `ignore` (a mask of pixels that an evaluation does not count) and `family` may be left out. Lines about one picture stand one
//! after the other.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::composition::joined;
use super::files::{LastPicture, decode, unreadable};
use super::index::Span;
use super::{Asked, IndexCache, ValidationDataset, ValidationItem};
use super::{
    Composition, Convention, DatasetError, SampleRng, TrainingConversation, TrainingDataset, TrainingItem,
};
use crate::mask::rle::Rle;
use crate::mask::{IGNORED, Mask};
use crate::text::QuestionTemplates;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonLine {
    /// The picture's path, from the folder on.
    pub image: String,
    /// What is asked, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What is asked for, to be put into the words of a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrase: Option<String>,
    /// A sentence that asks for something, to which a template adds that a mask is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// The answer with a `[SEG]` for each mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What is meant.
    pub masks: Vec<MaskSource>,
    /// What an evaluation counts neither as inside nor as outside; for training it is outside, as in the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<MaskSource>,
    /// What kind of question it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

/// A mask of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a mask must be a run-length code {\"size\": …, \"counts\": …} or the path of a picture"
)]
pub enum MaskSource {
    /// Run lengths, as COCO has them.
    Code(Rle),
    /// The path of a picture from the folder on; pixels that are not black are inside.
    File(String),
}

/// Where a line stands in its file.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Place {
    span: Span,
    /// Its number in the file, from 1.
    number: usize,
}

/// What opening a file finds out.
#[derive(Serialize, Deserialize)]
struct Index {
    places: Vec<Place>,
    /// The lines of each picture.
    pictures: Vec<Range<usize>>,
}

/// A file whose lines are read one by one.
struct Lines {
    name: String,
    folder: PathBuf,
    file: PathBuf,
    places: Vec<Place>,
    /// The lines of each picture.
    pictures: Vec<Range<usize>>,
    /// The picture of each line.
    picture_of: Vec<u32>,
}

/// What opening a file needs of a line.
#[derive(Deserialize)]
struct Named {
    image: String,
}

impl Index {
    fn of(file: &Path) -> Result<Self, DatasetError> {
        let failed = |error: std::io::Error| unreadable(file, format!("cannot be read: {error}"));
        let mut reader = BufReader::new(File::open(file).map_err(failed)?);
        let mut index = Self { places: Vec::new(), pictures: Vec::new() };
        let (mut start, mut text, mut last) = (0, Vec::new(), None);
        for number in 1.. {
            text.clear();
            let bytes = reader.read_until(b'\n', &mut text).map_err(failed)?;
            if bytes == 0 {
                break;
            }
            if !text.trim_ascii().is_empty() {
                let wrong = |reason: String| unreadable(file, format!("line {number}: {reason}"));
                let named: Named = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
                let place = index.places.len();
                match index.pictures.last_mut() {
                    Some(picture) if last.as_ref() == Some(&named.image) => picture.end = place + 1,
                    _ => index.pictures.push(place..place + 1),
                }
                last = Some(named.image);
                let span = Span::new(start, bytes).ok_or_else(|| wrong("it is too long".to_owned()))?;
                index.places.push(Place { span, number });
            }
            start += bytes as u64;
        }
        if index.places.is_empty() {
            return Err(unreadable(file, "it has no lines"));
        }
        Ok(index)
    }
}

impl Lines {
    fn open(name: &str, folder: &Path, split: &str, cache: &IndexCache) -> Result<Self, DatasetError> {
        let file = folder.join(format!("{split}.jsonl"));
        let Index { places, pictures } = cache.open("lines", &[&file], || Index::of(&file))?;
        let mut picture_of = Vec::with_capacity(places.len());
        for (number, picture) in pictures.iter().enumerate() {
            picture_of.extend(picture.clone().map(|_| number as u32));
        }
        Ok(Self { name: name.to_owned(), folder: folder.to_owned(), file, places, pictures, picture_of })
    }

    fn line(&self, index: usize) -> Result<JsonLine, DatasetError> {
        let wrong = |reason: String| self.wrong(index, &reason);
        let text = self.places[index].span.read(&self.file)?;
        let line: JsonLine = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if [&line.question, &line.phrase, &line.sentence].iter().filter(|text| text.is_some()).count() != 1 {
            return Err(wrong("it needs one of \"question\", \"phrase\" and \"sentence\"".to_owned()));
        }
        let segs = line.answer.as_ref().map(|answer| answer.matches("[SEG]").count());
        if let Some(segs) = segs.filter(|segs| *segs != line.masks.len()) {
            let reason = format!("its answer has {segs} [SEG], but there are {} masks", line.masks.len());
            return Err(wrong(reason));
        }
        Ok(line)
    }

    fn id(&self, line: &JsonLine) -> String {
        format!("{}: {}", self.name, line.image)
    }

    fn wrong(&self, index: usize, reason: &str) -> DatasetError {
        unreadable(&self.file, format!("line {}: {reason}", self.places[index].number))
    }

    /// A mask of a picture of this size.
    fn mask(
        &self,
        index: usize,
        source: &MaskSource,
        width: usize,
        height: usize,
    ) -> Result<Mask, DatasetError> {
        let unfit = |found: (usize, usize)| {
            let reason = format!("a mask has {}x{} pixels, its picture {width}x{height}", found.0, found.1);
            Err(self.wrong(index, &reason))
        };
        match source {
            MaskSource::Code(code) => {
                let [rows, columns] = code.size();
                if (columns, rows) != (width, height) {
                    return unfit((columns, rows));
                }
                Ok(code.decode())
            }
            MaskSource::File(path) => {
                let picture = decode(&self.folder.join(path))?;
                let size = (picture.width() as usize, picture.height() as usize);
                if size != (width, height) {
                    return unfit(size);
                }
                let data = picture.pixels().map(|pixel| u8::from(pixel.0 != [0; 3])).collect();
                Ok(Mask { width, height, data })
            }
        }
    }

    fn masks(
        &self,
        index: usize,
        line: &JsonLine,
        width: usize,
        height: usize,
    ) -> Result<Vec<Mask>, DatasetError> {
        line.masks.iter().map(|source| self.mask(index, source, width, height)).collect()
    }
}

/// Training on a file of our own layout: a picture, and up to `num_classes_per_sample` of its questions.
///
/// A question without an answer is answered from the templates; one without a mask needs the read convention then.
pub struct JsonLines {
    lines: Lines,
    composition: Arc<Composition>,
}

impl JsonLines {
    /// Opens `folder/<split>.jsonl`; each line's picture is looked at, the rest when it is drawn.
    ///
    /// # Errors
    /// A file that is missing, empty or no JSON lines.
    pub fn open(
        name: &str,
        folder: &Path,
        split: &str,
        composition: Arc<Composition>,
    ) -> Result<Self, DatasetError> {
        Ok(Self { lines: Lines::open(name, folder, split, &IndexCache::none())?, composition })
    }

    fn conversation(
        &self,
        rng: &mut SampleRng,
        index: usize,
        line: &JsonLine,
        size: (usize, usize),
    ) -> Result<TrainingConversation, DatasetError> {
        let masks = self.lines.masks(index, line, size.0, size.1)?;
        let question = match (&line.question, &line.phrase, &line.sentence) {
            (Some(question), ..) => question.clone(),
            (None, Some(phrase), _) => self.composition.short_question(rng, &phrase.to_lowercase()),
            (None, None, sentence) => {
                self.composition.long_question(rng, sentence.as_deref().unwrap_or_default())
            }
        };
        let answer = match (&line.answer, masks.len()) {
            (Some(answer), _) => answer.clone(),
            (None, 1) => self.composition.long_answer(rng),
            (None, 0) if self.composition.convention == Convention::Read => {
                let asked = line.phrase.as_ref().or(line.sentence.as_ref()).unwrap_or(&question);
                self.composition.denial(rng, asked)
            }
            (None, masks) => {
                let reason =
                    format!("it has {masks} masks and no answer; write one with a [SEG] for each mask");
                return Err(self.lines.wrong(index, &reason));
            }
        };
        Ok(TrainingConversation { rounds: vec![(question, answer)], masks })
    }
}

impl TrainingDataset for JsonLines {
    fn name(&self) -> &str {
        &self.lines.name
    }

    fn draw(&self, rng: &mut SampleRng) -> Result<TrainingItem, DatasetError> {
        let picture = self.lines.pictures[rng.random_range(0..self.lines.pictures.len())].clone();
        let first = self.lines.line(picture.start)?;
        let image = decode(&self.lines.folder.join(&first.image))?;
        let size = (image.width() as usize, image.height() as usize);
        let mut conversations = Vec::new();
        for chosen in self.composition.sample(rng, picture.len()) {
            let index = picture.start + chosen;
            conversations.push(self.conversation(rng, index, &self.lines.line(index)?, size)?);
        }
        Ok(TrainingItem { id: self.lines.id(&first), image, conversations })
    }
}

/// Validation on all questions of a file of our own layout. The target is the union of a question's masks; the answer of a line without one is
/// that of the template, with as many `[SEG]` as there are masks.
pub struct JsonLinesValidation {
    lines: Lines,
    questions: QuestionTemplates,
    pictures: LastPicture,
}

impl JsonLinesValidation {
    /// Opens `folder/<split>.jsonl` as [`JsonLines::open`] does.
    ///
    /// # Errors
    /// As there.
    pub fn open(
        name: &str,
        folder: &Path,
        split: &str,
        questions: QuestionTemplates,
        cache: &IndexCache,
    ) -> Result<Self, DatasetError> {
        let lines = Lines::open(name, folder, split, cache)?;
        Ok(Self { lines, questions, pictures: LastPicture::default() })
    }
}

impl ValidationDataset for JsonLinesValidation {
    fn name(&self) -> &str {
        &self.lines.name
    }

    fn len(&self) -> usize {
        self.lines.places.len()
    }

    fn picture(&self, index: usize) -> usize {
        self.lines.picture_of[index] as usize
    }

    fn item(&self, index: usize) -> Result<ValidationItem, DatasetError> {
        let line = self.lines.line(index)?;
        let file = self.lines.folder.join(&line.image);
        let image = self.pictures.decode(&file)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut target = vec![0; width * height];
        let paint = |values: &mut Vec<u8>, mask: &Mask, value: u8| {
            values
                .iter_mut()
                .zip(&mask.data)
                .filter(|(_, inside)| **inside == 1)
                .for_each(|(pixel, _)| *pixel = value);
        };
        let masks = self.lines.masks(index, &line, width, height)?;
        masks.iter().for_each(|mask| paint(&mut target, mask, 1));
        let mut instances: Vec<Vec<u8>> = Vec::new();
        if masks.len() > 1 {
            instances.extend(masks.iter().map(|mask| mask.data.clone()));
        }
        if let Some(ignore) = &line.ignore {
            let ignore = self.lines.mask(index, ignore, width, height)?;
            for values in std::iter::once(&mut target).chain(&mut instances) {
                paint(values, &ignore, IGNORED);
            }
        }
        let (question, asked) = match (&line.question, &line.phrase, &line.sentence) {
            (Some(question), ..) => (question.clone(), Asked::Question),
            (None, Some(phrase), _) => {
                let phrase = phrase.to_lowercase();
                (self.questions.short.fill(&phrase), Asked::Phrase(phrase))
            }
            (None, None, sentence) => {
                let sentence = sentence.clone().unwrap_or_default();
                (self.questions.long.fill(&sentence), Asked::Sentence(sentence))
            }
        };
        Ok(ValidationItem {
            id: self.lines.id(&line),
            image,
            file: Some(file),
            question,
            asked,
            answer: line.answer.unwrap_or_else(|| {
                let segs = joined(&vec!["[SEG]".to_owned(); masks.len().max(1)]);
                self.questions.answer.0.replace("[SEG]", &segs)
            }),
            target,
            masks: masks.len(),
            instances,
            exists: !line.masks.is_empty(),
            family: line.family.unwrap_or_default(),
        })
    }
}
