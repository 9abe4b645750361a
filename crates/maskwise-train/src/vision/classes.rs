use maskwise_data::tabletop::{Colour, Kind, Pattern};

/// What every cell of an image is classified by: each group is a distribution over its classes, the first of which is "nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The kind of thing.
    Kind,
    /// The part of a kind of thing.
    Part,
    /// The colour of the thing.
    Colour,
    /// The pattern of the thing.
    Pattern,
}

/// The classes of the Tabletop world, numbered.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Part classes of kind `k` begin here.
    first_part: Vec<usize>,
    parts: usize,
}

impl Group {
    /// Every group, in the order of the columns.
    pub const ALL: [Self; 4] = [Self::Kind, Self::Part, Self::Colour, Self::Pattern];
}

impl Default for Classes {
    fn default() -> Self {
        let mut parts = 0;
        let first_part = Kind::ALL.iter().map(|kind| {
            parts += kind.parts().len();
            parts - kind.parts().len()
        });
        let first_part = first_part.collect();
        Self { first_part, parts }
    }
}

impl Classes {
    /// Number of classes of a group, "nothing" included.
    pub fn count(&self, group: Group) -> usize {
        1 + match group {
            Group::Kind => Kind::ALL.len(),
            Group::Part => self.parts,
            Group::Colour => Colour::ALL.len(),
            Group::Pattern => Pattern::ALL.len(),
        }
    }

    /// The first column of a group.
    pub fn start(&self, group: Group) -> usize {
        Group::ALL.iter().take_while(|other| **other != group).map(|other| self.count(*other)).sum()
    }

    /// Columns of all groups.
    pub fn columns(&self) -> usize {
        Group::ALL.iter().map(|group| self.count(*group)).sum()
    }

    /// The class of a kind within [`Group::Kind`].
    pub fn kind(&self, kind: Kind) -> usize {
        1 + kind_index(kind)
    }

    /// The class of part `part` (its index among [`Kind::parts`]) within [`Group::Part`].
    pub fn part(&self, kind: Kind, part: usize) -> usize {
        1 + self.first_part[kind_index(kind)] + part
    }

    /// The class of a colour within [`Group::Colour`].
    pub fn colour(&self, colour: Colour) -> usize {
        1 + Colour::ALL.iter().position(|other| *other == colour).unwrap_or(0)
    }

    /// The class of a pattern within [`Group::Pattern`].
    pub fn pattern(&self, pattern: Pattern) -> usize {
        1 + Pattern::ALL.iter().position(|other| *other == pattern).unwrap_or(0)
    }

    /// Names of what can be asked for by text: kinds, then parts of kinds.
    pub fn texts(&self) -> usize {
        Kind::ALL.len() + self.parts
    }

    /// The text of a kind, among [`Classes::texts`].
    pub fn kind_text(&self, kind: Kind) -> usize {
        kind_index(kind)
    }

    /// The text of a part.
    pub fn part_text(&self, kind: Kind, part: usize) -> usize {
        Kind::ALL.len() + self.first_part[kind_index(kind)] + part
    }
}

fn kind_index(kind: Kind) -> usize {
    Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_class_has_a_column_of_its_own() {
        let classes = Classes::default();
        let mut columns = BTreeSet::new();
        for &kind in Kind::ALL {
            assert!(columns.insert(classes.start(Group::Kind) + classes.kind(kind)));
            for part in 0..kind.parts().len() {
                assert!(columns.insert(classes.start(Group::Part) + classes.part(kind, part)));
            }
        }
        for colour in Colour::ALL {
            assert!(columns.insert(classes.start(Group::Colour) + classes.colour(colour)));
        }
        for pattern in Pattern::ALL {
            assert!(columns.insert(classes.start(Group::Pattern) + classes.pattern(pattern)));
        }
        assert_eq!(columns.len() + Group::ALL.len(), classes.columns());
        assert!(columns.iter().all(|column| *column < classes.columns()));
    }
}
