use super::{AnalysisConfig, each_answer, overlap, refused, scores};
use crate::run::prediction;
use crate::{EvalError, Interval, Overlap};
use maskwise::data::dataset::ValidationDataset;
use maskwise::draw::PointMark;
use maskwise::draw::chart::{Chart, ChartPoint, Series};
use maskwise::{MaskPrompting, Segmenter, SimilarityPointsConfig, Thresholds};
use serde::Serialize;

/// The settings of a grid: each pair of thresholds with each number of points.
#[derive(Clone, Debug, PartialEq)]
pub struct PointsGrid {
    /// `t_pos` and `t_neg`, 0 to 1.
    pub thresholds: Vec<(f32, f32)>,
    /// Numbers of points.
    pub counts: Vec<usize>,
}

impl PointsGrid {
    /// The grid of the paper's Table 8.
    pub fn table_8() -> Self {
        Self { thresholds: vec![(0.8, 0.2), (0.7, 0.3), (0.6, 0.4)], counts: vec![10, 30, 60] }
    }
}

/// A setting and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointsCell {
    /// Similarity from which a point is positive.
    pub t_pos: f32,
    /// Similarity up to which a point is negative.
    pub t_neg: f32,
    /// Number of points.
    pub num_points: usize,
    /// Questions.
    pub count: usize,
    /// Mean IoU.
    pub giou: Interval,
    /// Cumulative IoU.
    pub ciou: Interval,
    /// Share of the positive points that lie inside of the truth; none without such a point.
    pub positives_inside: Option<f64>,
    /// Share of the negative points that lie outside of it; none without such a point.
    pub negatives_outside: Option<f64>,
}

/// How many points of a sort there are, and how many lie where they should.
#[derive(Clone, Copy, Default)]
struct Placed {
    positives: usize,
    inside: usize,
    negatives: usize,
    outside: usize,
}

/// Table 8 of the paper: the masks of the same answers, prompted with points of other thresholds and numbers. Questions about what is not
/// there are left out; an answer without `[SEG]` counts 0.
///
/// # Errors
/// When the model uses no points, a setting is out of range, an item cannot be read or the model refuses it.
pub fn points(
    segmenter: &Segmenter,
    items: &dyn ValidationDataset,
    grid: &PointsGrid,
    config: &AnalysisConfig,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<PointsCell>, EvalError> {
    let own = segmenter.mask_prompting();
    let Some(own_points) = &own.points else {
        return Err(EvalError::Benchmark(
            "this model prompts SAM without points; choose one of READ's".to_owned(),
        ));
    };
    let mut settings = Vec::new();
    for &(t_pos, t_neg) in &grid.thresholds {
        for &num_points in &grid.counts {
            let thresholds = Thresholds::Fixed { t_pos, t_neg };
            let points =
                SimilarityPointsConfig { num_points: Some(num_points), thresholds, ..own_points.clone() };
            points.check().map_err(EvalError::Benchmark)?;
            settings.push((t_pos, t_neg, num_points, MaskPrompting { points: Some(points), text: own.text }));
        }
    }
    let drawn: Vec<Vec<(Overlap, Placed)>> = each_answer(
        segmenter,
        items,
        config,
        &|scene, item, _| {
            let draw = |(.., prompting): &(f32, f32, usize, MaskPrompting)| {
                let masks = scene.draw_again(prompting).map_err(refused(item))?;
                let width = item.image.width() as usize;
                let placed =
                    masks.first().map(|mask| place(&mask.points, &item.target, width)).unwrap_or_default();
                Ok((overlap(prediction(&masks, item).as_ref(), item), placed))
            };
            settings.iter().map(draw).collect()
        },
        on_progress,
    )?;
    let cell = |(index, (t_pos, t_neg, num_points, _)): (usize, &(f32, f32, usize, MaskPrompting))| {
        let overlaps: Vec<Overlap> = drawn.iter().map(|row| row[index].0).collect();
        let placed = drawn.iter().map(|row| row[index].1);
        let sum = placed.fold(Placed::default(), |sum, placed| Placed {
            positives: sum.positives + placed.positives,
            inside: sum.inside + placed.inside,
            negatives: sum.negatives + placed.negatives,
            outside: sum.outside + placed.outside,
        });
        let (giou, ciou) = scores(&overlaps);
        PointsCell {
            t_pos: *t_pos,
            t_neg: *t_neg,
            num_points: *num_points,
            count: drawn.len(),
            giou,
            ciou,
            positives_inside: share(sum.inside, sum.positives),
            negatives_outside: share(sum.outside, sum.negatives),
        }
    };
    Ok(settings.iter().enumerate().map(cell).collect())
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The gIoU of a grid against the number of points, a line for each pair of thresholds.
pub fn points_chart(cells: &[PointsCell], title: &str) -> Chart {
    chart(cells, title, "gIoU", &|cell| Some(cell.giou))
}

/// The share of positive points that lie on the target, drawn as [`points_chart`] draws the gIoU. The share has no interval.
pub fn positives_chart(cells: &[PointsCell], title: &str) -> Chart {
    chart(cells, title, "positives inside", &|cell| {
        cell.positives_inside.map(|share| Interval { mean: share, low: share, high: share })
    })
}

fn chart(
    cells: &[PointsCell],
    title: &str,
    y_label: &str,
    value: &dyn Fn(&PointsCell) -> Option<Interval>,
) -> Chart {
    let mut series: Vec<Series> = Vec::new();
    for cell in cells {
        let name = format!("t_pos {}, t_neg {}", cell.t_pos, cell.t_neg);
        let Some(Interval { mean, low, high }) = value(cell) else { continue };
        let point = ChartPoint { x: cell.num_points as f64, y: mean, low, high };
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name, points: vec![point] }),
        }
    }
    Chart { title: title.to_owned(), x_label: "points".to_owned(), y_label: y_label.to_owned(), series }
}

fn place(points: &[PointMark], target: &[u8], width: usize) -> Placed {
    let mut placed = Placed::default();
    for point in points {
        let (x, y) = (point.x.max(0.0) as usize, point.y.max(0.0) as usize);
        // A continuous point may lie half a pixel beyond the border.
        let inside = target.get(y * width + x.min(width - 1)).is_some_and(|value| *value == 1);
        match point.label {
            1 => {
                placed.positives += 1;
                placed.inside += usize::from(inside);
            }
            0 => {
                placed.negatives += 1;
                placed.outside += usize::from(!inside);
            }
            _ => {}
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_counted_where_they_lie() {
        let mark = |x: f32, y: f32, label: i32| PointMark { x, y, label };
        let target = [0, 1, 1, 0, 0, 255];
        let marks = [
            mark(1.9, 0.0, 1),
            mark(0.0, 0.9, 1),
            mark(0.2, 0.2, 0),
            mark(2.0, 0.0, 0),
            mark(1.0, 1.0, -1),
            mark(3.0, 1.2, 1),
        ];
        let placed = place(&marks, &target, 3);
        assert_eq!((placed.positives, placed.inside, placed.negatives, placed.outside), (3, 1, 2, 1));
    }
}
