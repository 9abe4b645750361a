//! Questions about scenes, with their answers.

use super::draw::Dice;
use super::split::Split;
use super::{Scene, is_unseen_pair};
use crate::mask::Mask;
use std::fmt::{self, Display, Formatter};

mod attribute;
mod comparison;
mod describe;
mod draft;
mod facts;
mod falsehood;
mod function;
mod part;
mod relation;
mod several;
mod weights;

use draft::Draft;
use facts::Facts;
pub use weights::QuestionWeights;
use weights::{FALSE_PREMISE, FAMILIES};

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuestionFamily {
    /// A thing by its kind: "the mug".
    Direct,
    /// A thing by its colour or pattern: "the striped red mug".
    Attribute,
    /// A thing by where it is: "what stands left of the lamp?".
    Relation,
    /// A thing by how it compares with others: "the largest animal".
    Comparison,
    /// A thing by what it is for or what it does: "what would you use to cut paper?".
    Function,
    /// A part of a thing, mostly by what it is for: "which part of the deer does it fight with?".
    Part,
    /// Several things, united in one mask: "everything one could eat".
    Several,
    /// Something that isn't there: the answer says so.
    FalsePremise,
}

impl QuestionFamily {
    /// Every family.
    pub const ALL: [QuestionFamily; 8] = [
        QuestionFamily::Direct,
        QuestionFamily::Attribute,
        QuestionFamily::Relation,
        QuestionFamily::Comparison,
        QuestionFamily::Function,
        QuestionFamily::Part,
        QuestionFamily::Several,
        QuestionFamily::FalsePremise,
    ];

    /// Its name in tables: "direct".
    pub fn name(self) -> &'static str {
        match self {
            QuestionFamily::Direct => "direct",
            QuestionFamily::Attribute => "attribute",
            QuestionFamily::Relation => "relation",
            QuestionFamily::Comparison => "comparison",
            QuestionFamily::Function => "function",
            QuestionFamily::Part => "part",
            QuestionFamily::Several => "several",
            QuestionFamily::FalsePremise => "false premise",
        }
    }
}

impl Display for QuestionFamily {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a premise is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Falsehood {
    /// There is no such thing in the picture.
    Absent,
    /// There is one, but of another colour or pattern.
    Attribute,
    /// There is one, but elsewhere; or nothing is there.
    Relation,
}

impl Falsehood {
    /// Every sort.
    pub const ALL: [Falsehood; 3] = [Falsehood::Absent, Falsehood::Attribute, Falsehood::Relation];
}

/// A thing of a scene or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Index in [`Scene::things`].
    pub thing: usize,
    /// Index in the thing's parts; `None` for all of it.
    pub part: Option<usize>,
}

/// What makes a question hard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulty {
    /// Number of things in the picture.
    pub things: usize,
    /// The least visible share (0..1) of the things that are meant; 1 if there are none.
    pub visible: f32,
    /// Steps of thought: 1 to know a thing by its name, 2 where a relation, a comparison or knowledge comes in.
    pub hops: usize,
}

/// A question about a scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What it asks for.
    pub family: QuestionFamily,
    /// Why its premise is false, where it is.
    pub falsehood: Option<Falsehood>,
    /// The question as it is put.
    pub text: String,
    /// What it asks for as a noun phrase, "the largest animal".
    pub phrase: String,
    /// Whether `text` is a sentence rather than a noun phrase.
    pub sentence: bool,
    /// The answer: it names what is meant and has one `[SEG]`, none if the premise is false.
    pub answer: String,
    /// What is meant; the mask is the union. Empty if the premise is false.
    pub targets: Vec<Target>,
    /// Something in the picture, close to what a false premise asks for where there is something close, as a noun phrase.
    pub correction: Option<(String, usize)>,
    /// How hard it is.
    pub difficulty: Difficulty,
    /// Whether it shows a pair of kind and colour that only [`Split::Unseen`] has.
    pub unseen_pair: bool,
    /// Whether its wording is one that only [`Split::Unseen`] has.
    pub unseen_wording: bool,
}

impl Question {
    /// Whether what it asks for is there.
    pub fn exists(&self) -> bool {
        !self.targets.is_empty()
    }

    /// The union of its targets in the scene that it was asked about; empty if the premise is false.
    pub fn mask(&self, scene: &Scene) -> Mask {
        union(scene, &self.targets)
    }
}

/// The pixels that belong to any of `targets`.
pub(super) fn union(scene: &Scene, targets: &[Target]) -> Mask {
    let mut union = Mask::empty(scene.image.width() as usize, scene.image.height() as usize);
    for target in targets {
        let Some(thing) = scene.things.get(target.thing) else { continue };
        let mask = match target.part {
            None => Some(&thing.mask),
            Some(part) => thing.parts.get(part).map(|part| &part.mask),
        };
        for (pixel, &set) in union.data.iter_mut().zip(mask.iter().flat_map(|mask| &mask.data)) {
            *pixel |= set;
        }
    }
    union
}

