//! Things by how they compare with others.

use super::super::Thing;
use super::super::draw::Dice;
use super::super::wording::{Frames, NounPhrase};
use super::QuestionFamily::Comparison;
use super::Target;
use super::draft::Draft;
use super::facts::{Facts, is_plural, whole};

/// How many times larger the largest is than the next, in pixels.
const RATIO: f32 = 1.3;

/// How far the leftmost is from the next, as a share of the picture's side.
const DISTANCE: f32 = 0.06;

/// Hidden further than this, a thing's size cannot be compared.
const VISIBLE: f32 = 0.75;

/// A superlative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Superlative {
    Largest,
    Smallest,
    Leftmost,
    Rightmost,
    Topmost,
    Lowest,
}

impl Superlative {
    pub(super) const ALL: [Superlative; 6] = [
        Superlative::Largest,
        Superlative::Smallest,
        Superlative::Leftmost,
        Superlative::Rightmost,
        Superlative::Topmost,
        Superlative::Lowest,
    ];

    /// One of its words.
    pub(super) fn word(self, dice: &mut Dice) -> &'static str {
        match self {
            Superlative::Largest => dice.pick(&["largest", "biggest"]),
            Superlative::Smallest => "smallest",
            Superlative::Leftmost => "leftmost",
            Superlative::Rightmost => "rightmost",
            Superlative::Topmost => dice.pick(&["topmost", "highest"]),
            Superlative::Lowest => "lowest",
        }
    }

    /// The one of `among` that it fits by a clear margin.
    fn of(self, facts: &Facts, among: &[usize]) -> Option<usize> {
        let beats_all =
            |&index: &usize| among.iter().all(|&other| other == index || self.beats(facts, index, other));
        among.iter().copied().find(beats_all)
    }

    fn beats(self, facts: &Facts, one: usize, other: usize) -> bool {
        let (one, other) = (facts.thing(one), facts.thing(other));
        let margin = DISTANCE * facts.size;
        match self {
            Superlative::Largest => is_larger(one, other),
            Superlative::Smallest => is_larger(other, one),
            Superlative::Leftmost => is_before(horizontal(one), horizontal(other), margin),
            Superlative::Rightmost => {
                is_before(mirrored(horizontal(one)), mirrored(horizontal(other)), margin)
            }
            Superlative::Topmost => is_before(vertical(one), vertical(other), margin),
            Superlative::Lowest => is_before(mirrored(vertical(one)), mirrored(vertical(other)), margin),
        }
    }
}

/// Whether `one` covers clearly more pixels and is longer too, both being seen well.
fn is_larger(one: &Thing, other: &Thing) -> bool {
    let diagonal = |thing: &Thing| (thing.bounds.width as f32).hypot(thing.bounds.height as f32);
    one.visible >= VISIBLE
        && other.visible >= VISIBLE
        && one.area as f32 >= RATIO * other.area as f32
        && diagonal(one) >= 1.1 * diagonal(other)
}

/// Begin and end from left to right.
fn horizontal(thing: &Thing) -> (f32, f32) {
    (thing.bounds.x as f32, (thing.bounds.x + thing.bounds.width) as f32)
}

/// Begin and end from top to bottom.
fn vertical(thing: &Thing) -> (f32, f32) {
    (thing.bounds.y as f32, (thing.bounds.y + thing.bounds.height) as f32)
}

/// The same, counted from the other side.
fn mirrored((begin, end): (f32, f32)) -> (f32, f32) {
    (-end, -begin)
}

/// Whether `one` begins, and has its centre, clearly before `other`.
fn is_before(one: (f32, f32), other: (f32, f32), margin: f32) -> bool {
    one.0 + margin <= other.0 && (one.0 + one.1) / 2.0 + margin <= (other.0 + other.1) / 2.0
}

/// What can be compared: noun, plural, and the things.
fn pools(facts: &Facts) -> Vec<(&'static str, &'static str, Vec<usize>)> {
    let groups = facts.groups().map(|(group, members)| (group.noun, group.plural, members));
    let kinds = facts.kinds().into_iter().filter(|kind| !is_plural(*kind));
    let kinds = kinds.map(|kind| (kind.name(), kind.plural(), facts.of_kind(kind)));
    let mut pools: Vec<_> = groups.chain(kinds).filter(|(_, _, members)| members.len() > 1).collect();
    let all: Vec<usize> = (0..facts.scene.things.len()).collect();
    if all.len() > 2 {
        pools.push(("thing", "things", all));
    }
    pools
}

/// "the largest animal", "which of the mugs is the leftmost?"
pub(super) fn comparison(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    // There is a leftmost thing more often than a largest, so that the superlative comes first.
    let superlatives = if dice.chance(0.5) { &Superlative::ALL[..2] } else { &Superlative::ALL[2..] };
    let mut candidates = Vec::new();
    for (noun, plural, members) in pools(facts) {
        for &superlative in superlatives {
            candidates
                .extend(superlative.of(facts, &members).map(|thing| (thing, superlative, noun, plural)));
        }
    }
    let (thing, superlative, noun, plural) = dice.choose(candidates)?;
    Some(compare(dice, superlative, noun, plural, vec![whole(thing)], facts.answer_name(thing)))
}

/// A comparison in words.
pub(super) fn compare(
    dice: &mut Dice,
    superlative: Superlative,
    noun: &str,
    plural: &str,
    targets: Vec<Target>,
    named: NounPhrase,
) -> Draft {
    let word = superlative.word(dice);
    let phrase = NounPhrase::new(format!("the {word} {noun}"), false);
    let places = vec![("sup", word.to_owned()), ("noun", noun.to_owned()), ("nouns", plural.to_owned())];
    Draft::named(Comparison, targets, phrase, named, 2).framed(vec![Frames::Compared], places)
}
