//! The questions that the paper asks of the `[SEG]` token, asked of any model on any benchmark (spec 7.4).
//!
//! Each question is answered once; masks are then drawn from the same answer with other prompts.

mod ablation;
mod points;
mod seg_token;
mod sheets;

pub use ablation::ablation;
pub use points::{PointsCell, PointsGrid, points, points_chart, positives_chart};
pub use seg_token::seg_token;
pub use sheets::{compare_sheets, similarity_sheets};

use crate::run::{PictureItems, each_picture, work};
use crate::{AnswerMode, Conventions, EvalError, Interval, Overlap, Shard};
use maskwise::data::dataset::{ValidationDataset, ValidationItem};
use maskwise::draw::chart::{Bar, BarChart};
use maskwise::mask::Mask;
use maskwise::{Answer, AskOptions, Scene, Segmenter};
use serde::Serialize;
use std::ops::ControlFlow;

/// How the questions of an analysis are asked.
#[derive(Clone, Copy, Debug)]
pub struct AnalysisConfig {
    /// Who writes the answers.
    pub answers: AnswerMode,
    /// At most this many tokens are written.
    pub max_new_tokens: usize,
    /// Pictures that are worked on at the same time; no figure depends on it.
    pub jobs: usize,
    /// Only this many questions from the beginning of the benchmark.
    pub limit: Option<usize>,
}

/// A way to make masks of the same answers, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskRow {
    /// What the masks are made from.
    pub mask_from: &'static str,
    /// Questions.
    pub count: usize,
    /// Mean IoU.
    pub giou: Interval,
    /// Cumulative IoU.
    pub ciou: Interval,
}

impl MaskRow {
    fn new(mask_from: &'static str, overlaps: Vec<Overlap>) -> Self {
        let (giou, ciou) = scores(&overlaps);
        Self { mask_from, count: overlaps.len(), giou, ciou }
    }
}

/// The gIoU of rows as bars.
pub fn masks_chart(rows: &[MaskRow], title: &str) -> BarChart {
    let bar = |row: &MaskRow| {
        let Interval { mean, low, high } = row.giou;
        Bar { name: row.mask_from.to_owned(), value: mean, low, high }
    };
    BarChart { title: title.to_owned(), label: "gIoU".to_owned(), bars: rows.iter().map(bar).collect() }
}

/// Asks every question about something that is there, and has `look` draw from the answer what it wants. The results come in the order of
/// the questions; `on_progress` hears (done, in all).
fn each_answer<T: Send>(
    segmenter: &Segmenter,
    items: &dyn ValidationDataset,
    config: &AnalysisConfig,
    look: &(dyn Fn(&mut Scene, &ValidationItem, &Answer) -> Result<T, EvalError> + Sync),
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<T>, EvalError> {
    let mut pictures = work(items, Shard::default(), 0);
    let mut left = config.limit.unwrap_or(items.len());
    pictures.retain_mut(|picture| {
        let kept = picture.len().min(left);
        left -= kept;
        picture.end = picture.start + kept;
        kept > 0
    });
    let total: usize = pictures.iter().map(ExactSizeIterator::len).sum();
    let answer_all = |content: PictureItems| {
        let mut results = Vec::with_capacity(content.len());
        let mut scene: Option<Scene<'_>> = None;
        for (_, item) in content {
            let item = item?;
            let scene = match &mut scene {
                Some(scene) => scene,
                None => scene.insert(segmenter.look(&item.image).map_err(refused(&item))?),
            };
            results.push(match item.exists {
                true => {
                    let answer = ask(segmenter, scene, &item, config)?;
                    Some(look(scene, &item, &answer)?)
                }
                false => None,
            });
        }
        Ok(results)
    };
    let mut found = Vec::new();
    let mut done = 0;
    each_picture(items, &pictures, config.jobs, &answer_all, &mut |result| {
        done += 1;
        on_progress(done, total);
        found.extend(result);
        Ok(())
    })?;
    if found.is_empty() {
        return Err(EvalError::Benchmark("no question is about something that is there".to_owned()));
    }
    Ok(found)
}

fn ask(
    segmenter: &Segmenter,
    scene: &mut Scene,
    item: &ValidationItem,
    config: &AnalysisConfig,
) -> Result<Answer, EvalError> {
    let mode = config.answers.of(segmenter, item);
    let options = AskOptions {
        mode,
        max_new_tokens: config.max_new_tokens,
        encode_beside: false,
        ..AskOptions::default()
    };
    scene.ask_with(&item.question, &options, &mut |_| ControlFlow::Continue(())).map_err(refused(item))
}

/// The error of an item that the model refused.
fn refused(item: &ValidationItem) -> impl Fn(maskwise::Error) -> EvalError + '_ {
    |error| EvalError::Model { id: item.id.clone(), source: Box::new(error) }
}

/// How a mask lies over the truth of `item`; a missing one covers nothing.
fn overlap(mask: Option<&Mask>, item: &ValidationItem) -> Overlap {
    match mask {
        Some(mask) => Overlap::of(&mask.data, &item.target),
        None => Overlap::of(&vec![0; item.target.len()], &item.target),
    }
}

/// gIoU and cIoU of overlaps by the default conventions.
fn scores(overlaps: &[Overlap]) -> (Interval, Interval) {
    let conventions = Conventions::default();
    let ious: Vec<f64> = overlaps.iter().filter_map(|overlap| conventions.iou(overlap)).collect();
    let sums: Vec<[f64; 2]> =
        overlaps.iter().map(|overlap| [overlap.intersection as f64, overlap.union as f64]).collect();
    (
        Interval::of(&ious),
        Interval::of_statistic(&sums, &|[intersection, union]| intersection / union.max(1.0)),
    )
}
