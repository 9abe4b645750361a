//! Which of an answer's masks is meant for which of a question's targets, and how well they fit (specification of PixelLM, 7.2).

use crate::conventions::iou;
use crate::{Interval, Sample};
use maskwise::mask::{IGNORED, overlap_with_target};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

mod assignment;

use assignment::assign;

/// A target and the mask that is matched with it, or one of them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The target's place among those of the question.
    pub target: Option<usize>,
    /// The mask's place among those of the answer.
    pub prediction: Option<usize>,
    /// Pixels in both.
    pub intersection: u64,
    /// Pixels in either.
    pub union: u64,
    /// The union as the published code counts it: pixels that several parts of a target cover are not in the target, and of a mask without a
    /// target only those pixels count whose logit lies in 0.5 to 1.
    pub published_union: u64,
    /// The intersection as the published code counts it.
    pub published_intersection: u64,
}

/// Points that masks and targets are compared at.
const POINTS: usize = 12_544;

/// Where the masks and targets of a question are compared: (x, y) in 0..1 from edge to edge.
pub(crate) struct Points {
    places: Vec<[f32; 2]>,
    width: usize,
    height: usize,
}

/// A mask as the comparison needs it; the logits themselves are many.
pub(crate) struct Prediction {
    /// Logits at the points.
    sampled: Vec<f32>,
    /// 1 where a logit is above 0.
    drawn: Vec<u8>,
    /// 1 where the published code counts a pixel of a mask without a target: where the logit lies in 0.5 to 1.
    published: Vec<u8>,
}

impl Points {
    /// The points of a picture of this size; they depend on `seed` alone.
    pub(crate) fn new(seed: u64, width: usize, height: usize) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        Self { places: (0..POINTS).map(|_| [rng.random(), rng.random()]).collect(), width, height }
    }

    /// Of row-major logits.
    pub(crate) fn predict(&self, logits: &[f32]) -> Prediction {
        let pixels = |keep: &dyn Fn(f32) -> bool| logits.iter().map(|logit| u8::from(keep(*logit))).collect();
        Prediction {
            sampled: self.sample(|at| logits[at]),
            drawn: pixels(&|logit| logit > 0.0),
            published: pixels(&|logit| (0.5..=1.0).contains(&logit)),
        }
    }

    /// Values between pixels, bilinear, 0 outside of the picture.
    fn sample(&self, value: impl Fn(usize) -> f32) -> Vec<f32> {
        let (width, height) = (self.width, self.height);
        let pixel = |x: f32, y: f32| {
            let is_inside = x >= 0.0 && y >= 0.0 && (x as usize) < width && (y as usize) < height;
            if is_inside { value(y as usize * width + x as usize) } else { 0.0 }
        };
        let sample = |&[x, y]: &[f32; 2]| {
            let (x, y) = (x * width as f32 - 0.5, y * height as f32 - 0.5);
            let (left, top) = (x.floor(), y.floor());
            let (right, below) = (x - left, y - top);
            let row = |y: f32| pixel(left, y) * (1.0 - right) + pixel(left + 1.0, y) * right;
            row(top) * (1.0 - below) + row(top + 1.0) * below
        };
        self.places.iter().map(sample).collect()
    }

    /// Matches masks with targets by the lowest sum of binary cross entropy and DICE loss at the points, and counts pixels. First the pairs
    /// in the order of the targets, then targets alone, then masks alone.
    ///
    /// The values of `targets` say how many of a target's parts cover a pixel, 255 that it is ignored.
    pub(crate) fn pairs(&self, predictions: &[Prediction], targets: &[Vec<u8>]) -> Vec<Pair> {
        let value = |value: u8| if value == IGNORED { 0.0 } else { f32::from(value) };
        let wanted = targets.iter().map(|target| self.sample(|at| value(target[at])));
        let costs = |wanted: Vec<f32>| {
            predictions.iter().map(|prediction| cost(&prediction.sampled, &wanted)).collect()
        };
        let costs: Vec<Vec<f64>> = wanted.map(costs).collect();
        let matched = assign(&costs, predictions.len());
        let mut pairs = Vec::new();
        for (target, prediction) in matched.iter().enumerate() {
            if let Some(place) = prediction {
                let Prediction { drawn, .. } = &predictions[*place];
                let counts = [binary(&targets[target]), targets[target].clone()];
                let counts = counts.map(|values| overlap_with_target(drawn, &values));
                pairs.push(Pair::new(Some(target), Some(*place), counts));
            }
        }
        for (target, values) in targets.iter().enumerate().filter(|(target, _)| matched[*target].is_none()) {
            let nothing = vec![0; values.len()];
            let counts =
                [binary(values), values.clone()].map(|values| overlap_with_target(&nothing, &values));
            pairs.push(Pair::new(Some(target), None, counts));
        }
        for (place, Prediction { drawn, published, .. }) in predictions.iter().enumerate() {
            if !matched.contains(&Some(place)) {
                // The same pixels are ignored in all targets.
                let ignored = |value: &u8| if *value == IGNORED { IGNORED } else { 0 };
                let nothing: Vec<u8> = match targets.first() {
                    Some(target) => target.iter().map(ignored).collect(),
                    None => vec![0; drawn.len()],
                };
                let counts = [drawn, published].map(|pixels| overlap_with_target(pixels, &nothing));
                pairs.push(Pair::new(None, Some(place), counts));
            }
        }
        pairs
    }
}

