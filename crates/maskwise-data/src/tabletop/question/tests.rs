//! Questions against a second reading of their phrases, which looks at the scene alone and knows no margins.

use super::super::knowledge::{GROUPS, PART_USES, TRAITS, USES};
use super::super::{Colour, Kind, Sample, Scene, SceneConfig, Split, Thing, World};
use super::{Falsehood, QuestionFamily, QuestionWeights, Target};
use crate::dataset::{SampleRng, TrainingDataset};
use std::collections::{HashMap, HashSet};

/// Smaller pictures, to be quick.
fn world(split: Split) -> World {
    World::new(11, split, SceneConfig { size: 160, ..SceneConfig::default() }).unwrap()
}

fn samples(split: Split, count: u64) -> Vec<Sample> {
    let world = world(split);
    (0..count).map(|index| world.sample(index).unwrap()).collect()
}

const PLACES: [(&str, (f32, f32)); 10] = [
    (" to the left of ", (-1.0, 0.0)),
    (" on the left of ", (-1.0, 0.0)),
    (" left of ", (-1.0, 0.0)),
    (" to the right of ", (1.0, 0.0)),
    (" on the right of ", (1.0, 0.0)),
    (" right of ", (1.0, 0.0)),
    (" higher up than ", (0.0, -1.0)),
    (" above ", (0.0, -1.0)),
    (" lower down than ", (0.0, 1.0)),
    (" below ", (0.0, 1.0)),
];

/// What a phrase means in a scene.
fn meaning(phrase: &str, scene: &Scene) -> Vec<Target> {
    let after = |starts: &[&str]| starts.iter().find_map(|start| phrase.strip_prefix(start));
    if let Some(text) = after(&[
        "the thing one would use to ",
        "everything one could use to ",
        "all the things one could use to ",
    ]) {
        let entry = USES.iter().find(|entry| entry.to.contains(&text)).unwrap();
        return things(scene, |thing| entry.holds.of.contains(&thing.kind));
    }
    if let Some(text) = after(&["the thing that ", "everything that "])
        && let Some(entry) = TRAITS.iter().find(|entry| entry.that.contains(&text))
    {
        return things(scene, |thing| entry.holds.of.contains(&thing.kind));
    }
    if let Some((owner, that)) =
        phrase.strip_prefix("the part of ").and_then(|rest| rest.split_once(" that "))
    {
        let is_meant = |kind: Kind, part: &str| {
            PART_USES
                .iter()
                .any(|entry| entry.kinds.contains(&kind) && entry.part == part && entry.that.contains(&that))
        };
        return parts(meaning(owner, scene), scene, is_meant);
    }
    if let Some((at, (words, direction))) =
        PLACES.iter().filter_map(|place| Some((phrase.find(place.0)?, place))).min_by_key(|(at, _)| *at)
    {
        let noun = phrase[..at].trim_end_matches(" that is").trim_end_matches(" that are");
        let anchors = meaning(&phrase[at + words.len()..], scene);
        let mut meant = meaning(noun, scene);
        meant.retain(|target| {
            anchors.iter().any(|anchor| {
                let (x, y) = offset(&scene.things[anchor.thing], &scene.things[target.thing]);
                let along = x * direction.0 + y * direction.1;
                let across = (x * direction.1).abs() + (y * direction.0).abs();
                along > 0.02 * scene.image.width() as f32 && across < 3.0 * along
            })
        });
        return meant;
    }
    if let Some((part, owner)) = phrase.strip_prefix("the ").and_then(|rest| rest.split_once(" of the "))
        && !part.starts_with("piece")
        && !part.contains(' ')
    {
        return parts(meaning(&format!("the {owner}"), scene), scene, |_, name| name == part);
    }
    if let Some((superlative, noun)) = phrase.strip_prefix("the ").and_then(|rest| rest.split_once(' '))
        && let Some(key) = key(superlative)
    {
        let members = meaning(&format!("the {noun}"), scene);
        let value = |target: &Target| key(&scene.things[target.thing]);
        return members
            .into_iter()
            .max_by(|one, other| value(one).total_cmp(&value(other)))
            .into_iter()
            .collect();
    }
    nouns(phrase, scene)
}

fn things(scene: &Scene, holds: impl Fn(&Thing) -> bool) -> Vec<Target> {
    let all = scene.things.iter().enumerate().filter(|(_, thing)| holds(thing));
    all.map(|(thing, _)| Target { thing, part: None }).collect()
}

fn parts(owners: Vec<Target>, scene: &Scene, is_meant: impl Fn(Kind, &str) -> bool) -> Vec<Target> {
    let parts_of = |owner: Target| {
        let thing = &scene.things[owner.thing];
        let meant = thing.parts.iter().enumerate().filter(|(_, part)| is_meant(thing.kind, part.part.name));
        meant.map(|(part, _)| Target { thing: owner.thing, part: Some(part) }).collect::<Vec<_>>()
    };
    owners.into_iter().flat_map(parts_of).collect()
}

