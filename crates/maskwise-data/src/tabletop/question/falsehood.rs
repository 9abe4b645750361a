//! Questions for what isn't there, worded like those for what is.

use super::super::draw::Dice;
use super::super::knowledge::{GROUPS, KIN, PART_USES, TRAITS, USES};
use super::super::wording::{NounPhrase, enumerate, with_article};
use super::super::{Colour, Kind, Pattern};
use super::QuestionFamily::{Attribute, Direct, Part, Relation};
use super::comparison::{Superlative, compare};
use super::describe::Mention;
use super::draft::Draft;
use super::facts::{Facts, Verdict, has_colour, is_plural, the};
use super::function::{Known, ask};
use super::relation::{Direction, somewhere};
use super::{Falsehood, part, several};

/// One of the sort, or of what is absent where the picture has none.
pub(super) fn false_premise(dice: &mut Dice, facts: &Facts, falsehood: Falsehood) -> Option<Draft> {
    match falsehood {
        Falsehood::Attribute => wrong_attribute(dice, facts),
        Falsehood::Relation => wrong_relation(dice, facts),
        Falsehood::Absent => None,
    }
    .or_else(|| absent(dice, facts))
}

/// "There is no green mug here"
fn there_is_no(noun: &str, plural: bool) -> String {
    format!("There {} no {noun} here", if plural { "are" } else { "is" })
}

/// Something that the picture does not have: a kind, a group, a use, a trait, the owner of a part, an anchor.
fn absent(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    match dice.whole(0, 11) {
        0 => absent_group(dice, facts),
        1 => absent_use(dice, facts),
        2 => absent_trait(dice, facts),
        3 => absent_owner(dice, facts),
        4 => absent_anchor(dice, facts),
        5 => too_few(dice, facts),
        6 => absent_kind(dice, facts, true),
        _ => None,
    }
    .or_else(|| absent_kind(dice, facts, false))
}

fn absent_kinds(facts: &Facts) -> Vec<Kind> {
    let present = facts.kinds();
    Kind::ALL.iter().copied().filter(|kind| !present.contains(kind)).collect()
}

/// "There is no cat here, but there is a dog." where there is one dog and nothing else that is like a cat.
fn no_such_kind(facts: &Facts, kind: Kind) -> (String, Option<usize>) {
    let is_like = |other: Kind| KIN.iter().any(|kin| kin.contains(&kind) && kin.contains(&other));
    let mut kin = facts.things().filter(|(_, thing)| is_like(thing.kind));
    let near = match (kin.next(), kin.next()) {
        (Some((index, _)), None) => Some(index),
        _ => None,
    };
    let denial = there_is_no(kind.name(), is_plural(kind));
    let answer = match near.map(|index| facts.thing(index).kind) {
        None => format!("{denial}."),
        Some(other) if is_plural(other) => format!("{denial}, but there are {}.", other.name()),
        Some(other) => format!("{denial}, but there is {}.", with_article(other.name(), false)),
    };
    (answer, near)
}

/// "the cat", or "the black cat", where there is none.
fn absent_kind(dice: &mut Dice, facts: &Facts, coloured: bool) -> Option<Draft> {
    let kind = dice.choose(absent_kinds(facts))?;
    let (answer, near) = no_such_kind(facts, kind);
    let adjective =
        if coloured { format!("{} ", dice.choose(colours(facts, kind))?.name()) } else { String::new() };
    let name = the(&format!("{adjective}{}", kind.name()), kind);
    Some(Draft::named(Direct, Vec::new(), name.clone(), name, 1).denied(Falsehood::Absent, answer, near))
}

/// The colours that things of a kind may have in this split's questions.
fn colours(facts: &Facts, kind: Kind) -> Vec<Colour> {
    kind.colours().iter().copied().filter(|&colour| facts.split.allows(kind, colour)).collect()
}

