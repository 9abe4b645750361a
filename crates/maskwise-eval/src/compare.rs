//! Whether one evaluation is better than another: paired, question by question.

use crate::{Conventions, EvalError, Evaluation, Interval, Sample, SampleOutcome};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

/// The difference of two evaluations, the second minus the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What the evaluations are called.
    pub names: [String; 2],
    /// Questions that both have answered.
    pub count: usize,
    /// Of the mean IoU.
    pub giou: Interval,
    /// Of the cumulative IoU.
    pub ciou: Interval,
    /// Of the share of questions seen rightly.
    pub see: Interval,
    /// How alike the answers are, whatever the truth.
    pub likeness: Likeness,
    /// The questions whose answers differ, the largest change of IoU first.
    pub changed: Vec<Change>,
}

/// How alike two evaluations answer: for telling what another precision or processor changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Likeness {
    /// Questions with the same words for an answer.
    pub same_texts: usize,
    /// Questions where at least one of the two has drawn a mask.
    pub masks: usize,
    /// The mean IoU of one's mask with the other's over those questions; 0 where only one has a mask.
    pub mean_iou: f64,
    /// The median of the same.
    pub median_iou: f64,
    /// What a twentieth of them is below.
    pub low_iou: f64,
}

impl Likeness {
    fn of(pairs: &[(&Sample, &Sample)]) -> Self {
        let iou = |(a, b): &(&Sample, &Sample)| match (&a.mask, &b.mask) {
            (None, None) => None,
            (Some(a), Some(b)) => Some(a.iou(b, false).unwrap_or(0.0)),
            _ => Some(0.0),
        };
        let mut ious: Vec<f64> = pairs.iter().filter_map(iou).collect();
        ious.sort_by(f64::total_cmp);
        let at = |share: f64| ious.get((share * ious.len() as f64) as usize).copied().unwrap_or(1.0);
        Self {
            same_texts: pairs.iter().filter(|(a, b)| a.answer == b.answer).count(),
            masks: ious.len(),
            mean_iou: if ious.is_empty() { 1.0 } else { ious.iter().sum::<f64>() / ious.len() as f64 },
            median_iou: at(0.5),
            low_iou: at(0.05),
        }
    }
}

/// A question that was answered otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The item's place in the benchmark.
    pub index: usize,
    /// Where it comes from.
    pub id: String,
    /// The question.
    pub question: String,
    /// Both answers.
    pub answers: [String; 2],
    /// What came of both.
    pub outcomes: [SampleOutcome; 2],
    /// Both IoUs.
    pub ious: [f64; 2],
}

impl Comparison {
    /// Compares two evaluations of the same questions.
    ///
    /// # Errors
    /// When they are not about the same items.
    pub fn new(
        first: &Evaluation,
        second: &Evaluation,
        conventions: &Conventions,
    ) -> Result<Self, EvalError> {
        first.check_complete()?;
        second.check_complete()?;
        check_comparable(first, second)?;
        let (one, two) = (&first.samples, &second.samples);
        let same = |(a, b): &(&Sample, &Sample)| {
            (a.index, &a.id, a.exists, a.overlap.target) == (b.index, &b.id, b.exists, b.overlap.target)
        };
        let pairs =
            || one.iter().zip(two).filter(|(a, b)| ![a.outcome, b.outcome].contains(&SampleOutcome::Failed));
        if let Some((a, b)) = pairs().find(|pair| !same(pair)) {
            return Err(EvalError::Benchmark(format!(
                "the evaluations are not of the same items: {} ({}) stands where the other has {} ({})",
                a.index, a.id, b.index, b.id
            )));
        }
        let pairs: Vec<(&Sample, &Sample)> = pairs().collect();
        let sees = |sample: &Sample| f64::from(u8::from(sample.sees()));
        let see: Vec<f64> = pairs.iter().map(|(a, b)| sees(b) - sees(a)).collect();
        let giou: Vec<f64> = pairs
            .iter()
            .filter_map(|(a, b)| Some(conventions.iou(&b.overlap)? - conventions.iou(&a.overlap)?))
            .collect();
        Ok(Self {
            names: [first, second].map(|evaluation| evaluation.record.model.name.clone()),
            count: pairs.len(),
            giou: Interval::of(&giou),
            ciou: Interval::of_difference(&pairs, &|sample| {
                let overlap = &sample.overlap;
                (conventions.intersection(overlap) as f64, conventions.union(overlap) as f64)
            }),
            see: Interval::of(&see),
            likeness: Likeness::of(&pairs),
            changed: changes(&pairs, conventions),
        })
    }
}

