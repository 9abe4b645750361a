//! Things by their kind, colour and pattern.

use super::super::draw::Dice;
use super::super::wording::NounPhrase;
use super::QuestionFamily::{Attribute, Direct};
use super::describe::Mention;
use super::draft::Draft;
use super::facts::{Facts, whole};

/// "the mug"
pub(super) fn direct(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let single: Vec<usize> = facts
        .things()
        .filter(|(_, thing)| facts.of_kind(thing.kind).len() == 1)
        .map(|(index, _)| index)
        .collect();
    let index = dice.choose(single)?;
    let name = facts.bare(index);
    Some(Draft::named(Direct, vec![whole(index)], name.clone(), name, 1))
}

/// "the striped red mug", "the red animal", "the striped thing"
pub(super) fn attribute(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let mut candidates: Vec<(usize, NounPhrase)> = Vec::new();
    for (index, thing) in facts.things() {
        // Where there are several of a kind, the adjectives matter.
        let times = if facts.of_kind(thing.kind).len() > 1 { 4 } else { 1 };
        for mention in [Mention::COLOUR, Mention::PATTERN, Mention::BOTH] {
            if facts.is_unique(index, mention, |other| other.kind == thing.kind) {
                candidates.extend(std::iter::repeat_n((index, facts.name(index, mention)), times));
            }
        }
        if facts.scene.things.len() > 1 && facts.is_unique(index, Mention::PATTERN, |_| true) {
            candidates.push((index, NounPhrase::new(format!("the {} thing", thing.pattern.name()), false)));
        }
    }
    for (group, members) in facts.groups().filter(|(_, members)| members.len() > 1) {
        for &index in &members {
            for mention in [Mention::COLOUR, Mention::PATTERN] {
                if facts.is_unique(index, mention, |other| group.holds.of.contains(&other.kind)) {
                    let adjectives = mention.adjectives(facts.thing(index));
                    candidates
                        .push((index, NounPhrase::new(format!("the {adjectives}{}", group.noun), false)));
                }
            }
        }
    }
    let (index, phrase) = dice.choose(candidates)?;
    // A name with adjectives is repeated; "the red animal" is called by its kind.
    let named = if phrase.text.ends_with(facts.thing(index).kind.name()) {
        phrase.clone()
    } else {
        facts.answer_name(index)
    };
    Some(Draft::named(Attribute, vec![whole(index)], phrase, named, 1))
}