/// From the centre of one box to that of another.
fn offset(from: &Thing, to: &Thing) -> (f32, f32) {
    let centre = |thing: &Thing| {
        let bounds = thing.bounds;
        (bounds.x as f32 + bounds.width as f32 / 2.0, bounds.y as f32 + bounds.height as f32 / 2.0)
    };
    (centre(to).0 - centre(from).0, centre(to).1 - centre(from).1)
}

/// What is greatest for the thing that a superlative means.
fn key(superlative: &str) -> Option<fn(&Thing) -> f32> {
    Some(match superlative {
        "largest" | "biggest" => |thing| thing.area as f32,
        "smallest" => |thing| -(thing.area as f32),
        "leftmost" => |thing| -(thing.bounds.x as f32),
        "rightmost" => |thing| (thing.bounds.x + thing.bounds.width) as f32,
        "topmost" | "highest" => |thing| -(thing.bounds.y as f32),
        "lowest" => |thing| (thing.bounds.y + thing.bounds.height) as f32,
        _ => return None,
    })
}

/// "both striped red mugs", "all the animals", "the thing"
fn nouns(phrase: &str, scene: &Scene) -> Vec<Target> {
    const NUMBERS: [&str; 9] = ["both", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let mut rest = phrase;
    let mut take = |words: &[&'static str]| -> Option<&'static str> {
        let (first, after) = rest.split_once(' ')?;
        let word = words.iter().copied().find(|word| *word == first)?;
        rest = after;
        Some(word)
    };
    let mut number = take(&["both"]);
    take(&["all"]);
    take(&["the"]);
    number = number.or_else(|| take(&NUMBERS));
    let pattern = take(&["plain", "striped", "spotted", "checked"]);
    let colour = take(&Colour::ALL.map(Colour::name));
    let of_noun = |thing: &Thing| {
        let groups = GROUPS.iter().filter(|group| [group.noun, group.plural].contains(&rest));
        [thing.kind.name(), thing.kind.plural(), "thing", "things"].contains(&rest)
            || groups.into_iter().any(|group| group.holds.of.contains(&thing.kind))
    };
    let meant = things(scene, |thing| {
        of_noun(thing)
            && pattern.is_none_or(|name| thing.pattern.name() == name)
            && colour.is_none_or(|name| thing.colour.name() == name)
    });
    let wanted = number.and_then(|word| NUMBERS.iter().position(|number| *number == word));
    match wanted {
        Some(position) if meant.len() != position.max(1) + 1 => Vec::new(),
        _ => meant,
    }
}

#[test]
fn questions_mean_what_a_second_reading_says() {
    for split in [Split::Train, Split::Unseen] {
        for Sample { scene, questions } in samples(split, 150) {
            for question in questions {
                let meant = meaning(&question.phrase, &scene);
                let same =
                    |a: &[Target], b: &[Target]| a.iter().collect::<HashSet<_>>() == b.iter().collect();
                assert!(same(&meant, &question.targets), "{question:?} means {meant:?}");
                assert_eq!(question.exists(), question.family != QuestionFamily::FalsePremise);
                assert_eq!(question.exists(), !question.mask(&scene).is_empty(), "{question:?}");
                assert_eq!(question.falsehood.is_none(), question.exists());
                assert_eq!(question.answer.matches("[SEG]").count(), usize::from(question.exists()));
                let pixels: u64 = (0..scene.image.width() * scene.image.height())
                    .filter(|pixel| {
                        question.targets.iter().any(|target| {
                            let thing = &scene.things[target.thing];
                            let mask = target.part.map_or(&thing.mask, |part| &thing.parts[part].mask);
                            mask.data[*pixel as usize] == 1
                        })
                    })
                    .count() as u64;
                assert_eq!(question.mask(&scene).area(), pixels);
            }
        }
    }
}

#[test]
fn answers_and_questions_are_well_formed() {
    for Sample { questions, .. } in samples(Split::Unseen, 150) {
        let phrases: HashSet<&str> = questions.iter().map(|question| question.phrase.as_str()).collect();
        assert_eq!(phrases.len(), questions.len());
        for question in &questions {
            for text in [&question.text, &question.answer, &question.phrase] {
                assert!(
                    !text.contains(['{', '}']) && !text.contains("  ") && *text == text.trim(),
                    "{question:?}"
                );
            }
            assert!(question.answer.starts_with(char::is_uppercase) && question.answer.ends_with('.'));
            assert!((1..=3).contains(&question.difficulty.hops) && question.difficulty.visible > 0.0);
            if question.family == QuestionFamily::FalsePremise {
                assert!(question.correction.is_some(), "{question:?}");
            }
        }
    }
}

#[test]
fn every_family_and_sort_of_falsehood_occurs_about_as_often_as_weighted() {
    let mut counts: HashMap<QuestionFamily, usize> = HashMap::new();
    let mut sorts: HashMap<Falsehood, usize> = HashMap::new();
    let mut total = 0;
    for question in samples(Split::Train, 250).into_iter().flat_map(|sample| sample.questions) {
        *counts.entry(question.family).or_default() += 1;
        question.falsehood.into_iter().for_each(|sort| *sorts.entry(sort).or_default() += 1);
        total += 1;
    }
    for family in QuestionFamily::ALL {
        let share = counts.get(&family).copied().unwrap_or(0) as f64 / f64::from(total);
        assert!((0.02..0.32).contains(&share), "{family}: {share} of {counts:?}");
    }
    for sort in Falsehood::ALL {
        assert!(sorts[&sort] * 6 > counts[&QuestionFamily::FalsePremise], "{sorts:?}");
    }
}

#[test]
fn half_of_the_premises_can_be_false() {
    let world = world(Split::Test).with_questions(QuestionWeights::even(), 1);
    let count = 200;
    let exist = (0..count).filter(|&index| world.validation_item(index).unwrap().exists).count();
    assert!((70..130).contains(&exist), "{exist} of {count}");
}

#[test]
fn unseen_pairs_and_wordings_stay_out_of_the_other_splits() {
    for split in [Split::Train, Split::Validation, Split::Test] {
        for Sample { scene, questions } in samples(split, 100) {
            assert!(scene.things.iter().all(|thing| !super::is_unseen_pair(thing.kind, thing.colour)));
            for question in questions {
                assert!(!question.unseen_pair && !question.unseen_wording);
                // Not even a denial names such a pair.
                for (kind, colour) in
                    Kind::ALL.iter().flat_map(|kind| kind.colours().iter().map(move |c| (kind, c)))
                {
                    let pair = format!("{} {}", colour.name(), kind.name());
                    assert!(
                        !super::is_unseen_pair(*kind, *colour) || !question.phrase.ends_with(&pair),
                        "{question:?}"
                    );
                }
            }
        }
    }
    let unseen: Vec<_> =
        samples(Split::Unseen, 100).into_iter().flat_map(|sample| sample.questions).collect();
    assert!(unseen.iter().all(|question| question.unseen_pair || question.unseen_wording));
    assert!(unseen.iter().any(|question| question.unseen_pair && !question.unseen_wording));
}

#[test]
fn samples_are_functions_of_their_number() {
    let (world, again) = (world(Split::Train), world(Split::Train));
    for index in [0, 3, 1 << 40] {
        let (one, other) = (world.sample(index).unwrap(), again.sample(index).unwrap());
        assert_eq!(one.questions, other.questions);
        assert_eq!(one.scene.image, other.scene.image);
    }
    let draw = |seed| world.draw(&mut SampleRng::new(seed)).unwrap();
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
    let item = draw(5);
    assert!(item.conversations.len() <= 6);
    for conversation in &item.conversations {
        let segments = conversation.rounds[0].1.matches("[SEG]").count();
        assert_eq!(conversation.masks.len(), segments);
    }
}

#[test]
fn knowledge_names_what_exists_and_contradicts_nothing() {
    for entry in PART_USES {
        for kind in entry.kinds {
            assert!(
                kind.parts().iter().any(|part| part.name == entry.part),
                "{kind:?} has no {}",
                entry.part
            );
        }
    }
    for &kind in Kind::ALL {
        let known = |holds: &super::super::knowledge::Holds| holds.of.contains(&kind);
        let uses =
            USES.iter().any(|entry| known(&entry.holds)) || TRAITS.iter().any(|entry| known(&entry.holds));
        assert!(uses, "nothing is known about {kind:?}");
        for part in kind.parts() {
            let entries: Vec<_> = PART_USES
                .iter()
                .filter(|entry| entry.kinds.contains(&kind) && entry.part == part.name)
                .collect();
            assert_eq!(entries.len(), 1, "{kind:?} {}", part.name);
            // No other part of the kind is described alike.
            for other in
                PART_USES.iter().filter(|other| other.kinds.contains(&kind) && other.part != part.name)
            {
                assert!(
                    entries[0]
                        .that
                        .iter()
                        .chain(entries[0].which)
                        .all(|text| { !other.that.contains(text) && !other.which.contains(text) })
                );
            }
        }
    }
    let holds = USES.iter().map(|entry| &entry.holds).chain(TRAITS.iter().map(|entry| &entry.holds));
    for holds in holds.chain(GROUPS.iter().map(|group| &group.holds)) {
        assert!(!holds.of.is_empty() && holds.of.iter().all(|kind| !holds.perhaps.contains(kind)));
    }
}
