//! Things by where they are.

use super::super::draw::Dice;
use super::super::wording::{Frames, NounPhrase};
use super::QuestionFamily::Relation;
use super::draft::Draft;
use super::facts::{Facts, Verdict, the, whole};
use crate::mask::BoundingBox;

/// A direction in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Left,
    Right,
    Above,
    Below,
}

impl Direction {
    pub(super) const ALL: [Direction; 4] =
        [Direction::Left, Direction::Right, Direction::Above, Direction::Below];

    pub(super) fn opposite(self) -> Direction {
        match self {
            Direction::Left => Direction::Right,
            Direction::Right => Direction::Left,
            Direction::Above => Direction::Below,
            Direction::Below => Direction::Above,
        }
    }

    /// The words that come before the anchor, in the plainest form.
    pub(super) fn words(self) -> &'static str {
        match self {
            Direction::Left => "left of",
            Direction::Right => "right of",
            Direction::Above => "above",
            Direction::Below => "below",
        }
    }

    /// The direction from `anchor` in one of several wordings: "to the left of the lamp".
    pub(super) fn from(self, dice: &mut Dice, anchor: &NounPhrase) -> String {
        let words: &[&str] = match self {
            Direction::Left => &["left of", "to the left of", "on the left of"],
            Direction::Right => &["right of", "to the right of", "on the right of"],
            Direction::Above => &["above", "above", "higher up than"],
            Direction::Below => &["below", "below", "lower down than"],
        };
        format!("{} {}", dice.pick(words), anchor.text)
    }

    /// A thing by its place: "the mug above the lamp", "the mug that is to the left of the lamp".
    pub(super) fn locate(self, dice: &mut Dice, noun: &NounPhrase, anchor: &NounPhrase) -> NounPhrase {
        let text = if dice.chance(0.5) {
            format!("{} {} {}", noun.text, self.words(), anchor.text)
        } else {
            let verb = if noun.plural { "are" } else { "is" };
            format!("{} that {verb} {}", noun.text, self.from(dice, anchor))
        };
        NounPhrase::new(text, noun.plural)
    }

    /// Whether `thing` lies in this direction from `anchor`. Yes: the boxes do not overlap along the axis, and the way along it is
    /// longer than the way across. No: it lies on the other side, or right across.
    pub(super) fn verdict(self, thing: &BoundingBox, anchor: &BoundingBox, size: f32) -> Verdict {
        let (thing, anchor) = (Extent::of(thing), Extent::of(anchor));
        let (thing, anchor) = match self {
            Direction::Left => (thing, anchor),
            Direction::Right => (anchor, thing),
            Direction::Above => (thing.turned(), anchor.turned()),
            Direction::Below => (anchor.turned(), thing.turned()),
        };
        let along = anchor.centre.0 - thing.centre.0;
        let across = (anchor.centre.1 - thing.centre.1).abs();
        if along <= 0.01 * size || (across >= 3.0 * along && thing.end > anchor.begin) {
            Verdict::No
        } else if thing.end <= anchor.begin + 0.02 * size && along >= across {
            Verdict::Yes
        } else {
            Verdict::Unclear
        }
    }
}

/// A box as seen along an axis.
#[derive(Clone, Copy)]
struct Extent {
    /// Along the axis and across it.
    centre: (f32, f32),
    begin: f32,
    end: f32,
    across: (f32, f32),
}

impl Extent {
    fn of(bounds: &BoundingBox) -> Extent {
        let (begin, top) = (bounds.x as f32, bounds.y as f32);
        let (end, bottom) = (begin + bounds.width as f32, top + bounds.height as f32);
        Extent { centre: ((begin + end) / 2.0, (top + bottom) / 2.0), begin, end, across: (top, bottom) }
    }

    fn turned(self) -> Extent {
        Extent {
            centre: (self.centre.1, self.centre.0),
            begin: self.across.0,
            end: self.across.1,
            across: (self.begin, self.end),
        }
    }
}

