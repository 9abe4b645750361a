//! Things by what they are for and what they do.

use super::super::draw::Dice;
use super::super::knowledge::{TRAITS, USES};
use super::super::wording::{Frames, NounPhrase};
use super::QuestionFamily::Function;
use super::Target;
use super::draft::Draft;
use super::facts::{Facts, whole};

/// Something to know about things.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// "cut paper"
    Use(&'static str),
    /// "gives milk"
    Trait(&'static str),
}

/// "what would you use to cut paper?", "the thing that barks"
pub(super) fn function(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let things: Vec<(usize, Vec<Known>)> = (0..facts.scene.things.len())
        .map(|thing| (thing, known(facts, &[thing])))
        .filter(|(_, known)| !known.is_empty())
        .collect();
    let (thing, known) = dice.choose(things)?;
    let known = dice.choose(known)?;
    Some(ask(known, vec![whole(thing)], facts.answer_name(thing)))
}

/// Everything that is known to hold for exactly `things`, in all its wordings.
pub(super) fn known(facts: &Facts, things: &[usize]) -> Vec<Known> {
    let exactly = |holding: Option<Vec<usize>>| holding.is_some_and(|holding| holding == things);
    let uses = USES.iter().filter(|entry| exactly(facts.holding(&entry.holds)));
    let traits = TRAITS.iter().filter(|entry| exactly(facts.holding(&entry.holds)));
    let uses = uses.flat_map(|entry| entry.to.iter().map(|text| Known::Use(text)));
    uses.chain(traits.flat_map(|entry| entry.that.iter().map(|text| Known::Trait(text)))).collect()
}

/// A question for the one thing of which something is known.
pub(super) fn ask(known: Known, targets: Vec<Target>, named: NounPhrase) -> Draft {
    let (phrase, frames, place) = match known {
        Known::Use(text) => {
            (format!("the thing one would use to {text}"), Frames::Used, ("use", text.to_owned()))
        }
        Known::Trait(text) => {
            (format!("the thing that {text}"), Frames::Described, ("that", text.to_owned()))
        }
    };
    let phrase = NounPhrase::new(phrase, false);
    Draft::named(Function, targets, phrase, named, 2).framed(vec![frames], vec![place])
}
