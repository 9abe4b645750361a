use crate::mask::Mask;
use ::image::RgbImage;
use std::path::PathBuf;
use std::sync::Arc;

/// What a training step takes from a dataset: one image with up to `num_classes_per_sample` conversations about it (spec 5.5).
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingItem {
    /// Where it came from: the dataset's name and the image's file or index. Named in errors.
    pub id: String,
    /// The picture.
    pub image: RgbImage,
    /// The conversations; each is a row of the batch.
    pub conversations: Vec<TrainingConversation>,
}

/// One row of a batch: questions with their answers, and the masks of the answers' `[SEG]` tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingConversation {
    /// (question, answer) in order, without the image placeholder and without separators.
    pub rounds: Vec<(String, String)>,
    /// One mask of the image's size for each `[SEG]` of the answers, in order; none where the premise is false.
    pub masks: Vec<Mask>,
}

/// What validation takes: one image, one question, the true mask.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationItem {
    /// As [`TrainingItem::id`].
    pub id: String,
    /// The picture; items of one picture share it.
    pub image: Arc<RgbImage>,
    /// The picture's file; none for one that was drawn.
    pub file: Option<PathBuf>,
    /// The question as the person asks it, in its template.
    pub question: String,
    /// What the dataset itself says.
    pub asked: Asked,
    /// The answer; with a `[SEG]` for each mask that is meant, or that of a denial.
    pub answer: String,
    /// Row-major values of the image's size: 1 inside, 0 outside, 255 ignored. Of several masks their union.
    pub target: Vec<u8>,
    /// How many masks are meant; a prediction is the union of as many.
    pub masks: usize,
    /// Where the dataset tells the masks of an answer apart: each by itself, in the order of the answer's `[SEG]`. Values say how many of its
    /// parts cover a pixel, 255 that it is ignored.
    pub instances: Vec<Vec<u8>>,
    /// Whether what is asked for is there; a false premise has an empty target.
    pub exists: bool,
    /// What kind of question it is, for tables by family; empty where the dataset does not say.
    pub family: String,
}

/// What a dataset says of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The whole question.
    Question,
    /// A name, which a template makes a question of.
    Phrase(String),
    /// A sentence, to which a template adds that a mask is wanted.
    Sentence(String),
}

impl ValidationItem {
    /// What the dataset itself says: the name, the sentence or the whole question.
    pub fn text(&self) -> &str {
        match &self.asked {
            Asked::Question => &self.question,
            Asked::Phrase(text) | Asked::Sentence(text) => text,
        }
    }
}
