//! What a question says, before it is put into words.

use super::super::draw::Dice;
use super::super::split::Split;
use super::super::wording::{self, Frames, NounPhrase, Worded};
use super::{Falsehood, QuestionFamily, Target};

/// A question without its words.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) family: QuestionFamily,
    pub(super) targets: Vec<Target>,
    /// What it asks for: "the largest animal".
    pub(super) phrase: NounPhrase,
    /// What the answer names: "the cat".
    pub(super) named: NounPhrase,
    /// The pools that a frame is drawn from.
    pub(super) frames: Vec<Frames>,
    /// What fills the frame's places, beside those that follow from `subject`.
    pub(super) places: Vec<(&'static str, String)>,
    pub(super) hops: usize,
    /// Where the premise is false.
    pub(super) denial: Option<Denial>,
}

/// What is said to a false premise.
#[derive(Clone, Debug)]
pub(super) struct Denial {
    pub(super) falsehood: Falsehood,
    pub(super) answer: String,
    /// The thing that comes closest, where one does.
    pub(super) near: Option<usize>,
}

impl Draft {
    /// A question by a noun phrase alone.
    pub(super) fn named(
        family: QuestionFamily,
        targets: Vec<Target>,
        phrase: NounPhrase,
        named: NounPhrase,
        hops: usize,
    ) -> Draft {
        Draft {
            family,
            targets,
            phrase,
            named,
            frames: vec![Frames::Named],
            places: Vec::new(),
            hops,
            denial: None,
        }
    }

    /// The same with frames of their own.
    pub(super) fn framed(mut self, frames: Vec<Frames>, places: Vec<(&'static str, String)>) -> Draft {
        self.frames = frames;
        self.places = places;
        self
    }

    /// The same question where nothing fits it.
    pub(super) fn denied(mut self, falsehood: Falsehood, answer: String, near: Option<usize>) -> Draft {
        self.family = QuestionFamily::FalsePremise;
        self.targets = Vec::new();
        self.denial = Some(Denial { falsehood, answer, near });
        self
    }

    /// The question and its answer.
    pub(super) fn word(&self, dice: &mut Dice, split: Split, unseen_pair: bool) -> (Worded, String) {
        let places: Vec<(&str, &str)> =
            self.places.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let wordings = wording::wordings(split, unseen_pair);
        let worded = wording::word(dice, &self.frames, wordings, &self.phrase, &places);
        let answer = match &self.denial {
            Some(denial) => denial.answer.clone(),
            None => wording::answer(&worded, &self.named),
        };
        (worded, answer)
    }
}
