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

/// Intersection and union in pixels of a prediction with a truth of the values 0 and 1; where the truth is 255 nothing counts
/// (spec 7.1).
pub(crate) fn overlap(prediction: &[u8], truth: &[u8]) -> (u64, u64) {
    let (mut intersection, mut union) = (0, 0);
    for (found, wanted) in prediction.iter().zip(truth).filter(|(_, truth)| **truth != 255) {
        let (found, wanted) = (*found != 0, *wanted == 1);
        intersection += u64::from(found && wanted);
        union += u64::from(found || wanted);
    }
    (intersection, union)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_pixels_count_nowhere() {
        assert_eq!(overlap(&[1, 1, 0, 1, 0], &[1, 0, 1, 255, 255]), (1, 3));
    }
}