/// "the largest animal", "all the animals", where there are none.
fn absent_group(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let groups =
        GROUPS.iter().filter(|group| facts.holding(&group.holds).is_some_and(|members| members.is_empty()));
    let group = dice.choose(groups.collect())?;
    let named = NounPhrase::new(format!("the {}", group.noun), false);
    let draft = if dice.chance(0.5) {
        let superlative = dice.pick(&Superlative::ALL);
        compare(dice, superlative, group.noun, group.plural, Vec::new(), named)
    } else {
        Draft::named(Direct, Vec::new(), several::all(dice, group.plural), named, 2)
    };
    let answer = format!("{}.", there_is_no(group.plural, true));
    Some(draft.denied(Falsehood::Absent, answer, None))
}

/// "what would you use to cut paper?" where there is nothing to cut with.
fn absent_use(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let uses =
        USES.iter().filter(|entry| facts.holding(&entry.holds).is_some_and(|things| things.is_empty()));
    let entry = dice.choose(uses.collect())?;
    let text = dice.pick(entry.to);
    let draft = nothing(dice, Known::Use(text));
    Some(draft.denied(Falsehood::Absent, format!("Nothing here helps to {text}."), None))
}

/// "the thing that barks" where nothing does.
fn absent_trait(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let traits =
        TRAITS.iter().filter(|entry| facts.holding(&entry.holds).is_some_and(|things| things.is_empty()));
    let entry = dice.choose(traits.collect())?;
    let text = dice.pick(entry.that);
    let draft = nothing(dice, Known::Trait(text));
    Some(draft.denied(Falsehood::Absent, format!("Nothing here {text}."), None))
}

/// A question of one thing, or sometimes of everything, of which something is known.
fn nothing(dice: &mut Dice, known: Known) -> Draft {
    let named = NounPhrase::new("nothing", false);
    if dice.chance(0.15) {
        return Draft::named(Direct, Vec::new(), several::whatever(dice, known), named, 2);
    }
    ask(known, Vec::new(), named)
}

/// "which part of the deer does it fight with?" where there is no deer.
fn absent_owner(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let absent = absent_kinds(facts);
    let parts = PART_USES.iter().flat_map(|entry| entry.kinds.iter().map(move |&kind| (kind, entry)));
    let (kind, entry) = dice.choose(parts.filter(|(kind, _)| absent.contains(kind)).collect())?;
    let owner = the(kind.name(), kind);
    let (answer, near) = no_such_kind(facts, kind);
    let named = NounPhrase::new(format!("the {} of {}", entry.part, owner.text), false);
    let draft = if dice.chance(0.25) {
        let part = kind.parts().iter().find(|part| part.name == entry.part)?;
        let phrase = NounPhrase::new(named.text.clone(), part.plural);
        Draft::named(Part, Vec::new(), phrase, named, 2)
    } else {
        part::ask(dice, entry, &owner, Vec::new(), named)
    };
    Some(draft.denied(Falsehood::Absent, answer, near))
}

/// "what stands left of the lamp?" where there is no lamp.
fn absent_anchor(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let kind = dice.choose(absent_kinds(facts))?;
    let (answer, near) = no_such_kind(facts, kind);
    let place = dice.pick(&Direction::ALL).from(dice, &the(kind.name(), kind));
    let draft = somewhere(place, Vec::new(), NounPhrase::new("nothing", false), 2);
    Some(draft.denied(Falsehood::Absent, answer, near))
}

/// "both mugs" where there is one.
fn too_few(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let single = facts.kinds().into_iter().filter(|&kind| facts.of_kind(kind).len() == 1 && !is_plural(kind));
    let kind = dice.choose(single.collect())?;
    let near = facts.of_kind(kind).first().copied();
    let phrase = NounPhrase::new(format!("{} {}", dice.pick(&["both", "the two"]), kind.plural()), true);
    let answer = format!("There is only one {} here.", kind.name());
    Some(Draft::named(Direct, Vec::new(), phrase.clone(), phrase, 2).denied(Falsehood::Absent, answer, near))
}

