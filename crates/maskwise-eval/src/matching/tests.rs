use super::*;
use crate::{Overlap, SampleOutcome};

const WIDTH: usize = 20;

/// Logits of ±`strength` and the target of a box.
fn box_of(x: std::ops::Range<usize>, y: std::ops::Range<usize>, strength: f32) -> (Vec<f32>, Vec<u8>) {
    let inside = |at: usize| x.contains(&(at % WIDTH)) && y.contains(&(at / WIDTH));
    let logits = (0..WIDTH * WIDTH).map(|at| if inside(at) { strength } else { -strength }).collect();
    (logits, (0..WIDTH * WIDTH).map(|at| u8::from(inside(at))).collect())
}

/// The pairs of logits and targets of 20 columns.
fn pairs(logits: &[Vec<f32>], targets: &[Vec<u8>]) -> Vec<Pair> {
    let points = Points::new(7, WIDTH, WIDTH);
    let predictions: Vec<Prediction> = logits.iter().map(|logits| points.predict(logits)).collect();
    points.pairs(&predictions, targets)
}

fn sample(id: &str, pairs: Vec<Pair>) -> Sample {
    Sample {
        index: 0,
        id: id.to_owned(),
        family: String::new(),
        question: String::new(),
        answer: String::new(),
        outcome: SampleOutcome::Segmented,
        error: None,
        exists: true,
        overlap: Overlap::default(),
        tokens: 0,
        mask: None,
        pairs,
    }
}

#[test]
fn masks_find_their_targets_in_any_order() {
    let (left, left_target) = box_of(0..5, 0..20, 4.0);
    let (right, right_target) = box_of(10..20, 0..10, 4.0);
    let found = pairs(&[right, left], &[left_target, right_target]);
    let places: Vec<_> = found.iter().map(|pair| (pair.target, pair.prediction)).collect();
    assert_eq!(places, [(Some(0), Some(1)), (Some(1), Some(0))]);
    assert_eq!((found[0].intersection, found[0].union), (100, 100));
    assert_eq!((found[1].intersection, found[1].union), (100, 100));
}

#[test]
fn what_is_left_over_stands_alone() {
    let (logits, target) = box_of(0..5, 0..20, 4.0);
    let (_, missed) = box_of(10..12, 0..10, 4.0);
    let alone = pairs(std::slice::from_ref(&logits), &[missed, target.clone()]);
    let places: Vec<_> = alone.iter().map(|pair| (pair.target, pair.prediction)).collect();
    assert_eq!(places, [(Some(1), Some(0)), (Some(0), None)]);
    assert_eq!((alone[1].intersection, alone[1].union, alone[1].published_union), (0, 20, 20));

    // A second mask that nothing is meant for: the published code sees only logits in 0.5 to 1.
    let (mut surplus, _) = box_of(10..20, 10..20, 4.0);
    surplus[10 * WIDTH + 10] = 0.7;
    let more = pairs(&[logits, surplus], &[target]);
    assert_eq!((more[1].target, more[1].prediction), (None, Some(1)));
    assert_eq!((more[1].union, more[1].published_union), (100, 1));
    assert!(pairs(&[], &[]).is_empty());
}

#[test]
fn overlapping_parts_count_as_published_and_as_they_should() {
    let (logits, mut target) = box_of(0..5, 0..20, 4.0);
    target[..5].fill(2);
    let found = pairs(&[logits], &[target]);
    assert_eq!((found[0].intersection, found[0].union), (100, 100));
    // Five predicted pixels of value 2 are outside of the published target.
    assert_eq!((found[0].published_intersection, found[0].published_union), (95, 100));
}

#[test]
fn ignored_pixels_count_nowhere() {
    let (logits, mut target) = box_of(0..5, 0..20, 4.0);
    let (surplus, mut missed) = box_of(10..20, 0..10, 4.0);
    for values in [&mut target, &mut missed] {
        values[..WIDTH].fill(255);
    }
    let both = pairs(std::slice::from_ref(&logits), &[target.clone(), missed]);
    assert_eq!((both[0].intersection, both[0].union, both[0].published_union), (95, 95, 95));
    assert_eq!((both[1].target, both[1].union, both[1].published_union), (Some(1), 90, 90));
    let more = pairs(&[logits, surplus], &[target]);
    assert_eq!((more[1].prediction, more[1].union), (Some(1), 90));
}

#[test]
fn values_between_pixels() {
    // 2x2 pixels 1 2 / 3 4: the middle is their mean, a corner has three neighbours outside.
    let values = [1.0, 2.0, 3.0, 4.0];
    let places = vec![[0.5, 0.5], [0.25, 0.25], [0.0, 0.0], [1.0, 0.75]];
    let points = Points { places, width: 2, height: 2 };
    assert_eq!(points.sample(|at| values[at]), [2.5, 1.0, 0.25, 2.0]);
}

/// Of a certain prediction the loss is near 0, of its opposite the entropy is its logit and DICE is near 1.
#[test]
fn costs() {
    assert!(cost(&[20.0, -20.0], &[1.0, 0.0]) < 1e-6);
    let opposite = cost(&[-20.0, 20.0], &[1.0, 0.0]);
    assert!((opposite - (20.0 + 1.0 - 1.0 / 3.0)).abs() < 1e-6, "{opposite}");
    // ln 2, and 1 - (2·0.5 + 1)/(1 + 1 + 1).
    let even = cost(&[0.0, 0.0], &[1.0, 0.0]);
    assert!((even - (2f64.ln() + 1.0 - 2.0 / 3.0)).abs() < 1e-9, "{even}");
}

#[test]
fn a_picture_counts_the_greater_of_its_targets_and_masks() {
    let pair = |target: Option<usize>, prediction: Option<usize>, intersection, union| Pair {
        target,
        prediction,
        intersection,
        union,
        published_intersection: intersection,
        published_union: if target.is_none() { 0 } else { union },
    };
    // One question with a mask too many, one with a target too many: three targets and three masks, but four pairs.
    let one = sample("a", vec![pair(Some(0), Some(0), 50, 100), pair(None, Some(1), 0, 40)]);
    let two = sample("a", vec![pair(Some(0), Some(0), 100, 100), pair(Some(1), None, 0, 60)]);
    let samples = [&one, &two];
    let matching = Matching::of(&samples, &|_, _| true).unwrap();
    assert_eq!((matching.questions, matching.targets, matching.predictions), (2, 3, 3));
    assert!((matching.giou.mean - 1.5 / 3.0).abs() < 1e-6);
    assert!((matching.ciou.mean - 150.0 / 300.0).abs() < 1e-9);
    // As published the surplus mask vanishes, and counts 1.
    assert!((matching.published_giou.mean - 2.5 / 3.0).abs() < 1e-6);
    assert!((matching.published_ciou.mean - 150.0 / 260.0).abs() < 1e-9);
    let judged = Matching::of(&samples, &|_, pair| pair.union != 100 || pair.intersection != 50).unwrap();
    assert!((judged.giou.mean - 1.0 / 3.0).abs() < 1e-6);
    let none = Matching::of(&samples, &|_, _| false).unwrap();
    assert_eq!((none.giou.mean, none.published_giou.mean, none.ciou.mean), (0.0, 0.0, 0.0));
    assert!(Matching::of(&[&sample("b", Vec::new())], &|_, _| true).is_none());
}
