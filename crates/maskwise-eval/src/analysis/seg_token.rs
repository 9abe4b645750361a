use super::{AnalysisConfig, MaskRow, each_answer, overlap, refused};
use crate::run::prediction;
use crate::{EvalError, Overlap};
use maskwise::data::dataset::{ValidationDataset, ValidationItem};
use maskwise::{AnswerMask, MaskPrompting, Segmenter, SimilarityPointsConfig};

/// The ways, in the order of the rows.
const WAYS: [&str; 5] = [
    "P: highest and lowest cells as points, the other SAM",
    "P: highest and lowest cells as points",
    "P: similarity points",
    "S: similarity above its best threshold",
    "SEG: the model's own mask",
];
/// Steps of the threshold of S_IoU, from 0 to 1.
const STEPS: usize = 100;

/// Table 1 of the paper: how much the similarity of `[SEG]` with the image knows by itself. P prompts SAM with points of the similarity and
/// nothing else; S takes all pixels above the threshold that fits the truth best, image by image; SEG is the model's own mask. The SAM is
/// the model's own; the paper's P uses the released one, which the first row has where a model with it is given as `other_sam`. Questions
/// about what is not there are left out; an answer without `[SEG]` counts 0.
///
/// # Errors
/// When an item cannot be read or the model refuses it.
pub fn seg_token(
    segmenter: &Segmenter,
    other_sam: Option<&Segmenter>,
    items: &dyn ValidationDataset,
    config: &AnalysisConfig,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<MaskRow>, EvalError> {
    let own = segmenter.mask_prompting();
    let points = own.points.unwrap_or_else(SimilarityPointsConfig::read_7b);
    let alone = MaskPrompting { points: Some(points), text: false };
    let drawn: Vec<[Overlap; 5]> = each_answer(
        segmenter,
        items,
        config,
        &|scene, item, answer| {
            let Some(own) = answer.masks.first() else { return Ok([overlap(None, item); 5]) };
            let points = own.balanced_points().map_err(refused(item))?;
            let balanced = scene.segment_points(&points).map_err(refused(item))?;
            let other = match other_sam {
                Some(other) => {
                    let mut scene = other.look(&item.image).map_err(refused(item))?;
                    Some(scene.segment_points(&points).map_err(refused(item))?)
                }
                None => None,
            };
            let prompted = scene.draw_again(&alone).map_err(refused(item))?;
            Ok([
                overlap(other.as_ref(), item),
                overlap(Some(&balanced), item),
                overlap(prediction(&prompted, item).as_ref(), item),
                best_threshold(own, item)?,
                overlap(prediction(&answer.masks, item).as_ref(), item),
            ])
        },
        on_progress,
    )?;
    let row =
        |(index, way): (usize, &'static str)| MaskRow::new(way, drawn.iter().map(|row| row[index]).collect());
    let without = usize::from(other_sam.is_none());
    Ok(WAYS.into_iter().enumerate().skip(without).map(row).collect())
}

/// The overlap of the pixels whose similarity is at least the threshold of highest IoU.
fn best_threshold(mask: &AnswerMask, item: &ValidationItem) -> Result<Overlap, EvalError> {
    let similarity = mask.similarity_map().map_err(refused(item))?;
    let at = |step: usize| {
        let threshold = step as f32 / STEPS as f32;
        let inside: Vec<u8> = similarity.iter().map(|value| u8::from(*value >= threshold)).collect();
        Overlap::of(&inside, &item.target)
    };
    let iou = |overlap: &Overlap| overlap.intersection as f64 / overlap.union.max(1) as f64;
    let best = (0..=STEPS).map(at).max_by(|a, b| iou(a).total_cmp(&iou(b)));
    Ok(best.unwrap_or_else(|| overlap(None, item)))
}
