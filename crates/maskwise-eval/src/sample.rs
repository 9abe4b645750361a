use serde::{Deserialize, Serialize};

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which item.
    pub id: String,
    /// What kind of question it is.
    pub family: String,
    /// The question.
    pub question: String,
    /// The answer in words.
    pub answer: String,
    /// Whether what is asked for is there.
    pub exists: bool,
    /// Whether the answer came with a mask that has a pixel.
    pub found: bool,
    /// Pixels in both prediction and truth.
    pub intersection: u64,
    /// Pixels in either.
    pub union: u64,
}

/// Added to the denominators of ratios and means (spec 7.2).
const EPSILON: f64 = 1e-5;

impl Sample {
    /// Intersection over union; 1 where prediction and truth are both empty (spec 7.2).
    pub fn iou(&self) -> f64 {
        match self.union {
            0 => 1.0,
            union => self.intersection as f64 / (union as f64 + EPSILON),
        }
    }

    /// Whether the model says rightly that what is asked for is there, or that it is not.
    pub fn sees(&self) -> bool {
        self.exists == self.found
    }
}
