//! Parts of things, by their names and by what they are for.

use super::super::draw::Dice;
use super::super::knowledge::{PART_USES, PartUse};
use super::super::wording::{Frames, NounPhrase};
use super::QuestionFamily;
use super::Target;
use super::draft::Draft;
use super::facts::Facts;

/// Pixels of a part that must be visible, in a picture of 256 by 256.
const LEAST_PIXELS: f32 = 25.0;

/// "which part of the deer does it fight with?", "the handle of the mug"
pub(super) fn part(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let least = LEAST_PIXELS * (facts.size / 256.0).powi(2);
    let mut candidates: Vec<(Target, NounPhrase)> = Vec::new();
    for (thing, owner) in facts.anchors() {
        let parts = facts.thing(thing).parts.iter().enumerate();
        let visible = parts.filter(|(_, part)| part.mask.area() as f32 >= least);
        candidates.extend(visible.map(|(part, _)| (Target { thing, part: Some(part) }, owner.clone())));
    }
    let (target, owner) = dice.choose(candidates)?;
    let owning = facts.thing(target.thing);
    let part = owning.parts[target.part?].part;
    let named = NounPhrase::new(format!("the {} of {}", part.name, owner.text), part.plural);
    if dice.chance(0.25) {
        return Some(Draft::named(QuestionFamily::Part, vec![target], named.clone(), named, 2));
    }
    let fits = |entry: &&PartUse| entry.part == part.name && entry.kinds.contains(&owning.kind);
    Some(ask(dice, PART_USES.iter().find(fits)?, &owner, vec![target], named))
}

/// A question for a part by what it is for.
pub(super) fn ask(
    dice: &mut Dice,
    known: &PartUse,
    owner: &NounPhrase,
    targets: Vec<Target>,
    named: NounPhrase,
) -> Draft {
    let wording = dice.whole(0, known.that.len() + known.which.len() - 1);
    let (frames, place) = match known.which.get(wording) {
        Some(which) => (Frames::PartAsked, ("which", (*which).to_owned())),
        None => (Frames::Part, ("that", known.that[wording - known.which.len()].to_owned())),
    };
    let that = if place.0 == "that" { &place.1 } else { known.that[0] };
    let phrase = NounPhrase::new(format!("the part of {} that {that}", owner.text), false);
    let it = if owner.plural { "them" } else { "it" };
    let places = vec![place, ("owner", owner.text.clone()), ("it", it.to_owned())];
    Draft::named(QuestionFamily::Part, targets, phrase, named, 3).framed(vec![frames], places)
}
