use crate::{Conventions, Interval, Matching, Sample, SampleOutcome};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// IoUs above which a question counts as answered in [`Row::precision`].
pub const PRECISION_AT: [f64; 5] = [0.5, 0.6, 0.7, 0.8, 0.9];

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The family of questions, or what the line sums up.
    pub name: String,
    /// Questions.
    pub count: usize,
    /// Mean IoU; a false premise that is declined counts 1 (spec 7.2). None where no question counts.
    pub giou: Option<Interval>,
    /// Sum of intersections over sum of unions.
    pub ciou: Interval,
    /// The same of what is not in the masks, without ignored pixels: with the above the IoU of both classes.
    pub background_iou: f64,
    /// Share of questions whose answer says rightly whether what is asked for is there.
    pub see: Interval,
    /// Which answers said what of what.
    pub confusion: Confusion,
    /// Share of the questions whose IoU lies above each value of [`PRECISION_AT`].
    pub precision: [f64; 5],
    /// Share of answers without `[SEG]`.
    pub no_mask: f64,
    /// Share of answers whose mask has no pixel.
    pub empty_mask: f64,
    /// Mean tokens of an answer.
    pub tokens: f64,
}

/// How many questions of each sort were answered how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// It is there and has a mask.
    pub there_and_found: usize,
    /// It is there and has none.
    pub there_and_missed: usize,
    /// It is not there and has a mask.
    pub absent_and_found: usize,
    /// It is not there and has none.
    pub absent_and_declined: usize,
}

/// The table of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How the figures were computed.
    pub conventions: Conventions,
    /// Items that could not be read or that the model refused; they count nowhere.
    pub failed: usize,
    /// A line for each family, then all questions, then those whose premise is true where there are others.
    pub rows: Vec<Row>,
    /// How well single masks fit single targets, where questions have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<Matching>,
}

impl Summary {
    /// Sums `samples` up, families in the order in which `families` has them, those that it lacks in the order in which they occur.
    pub fn new(samples: &[Sample], families: &[&str], conventions: Conventions) -> Self {
        let failed = samples.iter().filter(|sample| sample.outcome == SampleOutcome::Failed).count();
        let counted = conventions.counted(samples);
        let counted: Vec<&Sample> =
            counted.into_iter().filter(|sample| sample.outcome != SampleOutcome::Failed).collect();
        let mut names: Vec<&str> = families.to_vec();
        for sample in &counted {
            if !sample.family.is_empty() && !names.contains(&sample.family.as_str()) {
                names.push(&sample.family);
            }
        }
        let mut rows = Vec::new();
        let mut add = |name: &str, keep: &dyn Fn(&Sample) -> bool| {
            let kept: Vec<&Sample> = counted.iter().copied().filter(|sample| keep(sample)).collect();
            if !kept.is_empty() {
                rows.push(Row::new(name, &kept, &conventions));
            }
        };
        for family in names {
            add(family, &|sample| sample.family == family);
        }
        add("all", &|_| true);
        if counted.iter().any(|sample| !sample.exists) {
            add("all that exists", &|sample| sample.exists);
        }
        Self { conventions, failed, rows, matching: Matching::of(&counted, &|_, _| true) }
    }

    /// The line over all questions; none without a question.
    pub fn all(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == "all")
    }
}

impl Row {
    fn new(name: &str, samples: &[&Sample], conventions: &Conventions) -> Self {
        let share = |keep: &dyn Fn(&Sample) -> bool| {
            samples.iter().filter(|sample| keep(sample)).count() as f64 / samples.len() as f64
        };
        let ious: Vec<f64> = samples.iter().filter_map(|sample| conventions.iou(&sample.overlap)).collect();
        let sees: Vec<f64> = samples.iter().map(|sample| f64::from(u8::from(sample.sees()))).collect();
        let overlaps: Vec<[f64; 2]> = samples
            .iter()
            .map(|sample| {
                let overlap = &sample.overlap;
                [conventions.intersection(overlap) as f64, conventions.union(overlap) as f64]
            })
            .collect();
        // Background and foreground share the pixels: what is in neither mask is the background's intersection.
        let (outside, not_both) =
            samples.iter().fold((0, 0), |(outside, not_both), Sample { overlap, .. }| {
                (
                    outside + overlap.pixels.saturating_sub(conventions.union_without_ignored(overlap)),
                    not_both + overlap.pixels.saturating_sub(conventions.intersection(overlap)),
                )
            });
        let mut confusion = Confusion::default();
        for sample in samples {
            *match (sample.exists, sample.found()) {
                (true, true) => &mut confusion.there_and_found,
                (true, false) => &mut confusion.there_and_missed,
                (false, true) => &mut confusion.absent_and_found,
                (false, false) => &mut confusion.absent_and_declined,
            } += 1;
        }
        let above =
            |bar: f64| ious.iter().filter(|iou| **iou > bar).count() as f64 / ious.len().max(1) as f64;
        Self {
            name: name.to_owned(),
            count: samples.len(),
            giou: (!ious.is_empty()).then(|| Interval::of(&ious)),
            ciou: Interval::of_statistic(&overlaps, &|[intersection, union]| intersection / union.max(1.0)),
            background_iou: outside as f64 / not_both.max(1) as f64,
            see: Interval::of(&sees),
            confusion,
            precision: PRECISION_AT.map(above),
            no_mask: share(&|sample| sample.outcome == SampleOutcome::Declined),
            empty_mask: share(&|sample| sample.outcome == SampleOutcome::Empty),
            tokens: samples.iter().map(|sample| sample.tokens as f64).sum::<f64>() / samples.len() as f64,
        }
    }
}

