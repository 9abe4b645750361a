//! How conversations are made of what a dataset knows about an image (spec 5.5 and 6).

use rand::RngExt;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use super::templates::draw_filled;
use super::{DatasetError, SampleRng, Templates, TrainingConversation};
use crate::mask::Mask;

/// Whose rules a run composes its items by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// LISA: everything asked for is there; explanations for ReasonSeg.
    #[default]
    Lisa,
    /// SESAME and READ: a share of false premises, answered by a denial or a correction.
    Read,
}

/// Rules and texts that the datasets of a run share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition {
    pub(super) convention: Convention,
    pub(super) templates: Templates,
    pub(super) rows: usize,
}

impl Composition {
    /// Rules with their templates; LISA's own are built in and stand in where `templates` is `None`. `rows` is
    /// `num_classes_per_sample`, the most conversations about one image; 3 in the reference.
    ///
    /// # Errors
    /// [`DatasetError::Config`] where the convention needs templates that are not given, or `rows` is 0.
    pub fn new(
        convention: Convention,
        templates: Option<Templates>,
        rows: usize,
    ) -> Result<Self, DatasetError> {
        let templates = match (templates, convention) {
            (Some(templates), _) => templates,
            (None, Convention::Lisa) => Templates::lisa(),
            (None, Convention::Read) => return config(READ_NEEDS_TEMPLATES),
        };
        if let Some(reason) = templates.check() {
            return config(&format!("templates: {reason}"));
        }
        if convention == Convention::Read
            && (templates.neg_answer.is_empty() || templates.correct_answer.is_empty())
        {
            return config(
                "templates: NEG_ANSWER and CORRECT_ANSWER have no entries, but the read convention answers false premises",
            );
        }
        if rows == 0 {
            return config("num_classes_per_sample is 0; the reference has 3");
        }
        Ok(Self { convention, templates, rows })
    }

    /// Up to [`rows`](Self::new) of `0..count`: a random choice in random order if there are enough, otherwise all in order.
    pub(super) fn sample(&self, rng: &mut SampleRng, count: usize) -> Vec<usize> {
        if count >= self.rows {
            index::sample(rng, count, self.rows).into_vec()
        } else {
            (0..count).collect()
        }
    }

    pub(super) fn short_question(&self, rng: &mut SampleRng, text: &str) -> String {
        draw_filled(&self.templates.short_question, rng, text, "")
    }

    pub(super) fn long_question(&self, rng: &mut SampleRng, text: &str) -> String {
        draw_filled(&self.templates.long_question, rng, text, "")
    }

    pub(super) fn short_answer(&self, rng: &mut SampleRng, text: &str) -> String {
        draw_filled(&self.templates.short_answer, rng, text, "")
    }

    pub(super) fn long_answer(&self, rng: &mut SampleRng) -> String {
        draw_filled(&self.templates.long_answer, rng, "", "")
    }

    pub(super) fn denial(&self, rng: &mut SampleRng, text: &str) -> String {
        draw_filled(&self.templates.neg_answer, rng, text, "")
    }

    pub(super) fn correction(&self, rng: &mut SampleRng, text: &str, ground_truth: &str) -> String {
        draw_filled(&self.templates.correct_answer, rng, text, ground_truth)
    }

    pub(super) fn explanation_request(&self, rng: &mut SampleRng) -> String {
        draw_filled(&self.templates.explanatory, rng, "", "")
    }

    /// True with this probability under the read convention, never under LISA's.
    pub(super) fn false_premise(&self, rng: &mut SampleRng, probability: f64) -> bool {
        self.convention == Convention::Read && rng.random_bool(probability)
    }
}

const READ_NEEDS_TEMPLATES: &str = "the read convention needs a file of templates, which are the authors' texts and not part of this \
     program: a JSON object with the lists SHORT_QUESTION (100 in the published file, with {class_name}), LONG_QUESTION (49, {sent}), \
     SHORT_ANSWER (81, one [SEG]), LONG_ANSWER (35, one [SEG]), NEG_ANSWER (100) and CORRECT_ANSWER (99, {gt_name}), from \
     dataloaders/qa_template.py of READ or SESAME";

fn config<T>(reason: &str) -> Result<T, DatasetError> {
    Err(DatasetError::Config(reason.to_owned()))
}

/// A row of one question and one answer.
pub(super) fn single(question: String, answer: String, mask: Option<Mask>) -> TrainingConversation {
    TrainingConversation { rounds: vec![(question, answer)], masks: mask.into_iter().collect() }
}

/// `a, b and c`.
pub(super) fn joined(texts: &[String]) -> String {
    match texts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
