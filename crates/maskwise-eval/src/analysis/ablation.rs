use super::{AnalysisConfig, MaskRow, each_answer, overlap, refused};
use crate::run::prediction;
use crate::{EvalError, Overlap};
use maskwise::data::dataset::ValidationDataset;
use maskwise::{MaskPrompting, Sampling, Segmenter, SimilarityPointsConfig};

/// The rows of the paper's Table 6 on a trained model: the masks of the same answers from `[SEG]` alone, from points alone, and from both
/// with points on whole pixels and moved by DtoC. The paper trains a model for each row; this asks what a single model makes of each
/// prompt. Questions about what is not there are left out; an answer without `[SEG]` counts 0.
///
/// # Errors
/// As [`points`](super::points).
pub fn ablation(
    segmenter: &Segmenter,
    items: &dyn ValidationDataset,
    config: &AnalysisConfig,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<MaskRow>, EvalError> {
    let Some(points) = segmenter.mask_prompting().points else {
        return Err(EvalError::Benchmark(
            "this model prompts SAM without points; choose one of READ's".to_owned(),
        ));
    };
    let sampled = |sampling: Sampling| Some(SimilarityPointsConfig { sampling, ..points.clone() });
    let prompts = [
        ("[SEG] alone", MaskPrompting { points: None, text: true }),
        ("points alone", MaskPrompting { points: Some(points.clone()), text: false }),
        ("both, discrete points", MaskPrompting { points: sampled(Sampling::Discrete), text: true }),
        ("both, DtoC", MaskPrompting { points: sampled(Sampling::Continuous), text: true }),
    ];
    let drawn: Vec<Vec<Overlap>> = each_answer(
        segmenter,
        items,
        config,
        &|scene, item, _| {
            let draw = |(_, prompting): &(&str, MaskPrompting)| {
                let masks = scene.draw_again(prompting).map_err(refused(item))?;
                Ok(overlap(prediction(&masks, item).as_ref(), item))
            };
            prompts.iter().map(draw).collect()
        },
        on_progress,
    )?;
    let row = |(index, (prompt, _)): (usize, &(&'static str, MaskPrompting))| {
        MaskRow::new(prompt, drawn.iter().map(|row| row[index]).collect())
    };
    Ok(prompts.iter().enumerate().map(row).collect())
}