/// Whether two evaluations asked the same of the same items.
fn check_comparable(first: &Evaluation, second: &Evaluation) -> Result<(), EvalError> {
    let asked = |evaluation: &Evaluation| {
        let mut benchmark = evaluation.record.benchmark.clone();
        benchmark.forget_place();
        (benchmark, evaluation.record.data.clone(), evaluation.record.items)
    };
    if asked(first) != asked(second) {
        let (first, second) = (first.record.benchmark.name(), second.record.benchmark.name());
        let reason = format!(
            "the evaluations are not of the same items: {first} and {second}, or their files, differ"
        );
        return Err(EvalError::Benchmark(reason));
    }
    if first.record.answers != second.record.answers {
        let reason = "the answers of one evaluation are generated, those of the other teacher-forced";
        return Err(EvalError::Benchmark(reason.to_owned()));
    }
    Ok(())
}

fn changes(pairs: &[(&Sample, &Sample)], conventions: &Conventions) -> Vec<Change> {
    let differ =
        |(a, b): &&(&Sample, &Sample)| (&a.answer, &a.mask, a.outcome) != (&b.answer, &b.mask, b.outcome);
    let mut changed: Vec<Change> = pairs
        .iter()
        .filter(differ)
        .map(|(a, b)| Change {
            index: a.index,
            id: a.id.clone(),
            question: a.question.clone(),
            answers: [a.answer.clone(), b.answer.clone()],
            outcomes: [a.outcome, b.outcome],
            ious: [a, b].map(|sample| conventions.iou(&sample.overlap).unwrap_or_default()),
        })
        .collect();
    let change = |change: &Change| (change.ious[1] - change.ious[0]).abs();
    changed.sort_by(|a, b| change(b).total_cmp(&change(a)).then(a.index.cmp(&b.index)));
    changed
}

/// Changed questions that the table shows.
const SHOWN: usize = 20;

impl Display for Comparison {
    /// As Markdown.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.names;
        writeln!(formatter, "{second} minus {first}, {} questions, paired bootstrap\n", self.count)?;
        writeln!(formatter, "| figure | difference [95 %] | |")?;
        writeln!(formatter, "|---|---|---|")?;
        for (name, interval) in [("gIoU", self.giou), ("cIoU", self.ciou), ("See", self.see)] {
            let judgement = if interval.excludes_zero() { "differs" } else { "may be chance" };
            writeln!(
                formatter,
                "| {name} | {:+.3} [{:+.3}, {:+.3}] | {judgement} |",
                interval.mean, interval.low, interval.high
            )?;
        }
        let Likeness { same_texts, masks, mean_iou, median_iou, low_iou } = self.likeness;
        writeln!(
            formatter,
            "\n{} answers differ. {same_texts} of {} say the same. IoU of one's mask with the other's over {masks} questions: mean \
             {mean_iou:.3}, median {median_iou:.3}, a twentieth below {low_iou:.3}.",
            self.changed.len(),
            self.count
        )?;
        if self.changed.is_empty() {
            return Ok(());
        }
        writeln!(formatter, "\n| item | IoU | question | answers |")?;
        writeln!(formatter, "|---|---|---|---|")?;
        for change in self.changed.iter().take(SHOWN) {
            let [before, after] = change.ious;
            let [one, two] = change.answers.each_ref().map(|answer| cell(answer));
            writeln!(
                formatter,
                "| {} | {before:.3} → {after:.3} | {} | {one} → {two} |",
                cell(&change.id),
                cell(&change.question)
            )?;
        }
        Ok(())
    }
}

/// Text that does not break a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
