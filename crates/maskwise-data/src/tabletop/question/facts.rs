//! What can be said of the things of a scene without doubt.

use super::super::knowledge::{GROUPS, Group, Holds};
use super::super::split::Split;
use super::super::wording::NounPhrase;
use super::super::{Colour, Kind, Pattern, Scene, Thing};
use super::Target;

/// Whether something holds, as far as a person could tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    No,
    /// One could argue.
    Unclear,
}

/// A scene with what follows from it.
pub(super) struct Facts<'a> {
    pub(super) scene: &'a Scene,
    pub(super) split: Split,
    /// The side of the picture, in pixels.
    pub(super) size: f32,
}

impl<'a> Facts<'a> {
    pub(super) fn new(scene: &'a Scene, split: Split) -> Facts<'a> {
        Facts { scene, split, size: scene.image.width().max(scene.image.height()) as f32 }
    }

    pub(super) fn thing(&self, index: usize) -> &'a Thing {
        &self.scene.things[index]
    }

    pub(super) fn things(&self) -> impl Iterator<Item = (usize, &'a Thing)> + Clone + use<'a> {
        self.scene.things.iter().enumerate()
    }

    /// The things of a kind.
    pub(super) fn of_kind(&self, kind: Kind) -> Vec<usize> {
        self.things().filter(|(_, thing)| thing.kind == kind).map(|(index, _)| index).collect()
    }

    /// The kinds in the picture, each once.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.things().map(|(_, thing)| thing.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The things that a statement holds for; `None` if one could argue about any thing of the picture.
    pub(super) fn holding(&self, holds: &Holds) -> Option<Vec<usize>> {
        if self.things().any(|(_, thing)| holds.perhaps.contains(&thing.kind)) {
            return None;
        }
        let holding = self.things().filter(|(_, thing)| holds.of.contains(&thing.kind));
        Some(holding.map(|(index, _)| index).collect())
    }

    /// The groups with their members, those left out that one could argue about.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&'static Group, Vec<usize>)> {
        GROUPS.iter().filter_map(|group| Some((group, self.holding(&group.holds)?)))
    }

    /// The thing of which the largest share is visible, the earliest of equals.
    pub(super) fn most_visible(&self) -> Option<usize> {
        let shares = self.things().map(|(index, thing)| (thing.visible, index));
        shares.reduce(|best, other| if other.0 > best.0 { other } else { best }).map(|(_, index)| index)
    }
}

/// All of a thing.
pub(super) fn whole(thing: usize) -> Target {
    Target { thing, part: None }
}

/// Whether a person would call the thing by this colour.
pub(super) fn has_colour(thing: &Thing, colour: Colour) -> Verdict {
    let pale_or_dark = [Colour::White, Colour::Black, Colour::Grey, Colour::Brown];
    if thing.colour == colour {
        Verdict::Yes
    } else if thing.pattern != Pattern::Plain
        && (pale_or_dark.contains(&colour) || [Colour::White, Colour::Black].contains(&thing.colour))
    {
        // The second colour of the pattern may be the one.
        Verdict::Unclear
    } else {
        Verdict::No
    }
}

/// Whether the noun has no singular: "scissors".
pub(super) fn is_plural(kind: Kind) -> bool {
    kind.name() == kind.plural() && kind.name().ends_with('s')
}

/// "the" and the words.
pub(super) fn the(words: &str, kind: Kind) -> NounPhrase {
    NounPhrase::new(format!("the {words}"), is_plural(kind))
}
