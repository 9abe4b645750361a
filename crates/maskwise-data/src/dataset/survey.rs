//! Looking through a dataset: what is wrong with it, and what it is like.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::ErrorKind;

use serde::Serialize;

use super::{DatasetError, ValidationDataset};
use crate::image::ImageError;
use crate::mask::IGNORED;

/// What was found in a dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Survey {
    /// Questions.
    pub questions: usize,
    /// Pictures.
    pub pictures: usize,
    /// Questions by family, where the dataset has families.
    pub families: BTreeMap<String, usize>,
    /// Questions about what is not there.
    pub absent: usize,
    /// Questions whose truth has pixels to be ignored.
    pub with_ignored: usize,
    /// Questions whose truth has pixels that several polygons cover; such pixels count for nothing in the reference's metric.
    pub with_overlaps: usize,
    /// Words of a question.
    pub words: Spread,
    /// Share of the picture that the truth covers, without questions about what is not there.
    pub covered: Spread,
    /// Columns of a picture.
    pub widths: Spread,
    /// Rows of a picture.
    pub heights: Spread,
    /// What is wrong, in order.
    pub problems: Vec<Problem>,
}

/// Something wrong with a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The question's place.
    pub index: usize,
    /// Of which sort it is.
    pub kind: ProblemKind,
    /// What is wrong, naming the file.
    pub reason: String,
}

/// Sorts of problems, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A picture is not there.
    MissingPicture,
    /// A picture cannot be decoded.
    UnreadablePicture,
    /// A picture has another size than its annotation says.
    PictureSize,
    /// An annotation cannot be read or contradicts itself.
    Annotation,
    /// What is there has no pixel.
    EmptyMask,
    /// What is not there has pixels.
    UnwantedMask,
    /// There is no question.
    EmptyQuestion,
    /// An answer has not as many places for masks as there are.
    Answer,
}

impl ProblemKind {
    fn of(error: &DatasetError) -> Self {
        match error {
            DatasetError::Image(ImageError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::MissingPicture
            }
            DatasetError::Image(_) => Self::UnreadablePicture,
            DatasetError::Size { .. } => Self::PictureSize,
            _ => Self::Annotation,
        }
    }

    /// In words, behind a number.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::MissingPicture => "with a missing picture",
            Self::UnreadablePicture => "with an unreadable picture",
            Self::PictureSize => "with a picture of another size",
            Self::Annotation => "with a wrong annotation",
            Self::EmptyMask => "with a mask without a pixel",
            Self::UnwantedMask => "with pixels of what is not there",
            Self::EmptyQuestion => "without words",
            Self::Answer => "with an answer of fewer or more [SEG] than masks",
        }
    }
}

/// How values are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        match (values.first(), values.get(values.len() / 2), values.last()) {
            (Some(&least), Some(&median), Some(&greatest)) => Self { least, median, greatest },
            _ => Self::default(),
        }
    }
}

/// Reads every question of a dataset with its picture. `on_progress` hears how many are done.
pub fn survey(items: &dyn ValidationDataset, on_progress: &mut dyn FnMut(usize)) -> Survey {
    let mut survey = Survey { questions: items.len(), ..Survey::default() };
    let (mut words, mut covered, mut widths, mut heights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..items.len() {
        if index == 0 || items.picture(index) != items.picture(index - 1) {
            survey.pictures += 1;
        }
        match items.item(index) {
            Err(error) => survey.problem(index, ProblemKind::of(&error), error.to_string()),
            Ok(item) => {
                let pixels =
                    |value: &dyn Fn(u8) -> bool| item.target.iter().filter(|pixel| value(**pixel)).count();
                let inside = pixels(&|value| value == 1);
                survey.absent += usize::from(!item.exists);
                survey.with_ignored += usize::from(pixels(&|value| value == IGNORED) > 0);
                let overlaps =
                    |values: &Vec<u8>| values.iter().any(|value| !matches!(value, 0 | 1 | &IGNORED));
                survey.with_overlaps +=
                    usize::from(overlaps(&item.target) || item.instances.iter().any(overlaps));
                if !item.family.is_empty() {
                    *survey.families.entry(item.family.clone()).or_default() += 1;
                }
                let text = item.text();
                words.push(text.split_whitespace().count() as f64);
                widths.push(f64::from(item.image.width()));
                heights.push(f64::from(item.image.height()));
                if text.trim().is_empty() {
                    survey.problem(
                        index,
                        ProblemKind::EmptyQuestion,
                        format!("{}: the question is empty", item.id),
                    );
                }
                if item.exists {
                    covered.push(inside as f64 / item.target.len().max(1) as f64);
                    if inside == 0 {
                        let reason = format!("{}: the truth of {text:?} has no pixel", item.id);
                        survey.problem(index, ProblemKind::EmptyMask, reason);
                    }
                    for (place, values) in item.instances.iter().enumerate() {
                        if values.iter().all(|value| matches!(*value, 0 | IGNORED)) {
                            let reason = format!("{}: target {place} of {text:?} has no pixel", item.id);
                            survey.problem(index, ProblemKind::EmptyMask, reason);
                        }
                    }
                    let places = item.answer.matches("[SEG]").count();
                    if !item.instances.is_empty() && places != item.instances.len() {
                        let targets = item.instances.len();
                        let reason = format!(
                            "{}: the answer has {places} [SEG], but there are {targets} targets",
                            item.id
                        );
                        survey.problem(index, ProblemKind::Answer, reason);
                    }
                } else if inside > 0 {
                    let reason = format!("{}: {text:?} is not there, but has pixels", item.id);
                    survey.problem(index, ProblemKind::UnwantedMask, reason);
                }
            }
        }
        on_progress(index + 1);
    }
    survey.words = Spread::of(words);
    survey.covered = Spread::of(covered);
    survey.widths = Spread::of(widths);
    survey.heights = Spread::of(heights);
    survey
}

impl Survey {
    fn problem(&mut self, index: usize, kind: ProblemKind, reason: String) {
        self.problems.push(Problem { index, kind, reason });
    }

    /// How many problems there are of each sort that occurs.
    pub fn problem_counts(&self) -> BTreeMap<ProblemKind, usize> {
        let mut counts = BTreeMap::new();
        self.problems.iter().for_each(|problem| *counts.entry(problem.kind).or_default() += 1);
        counts
    }
}

impl Display for Survey {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let spread =
            |Spread { least, median, greatest }: Spread| format!("{least} to {greatest}, median {median}");
        let percent = |Spread { least, median, greatest }: Spread| {
            format!("{:.2} % to {:.2} %, median {:.2} %", 100.0 * least, 100.0 * greatest, 100.0 * median)
        };
        writeln!(formatter, "questions     {}, of {} pictures", self.questions, self.pictures)?;
        for (family, count) in &self.families {
            writeln!(formatter, "  {family:<14}{count}")?;
        }
        writeln!(formatter, "not there     {}", self.absent)?;
        writeln!(formatter, "words         {}", spread(self.words))?;
        writeln!(formatter, "covered       {}", percent(self.covered))?;
        writeln!(formatter, "width         {}", spread(self.widths))?;
        writeln!(formatter, "height        {}", spread(self.heights))?;
        writeln!(formatter, "ignored       pixels in {} questions", self.with_ignored)?;
        writeln!(formatter, "overlaps      in {} questions", self.with_overlaps)
    }
}
