use crate::answer::{Answer, AnswerMask, ModelIdentity, Outcome, Scores, Timings};
use maskwise_data::mask::rle::Rle;
use maskwise_models::systems::read::StopReason;
use serde::Serialize;

/// An answer as one JSON object: what `segment` prints for each question.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// The image as the caller named it.
    pub image: String,
    /// What was asked.
    pub question: String,
    /// The answer in words.
    pub text: String,
    /// `segmented`, `declined` or `empty`.
    pub outcome: Outcome,
    /// `generated` or `teacher-forced`.
    pub answer_mode: &'static str,
    /// Why writing ended: `end_of_sequence`, `max_new_tokens`, `context_full` or `cancelled`; none for a teacher-forced answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<&'static str>,
    /// (height, width) in pixels.
    pub size: [u32; 2],
    /// One entry for each `[SEG]`.
    pub masks: Vec<MaskRecord>,
    /// Files that were written for the answer as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Seconds by stage.
    pub timings: Timings,
    /// Which model answered.
    pub model: ModelIdentity,
}

/// One mask of a [`Record`].
#[derive(Debug, Clone, Serialize)]
pub struct MaskRecord {
    /// The words of the answer before this `[SEG]`.
    pub phrase: String,
    /// COCO RLE, column-major, compressed counts.
    pub segmentation: Rle,
    /// COCO box: left, top, width, height in pixels.
    pub bbox: [u32; 4],
    /// Pixels in the mask.
    pub area: u64,
    /// How sure the model seems; not calibrated.
    pub scores: Scores,
    /// The points that prompted SAM.
    pub points: Vec<PointRecord>,
    /// COCO polygons, one flat `[x, y, …]` list each, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polygons: Option<Vec<Vec<f64>>>,
    /// Files that were written for this mask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// A point of a [`MaskRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PointRecord {
    /// Pixels from the left.
    pub x: f32,
    /// Pixels from the top.
    pub y: f32,
    /// 1 positive, 0 negative, −1 neutral.
    pub label: i32,
}

impl Record {
    /// The record of `answer` on the image of `size` (width, height) that the caller calls `image`.
    pub fn new(image: &str, size: (u32, u32), answer: &Answer) -> Self {
        Self {
            image: image.to_owned(),
            question: answer.question.clone(),
            text: answer.text.clone(),
            outcome: answer.outcome,
            answer_mode: if answer.teacher_forced { "teacher-forced" } else { "generated" },
            stop: answer.stop.map(stop_name),
            size: [size.1, size.0],
            masks: answer.masks.iter().map(MaskRecord::new).collect(),
            files: Vec::new(),
            timings: answer.timings,
            model: answer.model.clone(),
        }
    }
}

fn stop_name(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfSequence => "end_of_sequence",
        StopReason::MaxNewTokens => "max_new_tokens",
        StopReason::ContextFull => "context_full",
        StopReason::Cancelled => "cancelled",
    }
}

impl MaskRecord {
    fn new(mask: &AnswerMask) -> Self {
        let segmentation = mask.to_rle();
        let points =
            mask.points.iter().map(|point| PointRecord { x: point.x, y: point.y, label: point.label });
        Self {
            phrase: mask.phrase.clone(),
            bbox: segmentation.bbox(),
            area: mask.mask.area(),
            segmentation,
            scores: mask.scores,
            points: points.collect(),
            polygons: None,
            files: Vec::new(),
        }
    }
}