impl Row {
    /// The mean IoU as tables show it.
    pub(crate) fn giou_text(&self) -> String {
        self.giou.map_or_else(|| "–".to_owned(), |giou| giou.to_string())
    }
}

impl Display for Summary {
    /// As a Markdown table.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| questions | n | gIoU [95 %] | cIoU [95 %] | See [95 %] | P@0.5 | P@0.7 | P@0.9 | no mask | empty | tokens |"
        )?;
        writeln!(formatter, "|---|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let [at_5, _, at_7, _, at_9] = row.precision;
            writeln!(
                formatter,
                "| {} | {} | {} | {} | {} | {at_5:.3} | {at_7:.3} | {at_9:.3} | {:.3} | {:.3} | {:.1} |",
                row.name,
                row.count,
                row.giou_text(),
                row.ciou,
                row.see,
                row.no_mask,
                row.empty_mask,
                row.tokens
            )?;
        }
        if let Some(Row { confusion, .. }) = self.all().filter(|row| row.confusion.has_absent()) {
            writeln!(
                formatter,
                "\nThere: {} found, {} missed. Absent: {} found, {} declined.",
                confusion.there_and_found,
                confusion.there_and_missed,
                confusion.absent_and_found,
                confusion.absent_and_declined
            )?;
        }
        if let Some(matching) = &self.matching {
            write!(formatter, "\n{matching}")?;
        }
        if self.conventions != Conventions::default() {
            writeln!(formatter, "\nConventions: {}.", self.conventions)?;
        }
        if self.failed > 0 {
            writeln!(formatter, "\n{} items failed and count nowhere.", self.failed)?;
        }
        Ok(())
    }
}

impl Confusion {
    fn has_absent(&self) -> bool {
        self.absent_and_found + self.absent_and_declined > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmptyTargets, IgnoredPixels, Overlap, OverlappedPixels};

    fn sample(family: &str, exists: bool, intersection: u64, union: u64) -> Sample {
        Sample {
            index: 0,
            id: String::new(),
            family: family.to_owned(),
            question: String::new(),
            answer: String::new(),
            outcome: if union > 0 { SampleOutcome::Segmented } else { SampleOutcome::Declined },
            error: None,
            exists,
            overlap: Overlap {
                intersection,
                union,
                predicted_ignored: 10,
                target: if exists { union } else { 0 },
                pixels: 1000,
                overlapped: 20,
                predicted_overlapped: 5,
            },
            tokens: 4,
            mask: None,
            pairs: Vec::new(),
        }
    }

    fn samples() -> [Sample; 4] {
        [
            sample("direct", true, 50, 100),
            sample("direct", true, 100, 100),
            sample("false premise", false, 0, 0),
            sample("false premise", false, 0, 40),
        ]
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-6
    }

    #[test]
    fn families_and_totals() {
        let summary = Summary::new(&samples(), &["direct", "part"], Conventions::default());
        let names: Vec<&str> = summary.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["direct", "false premise", "all", "all that exists"]);
        let [direct, premise, all, _] = &summary.rows[..] else { panic!("{names:?}") };
        assert!(close(direct.giou.unwrap().mean, 0.75) && close(direct.ciou.mean, 0.75));
        assert!(close(premise.giou.unwrap().mean, 0.5) && premise.see.mean == 0.5);
        assert!(close(all.ciou.mean, 150.0 / 240.0) && all.see.mean == 0.75);
        assert_eq!(all.precision, [0.5; 5], "above, not at, a half");
        // 900 + 900 + 1000 + 960 pixels lie outside of both, 50 + 0 + 0 + 40 more in one of them only.
        assert!(close(all.background_iou, 3760.0 / 3850.0), "{}", all.background_iou);
        let Confusion { there_and_found, there_and_missed, absent_and_found, absent_and_declined } =
            all.confusion;
        assert_eq!((there_and_found, there_and_missed, absent_and_found, absent_and_declined), (2, 0, 1, 1));
        assert!(summary.to_string().contains("There: 2 found, 0 missed. Absent: 1 found, 1 declined."));
    }

    #[test]
    fn conventions_alter_what_counts() {
        let giou = |conventions: Conventions| {
            Summary::new(&samples(), &[], conventions).all().unwrap().giou.unwrap().mean
        };
        assert!(close(giou(Conventions::default()), 0.625));
        let left_out = Conventions { empty_targets: EmptyTargets::LeftOut, ..Conventions::default() };
        assert!(close(giou(left_out), 0.75));
        let background = Conventions { ignored_pixels: IgnoredPixels::Background, ..Conventions::default() };
        assert!(close(giou(background), (50.0 / 110.0 + 100.0 / 110.0) / 4.0));
        // 5 of 20 pixels that several polygons cover were predicted, and were in the unions already.
        let inside = Conventions { overlapped_pixels: OverlappedPixels::Inside, ..Conventions::default() };
        let expected = (55.0 / 115.0 + 105.0 / 115.0 + 5.0 / 15.0 + 5.0 / 55.0) / 4.0;
        assert!(close(giou(inside), expected), "{}", giou(inside));
        // Three processes get two items each: the first two once more.
        let padded = Conventions { padded_processes: 3, ..Conventions::default() };
        assert!(close(giou(padded), (0.5 + 1.0 + 1.0 + 0.0 + 0.5 + 1.0) / 6.0));
    }

    #[test]
    fn what_failed_counts_nowhere() {
        let mut samples = samples();
        samples[0].outcome = SampleOutcome::Failed;
        let summary = Summary::new(&samples, &[], Conventions::default());
        assert_eq!((summary.failed, summary.all().unwrap().count), (1, 3));
        assert!(summary.to_string().contains("1 items failed"));
    }
}