/// What any part of a target covers.
fn binary(values: &[u8]) -> Vec<u8> {
    values.iter().map(|value| if *value == IGNORED { IGNORED } else { u8::from(*value != 0) }).collect()
}

/// Mean binary cross entropy plus DICE loss, both with weight 1.
fn cost(logits: &[f32], target: &[f32]) -> f64 {
    let (mut entropy, mut both, mut either) = (0.0, 0.0, 0.0);
    for (&logit, &target) in logits.iter().zip(target) {
        let (logit, target) = (f64::from(logit), f64::from(target));
        entropy += logit.max(0.0) - logit * target + (-logit.abs()).exp().ln_1p();
        let probability = 1.0 / (1.0 + (-logit).exp());
        both += probability * target;
        either += probability + target;
    }
    entropy / logits.len().max(1) as f64 + 1.0 - (2.0 * both + 1.0) / (either + 1.0)
}

impl Pair {
    /// Of (intersection, union) as it should be and as published.
    fn new(target: Option<usize>, prediction: Option<usize>, counts: [(u64, u64); 2]) -> Self {
        let [(intersection, union), (published_intersection, published_union)] = counts;
        Self { target, prediction, intersection, union, published_intersection, published_union }
    }
}

/// How well the masks of questions with several targets fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// Questions.
    pub questions: usize,
    /// Their targets.
    pub targets: usize,
    /// The masks of the answers.
    pub predictions: usize,
    /// Sum of the pairs' IoU over the sum of the greater of targets and masks, picture by picture.
    pub giou: Interval,
    /// Sum of intersections over sum of unions.
    pub ciou: Interval,
    /// The gIoU as the published code counts pixels.
    pub published_giou: Interval,
    /// The cIoU as the published code counts pixels.
    pub published_ciou: Interval,
}

/// What is added up of one picture.
#[derive(Default)]
struct Sums {
    targets: usize,
    predictions: usize,
    ious: [f64; 2],
    intersections: [u64; 2],
    unions: [u64; 2],
}

impl Matching {
    /// Sums up the samples that have pairs; none where there are none. A pair that `accept` refuses has an intersection and an IoU of
    /// 0: the paper has a language model judge whether a mask's place in the answer fits its target, and published figures include that.
    pub fn of(samples: &[&Sample], accept: &dyn Fn(&Sample, &Pair) -> bool) -> Option<Self> {
        let samples: Vec<&Sample> =
            samples.iter().copied().filter(|sample| !sample.pairs.is_empty()).collect();
        let mut pictures: Vec<(&str, Sums)> = Vec::new();
        for sample in &samples {
            // Questions about a picture stand one after the other.
            if pictures.last().is_none_or(|(id, _)| *id != sample.id) {
                pictures.push((&sample.id, Sums::default()));
            }
            let Some((_, sums)) = pictures.last_mut() else { continue };
            for pair in &sample.pairs {
                sums.add(pair, accept(sample, pair));
            }
        }
        if pictures.is_empty() {
            return None;
        }
        let rows = |row: &dyn Fn(&Sums) -> [f64; 2]| {
            let rows: Vec<[f64; 2]> = pictures.iter().map(|(_, sums)| row(sums)).collect();
            Interval::of_statistic(&rows, &|[above, below]| above / below.max(1.0))
        };
        let giou = |way: usize| rows(&|sums| [sums.ious[way], sums.targets.max(sums.predictions) as f64]);
        let ciou = |way: usize| rows(&|sums| [sums.intersections[way] as f64, sums.unions[way] as f64]);
        Some(Self {
            questions: samples.len(),
            targets: pictures.iter().map(|(_, sums)| sums.targets).sum(),
            predictions: pictures.iter().map(|(_, sums)| sums.predictions).sum(),
            giou: giou(0),
            ciou: ciou(0),
            published_giou: giou(1),
            published_ciou: ciou(1),
        })
    }
}

impl Display for Matching {
    /// As a Markdown table.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { questions, targets, predictions, .. } = self;
        writeln!(
            formatter,
            "Mask by mask: {questions} questions with {targets} targets, answered with {predictions} masks.\n"
        )?;
        writeln!(formatter, "| pixels counted | gIoU [95 %] | cIoU [95 %] |\n|---|---|---|")?;
        writeln!(formatter, "| rightly | {} | {} |", self.giou, self.ciou)?;
        writeln!(formatter, "| as published | {} | {} |", self.published_giou, self.published_ciou)
    }
}

impl Sums {
    fn add(&mut self, pair: &Pair, is_accepted: bool) {
        self.targets += usize::from(pair.target.is_some());
        self.predictions += usize::from(pair.prediction.is_some());
        let counted = [(pair.intersection, pair.union), (pair.published_intersection, pair.published_union)];
        for (way, (intersection, union)) in counted.into_iter().enumerate() {
            self.unions[way] += union;
            if is_accepted {
                self.intersections[way] += intersection;
                self.ious[way] += iou(intersection, union);
            }
        }
    }
}

#[cfg(test)]
mod tests;