/// Asks up to `count` different questions about `scene`.
pub(super) fn ask(
    dice: &mut Dice,
    scene: &Scene,
    split: Split,
    weights: &QuestionWeights,
    count: usize,
) -> Vec<Question> {
    let facts = Facts::new(scene, split);
    let falsehoods = weights.falsehoods();
    let mut weights = weights.families();
    let false_share = weights[FALSE_PREMISE] / weights.iter().sum::<f32>();
    let mut questions: Vec<Question> = Vec::with_capacity(count);
    for _ in 0..count {
        // The premise comes first: in a picture with little to ask, false premises do not fill the room of true ones.
        let is_false = dice.chance(false_share);
        questions.extend(another(dice, &facts, &mut weights, &falsehoods, is_false, &questions));
    }
    if questions.is_empty() {
        questions.extend(another(dice, &facts, &mut weights, &falsehoods, true, &[]));
    }
    questions
}

/// A question that is none of `others`. Families that have no more get the weight 0.
fn another(
    dice: &mut Dice,
    facts: &Facts,
    weights: &mut [f32; FAMILIES],
    falsehoods: &[f32; 3],
    is_false: bool,
    others: &[Question],
) -> Option<Question> {
    loop {
        let mut among = *weights;
        among
            .iter_mut()
            .enumerate()
            .filter(|(family, _)| (*family == FALSE_PREMISE) != is_false)
            .for_each(|(_, weight)| *weight = 0.0);
        let family = draw(dice, &among)?;
        for _ in 0..3 {
            let Some(draft) = draft(dice, facts, falsehoods, QuestionFamily::ALL[family]) else { break };
            if !others.iter().any(|other| repeats(other, &draft)) {
                return Some(finish(dice, facts, draft));
            }
        }
        weights[family] = 0.0;
    }
}

fn repeats(question: &Question, draft: &Draft) -> bool {
    let same_targets = question.exists() && question.targets == draft.targets;
    question.phrase == draft.phrase.text || (same_targets && question.family == draft.family)
}

/// A family by its weight; `None` if all weights are 0.
fn draw(dice: &mut Dice, weights: &[f32]) -> Option<usize> {
    let total: f32 = weights.iter().sum();
    let mut left = dice.between(0.0, total);
    let mut last = None;
    for (index, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = Some(index);
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

fn draft(dice: &mut Dice, facts: &Facts, falsehoods: &[f32; 3], family: QuestionFamily) -> Option<Draft> {
    match family {
        QuestionFamily::Direct => attribute::direct(dice, facts),
        QuestionFamily::Attribute => attribute::attribute(dice, facts),
        QuestionFamily::Relation => relation::relation(dice, facts),
        QuestionFamily::Comparison => comparison::comparison(dice, facts),
        QuestionFamily::Function => function::function(dice, facts),
        QuestionFamily::Part => part::part(dice, facts),
        QuestionFamily::Several => several::several(dice, facts),
        QuestionFamily::FalsePremise => {
            let falsehood = Falsehood::ALL[draw(dice, falsehoods)?];
            falsehood::false_premise(dice, facts, falsehood)
        }
    }
}

/// Puts a draft into words.
fn finish(dice: &mut Dice, facts: &Facts, draft: Draft) -> Question {
    let things = &facts.scene.things;
    let unseen_pair = draft
        .targets
        .iter()
        .map(|target| &things[target.thing])
        .any(|thing| is_unseen_pair(thing.kind, thing.colour));
    let visible = draft.targets.iter().map(|target| things[target.thing].visible).fold(1.0, f32::min);
    let (worded, answer) = draft.word(dice, facts.split, unseen_pair);
    Question {
        family: draft.family,
        falsehood: draft.denial.as_ref().map(|denial| denial.falsehood),
        text: worded.text,
        phrase: draft.phrase.text,
        sentence: worded.sentence,
        answer,
        targets: draft.targets,
        correction: draft.denial.and_then(|denial| {
            let near = denial.near.or_else(|| facts.most_visible())?;
            Some((facts.describe(near).unwrap_or_else(|| facts.bare(near)).text, near))
        }),
        difficulty: Difficulty { things: things.len(), visible, hops: draft.hops },
        unseen_pair,
        unseen_wording: worded.unseen,
    }
}

impl Dice<'_> {
    /// One of `choices`, each as likely; `None` if there are none.
    fn choose<T>(&mut self, mut choices: Vec<T>) -> Option<T> {
        let last = choices.len().checked_sub(1)?;
        Some(choices.swap_remove(self.whole(0, last)))
    }
}

#[cfg(test)]
mod tests;