/// "the green mug" where the mugs are of other colours.
fn wrong_attribute(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let kind = dice.choose(facts.kinds())?;
    let members = facts.of_kind(kind);
    let absent_colours = || -> Vec<Colour> {
        let differs = |colour: Colour| {
            members.iter().all(|&index| has_colour(facts.thing(index), colour) == Verdict::No)
        };
        colours(facts, kind).into_iter().filter(|&colour| differs(colour)).collect()
    };
    let has_pattern = |pattern| members.iter().any(|&index| facts.thing(index).pattern == pattern);
    let mut patterns = [Pattern::Striped, Pattern::Spotted, Pattern::Checked].to_vec();
    patterns.retain(|&pattern| kind.patterned() && !has_pattern(pattern));
    let (adjective, mention) = match dice.whole(0, 3) {
        0 if !patterns.is_empty() => (dice.choose(patterns)?.name(), Mention::PATTERN),
        _ => (dice.choose(absent_colours())?.name(), Mention::COLOUR),
    };
    let phrase = the(&format!("{adjective} {}", kind.name()), kind);
    let denial = there_is_no(&format!("{adjective} {}", kind.name()), is_plural(kind));
    let answer = format!("{denial}{}.", others(facts, &members, mention, is_plural(kind)));
    Some(Draft::named(Attribute, Vec::new(), phrase.clone(), phrase, 1).denied(
        Falsehood::Attribute,
        answer,
        members.first().copied(),
    ))
}

/// ", but there is a red one and a blue one": what there is instead, in order from left to right.
fn others(facts: &Facts, members: &[usize], mention: Mention, plural: bool) -> String {
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&index| facts.thing(index).bounds.x);
    let mut names: Vec<String> = Vec::new();
    for index in sorted {
        let adjective = mention.adjectives(facts.thing(index));
        let name =
            if plural { format!("{adjective}ones") } else { with_article(&format!("{adjective}one"), false) };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > 3 {
        return String::new();
    }
    format!(", but there {} {}", if plural { "are" } else { "is" }, enumerate(&names))
}

/// "the mug left of the lamp" where the mug is right of it, or "what is left of the lamp?" where nothing is.
fn wrong_relation(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let (anchor, name) = dice.choose(facts.anchors())?;
    let direction = dice.pick(&Direction::ALL);
    let misplaced: Vec<(usize, Kind)> = facts
        .others(anchor)
        .into_iter()
        .map(|index| (index, facts.thing(index).kind))
        .filter(|&(index, kind)| {
            kind != facts.thing(anchor).kind
                && facts.lies(index, direction.opposite(), anchor) == Verdict::Yes
                && facts.of_kind(kind).iter().all(|&one| facts.lies(one, direction, anchor) == Verdict::No)
        })
        .collect();
    let nothing =
        facts.others(anchor).iter().all(|&index| facts.lies(index, direction, anchor) == Verdict::No);
    if nothing && dice.chance(if misplaced.is_empty() { 1.0 } else { 0.5 }) {
        let answer = format!("There is nothing {} {}.", direction.words(), name.text);
        let place = direction.from(dice, &name);
        let draft = somewhere(place, Vec::new(), NounPhrase::new("nothing", false), 2);
        return Some(draft.denied(Falsehood::Relation, answer, None));
    }
    let (index, kind) = dice.choose(misplaced)?;
    let noun = the(kind.name(), kind);
    let phrase = direction.locate(dice, &noun, &name);
    let (verb, one) = if noun.plural { ("are", "some") } else { ("is", "one") };
    let answer = format!(
        "There {verb} no {} {} {}, but there {verb} {one} {} {}.",
        kind.name(),
        direction.words(),
        name.text,
        direction.opposite().words(),
        if name.plural { "them" } else { "it" },
    );
    Some(Draft::named(Relation, Vec::new(), phrase.clone(), phrase, 2).denied(
        Falsehood::Relation,
        answer,
        Some(index),
    ))
}
