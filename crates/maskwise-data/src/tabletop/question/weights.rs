use serde::{Deserialize, Serialize};

/// How often each family of questions is asked for, relative to the others. Where a picture has no question of the family that was
/// drawn, another is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionWeights {
    /// [`QuestionFamily::Direct`](super::QuestionFamily::Direct)
    pub direct: f32,
    /// [`QuestionFamily::Attribute`](super::QuestionFamily::Attribute)
    pub attribute: f32,
    /// [`QuestionFamily::Relation`](super::QuestionFamily::Relation)
    pub relation: f32,
    /// [`QuestionFamily::Comparison`](super::QuestionFamily::Comparison)
    pub comparison: f32,
    /// [`QuestionFamily::Function`](super::QuestionFamily::Function)
    pub function: f32,
    /// [`QuestionFamily::Part`](super::QuestionFamily::Part)
    pub part: f32,
    /// [`QuestionFamily::Several`](super::QuestionFamily::Several)
    pub several: f32,
    /// [`Falsehood::Absent`](super::Falsehood::Absent), which every picture has.
    pub absent: f32,
    /// [`Falsehood::Attribute`](super::Falsehood::Attribute); [`absent`](Self::absent) where the picture has none.
    pub wrong_attribute: f32,
    /// [`Falsehood::Relation`](super::Falsehood::Relation); [`absent`](Self::absent) where the picture has none.
    pub wrong_relation: f32,
}

impl Default for QuestionWeights {
    fn default() -> QuestionWeights {
        QuestionWeights {
            direct: 2.0,
            attribute: 2.0,
            relation: 2.0,
            comparison: 1.0,
            function: 2.0,
            part: 2.0,
            several: 1.0,
            absent: 1.0,
            wrong_attribute: 1.0,
            wrong_relation: 1.0,
        }
    }
}

/// How many families there are.
pub(super) const FAMILIES: usize = 8;
/// Index of false premises in [`QuestionFamily::ALL`](super::QuestionFamily::ALL).
pub(super) const FALSE_PREMISE: usize = 7;

impl QuestionWeights {
    /// As many false premises as true ones, for judging whether a model sees what is there.
    pub fn even() -> QuestionWeights {
        QuestionWeights {
            absent: 4.0,
            wrong_attribute: 4.0,
            wrong_relation: 4.0,
            ..QuestionWeights::default()
        }
    }

    /// True premises and nothing else.
    pub fn true_only() -> QuestionWeights {
        QuestionWeights {
            absent: 0.0,
            wrong_attribute: 0.0,
            wrong_relation: 0.0,
            ..QuestionWeights::default()
        }
    }

    /// False premises and nothing else.
    pub fn false_only() -> QuestionWeights {
        QuestionWeights {
            direct: 0.0,
            attribute: 0.0,
            relation: 0.0,
            comparison: 0.0,
            function: 0.0,
            part: 0.0,
            several: 0.0,
            ..QuestionWeights::default()
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A weight that is negative or no number, or none above 0.
    pub fn check(&self) -> Result<(), String> {
        let given = self.all();
        match given.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            Some(weight) => Err(format!("a weight must be at least 0, found {weight}")),
            None if given.iter().sum::<f32>() <= 0.0 => Err("one of the weights must be above 0".to_owned()),
            None => Ok(()),
        }
    }

    /// The weights in the order of [`QuestionFamily::ALL`](super::QuestionFamily::ALL); what isn't a positive number counts as 0.
    pub(super) fn families(&self) -> [f32; FAMILIES] {
        let all = self.all().map(positive);
        let mut families = [0.0; FAMILIES];
        families.copy_from_slice(&all[..FAMILIES]);
        families[FALSE_PREMISE] = all[FALSE_PREMISE..].iter().sum();
        families
    }

    /// The weights in the order of [`Falsehood::ALL`](super::Falsehood::ALL), each as likely where all are 0.
    pub(super) fn falsehoods(&self) -> [f32; 3] {
        let weights = [self.absent, self.wrong_attribute, self.wrong_relation].map(positive);
        if weights.iter().sum::<f32>() > 0.0 { weights } else { [1.0; 3] }
    }

    /// All weights, families first.
    fn all(&self) -> [f32; 10] {
        [
            self.direct,
            self.attribute,
            self.relation,
            self.comparison,
            self.function,
            self.part,
            self.several,
            self.absent,
            self.wrong_attribute,
            self.wrong_relation,
        ]
    }
}

fn positive(weight: f32) -> f32 {
    if weight.is_finite() { weight.max(0.0) } else { 0.0 }
}
