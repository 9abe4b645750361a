//! Several things at once.

use super::super::draw::Dice;
use super::super::wording::{NounPhrase, enumerate};
use super::super::{Kind, Pattern};
use super::QuestionFamily::Several;
use super::draft::Draft;
use super::facts::{Facts, whole};
use super::function::{Known, known};

/// "both mugs", "all the tools", "everything that can fly", "all the striped things"
pub(super) fn several(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let mut candidates: Vec<(Vec<usize>, NounPhrase)> = Vec::new();
    for kind in facts.kinds() {
        let members = facts.of_kind(kind);
        if members.len() > 1 {
            candidates.push((members.clone(), of_kind(dice, kind, members.len())));
        }
    }
    for (group, members) in facts.groups().filter(|(_, members)| members.len() > 1) {
        candidates.push((members.clone(), all(dice, group.plural)));
        for known in known(facts, &members) {
            candidates.push((members.clone(), whatever(dice, known)));
        }
    }
    for pattern in [Pattern::Striped, Pattern::Spotted, Pattern::Checked] {
        let members: Vec<usize> =
            facts.things().filter(|(_, thing)| thing.pattern == pattern).map(|(index, _)| index).collect();
        if members.len() > 1 {
            candidates.push((members, all(dice, &format!("{} things", pattern.name()))));
        }
    }
    let (members, phrase) = dice.choose(candidates)?;
    let named = named(facts, &members);
    Some(Draft::named(Several, members.into_iter().map(whole).collect(), phrase, named, 2))
}

/// "both mugs", "the three mugs", "all the mugs"
fn of_kind(dice: &mut Dice, kind: Kind, count: usize) -> NounPhrase {
    let number = number(count);
    let text = match (count, dice.whole(0, 3)) {
        (2, 0 | 1) => format!("both {}", kind.plural()),
        (_, 0 | 1) => format!("all {number} {}", kind.plural()),
        (_, 2) => format!("the {number} {}", kind.plural()),
        _ => format!("all the {}", kind.plural()),
    };
    NounPhrase::new(text, true)
}

/// "all the tools"
pub(super) fn all(dice: &mut Dice, nouns: &str) -> NounPhrase {
    NounPhrase::new(format!("{} {nouns}", dice.pick(&["all the", "all", "the"])), true)
}

/// "everything that can fly"
pub(super) fn whatever(dice: &mut Dice, known: Known) -> NounPhrase {
    match known {
        Known::Use(text) if dice.chance(0.5) => {
            NounPhrase::new(format!("all the things one could use to {text}"), true)
        }
        Known::Use(text) => NounPhrase::new(format!("everything one could use to {text}"), false),
        Known::Trait(text) => NounPhrase::new(format!("everything that {text}"), false),
    }
}

/// What an answer calls several things, from left to right: "the two mugs and the apple".
fn named(facts: &Facts, members: &[usize]) -> NounPhrase {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| 2 * facts.thing(index).bounds.x + facts.thing(index).bounds.width);
    let mut kinds: Vec<(Kind, usize)> = Vec::new();
    for kind in sorted.into_iter().map(|index| facts.thing(index).kind) {
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let name = |&(kind, count): &(Kind, usize)| match count {
        1 => format!("the {}", kind.name()),
        _ => format!("the {} {}", number(count), kind.plural()),
    };
    NounPhrase::new(enumerate(&kinds.iter().map(name).collect::<Vec<_>>()), true)
}

/// A number in words; figures above ten.
fn number(count: usize) -> String {
    const WORDS: [&str; 11] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    WORDS.get(count).map_or_else(|| count.to_string(), |word| (*word).to_owned())
}
