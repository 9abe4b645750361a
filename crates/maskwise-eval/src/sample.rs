use crate::Pair;
use maskwise::mask::rle::Rle;
use maskwise::mask::{IGNORED, count_pixels};
use serde::{Deserialize, Serialize};

/// What came of one question: a line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The item's place in the benchmark.
    pub index: usize,
    /// Where it comes from.
    pub id: String,
    /// What kind of question it is; empty where the benchmark does not say.
    pub family: String,
    /// The question.
    pub question: String,
    /// The answer in words.
    pub answer: String,
    /// What came of it.
    pub outcome: SampleOutcome,
    /// Why the item failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether what is asked for is there.
    pub exists: bool,
    /// How the predicted mask lies over the truth.
    #[serde(flatten)]
    pub overlap: Overlap,
    /// Tokens of the answer.
    pub tokens: usize,
    /// The predicted mask, where there is one with a pixel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Rle>,
    /// Which mask is meant for which target, where a question has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<Pair>,
}

/// How a predicted mask lies over the truth, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// In both.
    pub intersection: u64,
    /// In either, without ignored ones.
    pub union: u64,
    /// Predicted, but ignored by the truth.
    pub predicted_ignored: u64,
    /// In the truth.
    pub target: u64,
    /// In the picture, without ignored ones.
    pub pixels: u64,
    /// Covered by several parts of the truth, which the published code takes for outside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub overlapped: u64,
    /// Of those, predicted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub predicted_overlapped: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Overlap {
    /// Of a prediction (0 or 1) and a target of the same size: 1 inside, 255 ignored, more where several parts overlap, all else outside
    /// (spec 7.1).
    pub fn of(prediction: &[u8], target: &[u8]) -> Self {
        let [intersection, union, predicted_ignored, target, pixels, overlapped, predicted_overlapped] =
            count_pixels(prediction, target, |found, wanted| {
                let (found, inside, counts) = (found != 0, wanted == 1, wanted != IGNORED);
                let several = counts & (wanted > 1);
                [
                    found & inside,
                    (found | inside) & counts,
                    found & !counts,
                    inside,
                    counts,
                    several,
                    found & several,
                ]
            });
        Self { intersection, union, predicted_ignored, target, pixels, overlapped, predicted_overlapped }
    }
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleOutcome {
    /// The first mask of the answer has a pixel.
    Segmented,
    /// The answer has no `[SEG]`.
    Declined,
    /// The first mask has no pixel.
    Empty,
    /// The item could not be read or the model refused it; it counts nowhere.
    Failed,
}

impl Sample {
    /// Whether the answer came with a mask that has a pixel.
    pub fn found(&self) -> bool {
        self.outcome == SampleOutcome::Segmented
    }

    /// Whether the model says rightly that what is asked for is there, or that it is not.
    pub fn sees(&self) -> bool {
        self.exists == self.found()
    }
}