impl Facts<'_> {
    /// Whether `thing` lies in a direction from `anchor`.
    pub(super) fn lies(&self, thing: usize, direction: Direction, anchor: usize) -> Verdict {
        direction.verdict(&self.thing(thing).bounds, &self.thing(anchor).bounds, self.size)
    }

    /// The one of `among` that certainly lies there while all others certainly do not.
    fn only(&self, among: &[usize], direction: Direction, anchor: usize) -> Option<usize> {
        let mut found = None;
        for &thing in among {
            match self.lies(thing, direction, anchor) {
                Verdict::No => {}
                Verdict::Yes if found.is_none() => found = Some(thing),
                _ => return None,
            }
        }
        found
    }

    /// Things with a name of their own, to tell directions from.
    pub(super) fn anchors(&self) -> Vec<(usize, NounPhrase)> {
        self.things().filter_map(|(index, _)| Some((index, self.describe(index)?))).collect()
    }

    /// All things but `anchor`.
    pub(super) fn others(&self, anchor: usize) -> Vec<usize> {
        (0..self.scene.things.len()).filter(|&index| index != anchor).collect()
    }
}

/// What is asked about a place.
#[derive(Clone)]
enum Asked {
    /// "the thing"
    Thing,
    /// "the mug", "the animal"
    Noun(NounPhrase),
}

/// "what stands left of the lamp?", "the mug above the plate", "the animal right of the tree"
pub(super) fn relation(dice: &mut Dice, facts: &Facts) -> Option<Draft> {
    let anchors = facts.anchors();
    let mut candidates: Vec<(usize, usize, Direction, Asked)> = Vec::new();
    for (number, (anchor, _)) in anchors.iter().enumerate() {
        for direction in Direction::ALL {
            if let Some(thing) = facts.only(&facts.others(*anchor), direction, *anchor) {
                candidates.extend(std::iter::repeat_n((thing, number, direction, Asked::Thing), 2));
            }
            for kind in facts.kinds().into_iter().filter(|kind| *kind != facts.thing(*anchor).kind) {
                let of_kind = facts.of_kind(kind);
                if let Some(thing) = facts.only(&of_kind, direction, *anchor) {
                    let times = if of_kind.len() > 1 { 5 } else { 1 };
                    let asked = Asked::Noun(the(kind.name(), kind));
                    candidates.extend(std::iter::repeat_n((thing, number, direction, asked), times));
                }
            }
            for (group, members) in facts.groups().filter(|(_, members)| members.len() > 1) {
                let members: Vec<usize> = members.into_iter().filter(|member| member != anchor).collect();
                if let Some(thing) = facts.only(&members, direction, *anchor) {
                    let asked = Asked::Noun(NounPhrase::new(format!("the {}", group.noun), false));
                    candidates.push((thing, number, direction, asked));
                }
            }
        }
    }
    let (thing, number, direction, asked) = dice.choose(candidates)?;
    let (anchor, name) = &anchors[number];
    let hops = if *name == facts.bare(*anchor) { 2 } else { 3 };
    let (targets, named) = (vec![whole(thing)], facts.answer_name(thing));
    Some(match asked {
        Asked::Thing => somewhere(direction.from(dice, name), targets, named, hops),
        Asked::Noun(noun) => {
            Draft::named(Relation, targets, direction.locate(dice, &noun, name), named, hops)
        }
    })
}

/// A question for the thing at a place.
pub(super) fn somewhere(place: String, targets: Vec<super::Target>, named: NounPhrase, hops: usize) -> Draft {
    let phrase = NounPhrase::new(format!("the thing {place}"), false);
    Draft::named(Relation, targets, phrase, named, hops).framed(vec![Frames::Somewhere], vec![("rel", place)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: usize, y: usize) -> BoundingBox {
        BoundingBox { x, y, width: 20, height: 20 }
    }

    #[test]
    fn directions_need_distance_and_an_axis() {
        let anchor = square(100, 100);
        let verdicts =
            |x, y| Direction::ALL.map(|direction| direction.verdict(&square(x, y), &anchor, 256.0));
        let (yes, no, unclear) = (Verdict::Yes, Verdict::No, Verdict::Unclear);
        assert_eq!(verdicts(40, 100), [yes, no, no, no]);
        assert_eq!(verdicts(160, 130), [no, yes, no, unclear]);
        assert_eq!(verdicts(105, 30), [no, no, yes, no]);
        assert_eq!(verdicts(100, 150), [no, no, no, yes]);
        // A box that overlaps is not left enough, one that lies further up than left neither.
        assert_eq!(verdicts(88, 100)[0], unclear);
        assert_eq!(verdicts(70, 40)[0], unclear);
    }
}
