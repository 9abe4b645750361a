//! Names for things that leave no doubt which one is meant.

use super::super::wording::NounPhrase;
use super::super::{Pattern, Thing};
use super::facts::{Facts, Verdict, has_colour, the};

/// Which properties a name mentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) pattern: bool,
    pub(super) colour: bool,
}

impl Mention {
    pub(super) const KIND: Mention = Mention { pattern: false, colour: false };
    pub(super) const COLOUR: Mention = Mention { pattern: false, colour: true };
    pub(super) const PATTERN: Mention = Mention { pattern: true, colour: false };
    pub(super) const BOTH: Mention = Mention { pattern: true, colour: true };

    /// The adjectives with a space after each: "striped red ".
    pub(super) fn adjectives(self, thing: &Thing) -> String {
        let pattern = if self.pattern { format!("{} ", thing.pattern.name()) } else { String::new() };
        let colour = if self.colour { format!("{} ", thing.colour.name()) } else { String::new() };
        pattern + &colour
    }

    /// Whether what is said of `thing` fits `other` too.
    pub(super) fn fits(self, thing: &Thing, other: &Thing) -> Verdict {
        if self.pattern && thing.pattern != other.pattern {
            return Verdict::No;
        }
        if self.colour { has_colour(other, thing.colour) } else { Verdict::Yes }
    }
}

impl Facts<'_> {
    /// Whether the adjectives tell the thing apart from all others that `rival` holds for.
    pub(super) fn is_unique(
        &self,
        index: usize,
        mention: Mention,
        rival: impl Fn(&Thing) -> bool + Copy,
    ) -> bool {
        let thing = self.thing(index);
        let mut rivals = self.things().filter(move |(other, thing)| *other != index && rival(thing));
        // A plain thing is called so only beside one with a pattern.
        if mention.pattern
            && thing.pattern == Pattern::Plain
            && rivals.clone().all(|(_, other)| other.pattern == Pattern::Plain)
        {
            return false;
        }
        rivals.all(|(_, other)| mention.fits(thing, other) == Verdict::No)
    }

    /// The shortest name that fits this thing only: "the mug", "the red mug", "the striped mug", "the striped red mug".
    pub(super) fn describe(&self, index: usize) -> Option<NounPhrase> {
        let kind = self.thing(index).kind;
        let mentions = [Mention::KIND, Mention::COLOUR, Mention::PATTERN, Mention::BOTH];
        let mention = mentions
            .into_iter()
            .find(|&mention| self.is_unique(index, mention, |thing| thing.kind == kind))?;
        Some(self.name(index, mention))
    }

    /// The thing's kind with some of its properties.
    pub(super) fn name(&self, index: usize, mention: Mention) -> NounPhrase {
        let thing = self.thing(index);
        the(&format!("{}{}", mention.adjectives(thing), thing.kind.name()), thing.kind)
    }

    /// The thing's kind.
    pub(super) fn bare(&self, index: usize) -> NounPhrase {
        self.name(index, Mention::KIND)
    }

    /// What an answer calls the thing: the shortest name that fits it only, or its kind.
    pub(super) fn answer_name(&self, index: usize) -> NounPhrase {
        self.describe(index).unwrap_or_else(|| self.bare(index))
    }
}
