//! What there is in the Tabletop world: kinds of things, their families, parts and colours.

use super::Colour::{self, Black, Blue, Brown, Green, Grey, Orange, Pink, Purple, Red, White, Yellow};

/// A family of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What one works with.
    Tools,
    /// What one cooks, eats and drinks with.
    Kitchen,
    /// What one eats.
    Food,
    /// What one wears or carries.
    Clothes,
    /// What lives and moves.
    Animals,
    /// What one travels in or on.
    Vehicles,
    /// What stands in a room.
    Furniture,
    /// What grows.
    Nature,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 8] = [
        Family::Tools,
        Family::Kitchen,
        Family::Food,
        Family::Clothes,
        Family::Animals,
        Family::Vehicles,
        Family::Furniture,
        Family::Nature,
    ];

    /// The family's name in lower case, "kitchen".
    pub fn name(self) -> &'static str {
        match self {
            Family::Tools => "tools",
            Family::Kitchen => "kitchen",
            Family::Food => "food",
            Family::Clothes => "clothes",
            Family::Animals => "animals",
            Family::Vehicles => "vehicles",
            Family::Furniture => "furniture",
            Family::Nature => "nature",
        }
    }
}

/// A named part of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The name after "the": "antlers", "spout".
    pub name: &'static str,
    /// Whether the name is plural.
    pub plural: bool,
}

const fn one(name: &'static str) -> Part {
    Part { name, plural: false }
}

const fn many(name: &'static str) -> Part {
    Part { name, plural: true }
}

/// What the catalog says of one kind.
struct Entry {
    name: &'static str,
    plural: &'static str,
    family: Family,
    parts: &'static [Part],
    colours: &'static [Colour],
    patterned: bool,
}

const ANY: &[Colour] = &[Red, Orange, Yellow, Green, Blue, Purple, Pink, Brown, Black, White, Grey];
const BRIGHT: &[Colour] = &[Red, Orange, Yellow, Green, Blue, Purple, Pink];
const PAINTED: &[Colour] = &[Red, Orange, Yellow, Green, Blue, Purple, Pink, Black, White];
const FUR: &[Colour] = &[Orange, Brown, Black, White, Grey];
const AUTUMN: &[Colour] = &[Red, Orange, Yellow, Green, Brown];

/// Writes [`Kind`], [`Kind::ALL`] and the entries from one table, so that they cannot get out of step.
macro_rules! kinds {
    ($($kind:ident: $name:literal, $plural:literal, $family:ident, $colours:expr, $patterned:literal, [$($part:expr),*];)*) => {
        /// A kind of thing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("The ", $name, ".")] $kind,)*
        }

        impl Kind {
            /// Every kind, family by family.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            fn entry(self) -> &'static Entry {
                match self {
                    $(Kind::$kind => &const { Entry {
                        name: $name,
                        plural: $plural,
                        family: Family::$family,
                        parts: &[$($part),*],
                        colours: $colours,
                        patterned: $patterned,
                    } },)*
                }
            }
        }
    };
}

kinds! {
    Hammer: "hammer", "hammers", Tools, PAINTED, false, [one("handle"), one("head")];
    Scissors: "scissors", "scissors", Tools, PAINTED, false, [many("blades"), many("handles")];
    Saw: "saw", "saws", Tools, PAINTED, false, [one("blade"), one("handle")];
    Screwdriver: "screwdriver", "screwdrivers", Tools, PAINTED, false, [one("handle"), one("tip")];
    Axe: "axe", "axes", Tools, PAINTED, false, [one("blade"), one("handle")];
    Paintbrush: "paintbrush", "paintbrushes", Tools, PAINTED, true, [many("bristles"), one("handle")];
    Key: "key", "keys", Tools, ANY, false, [];

    Mug: "mug", "mugs", Kitchen, ANY, true, [one("handle")];
    Teapot: "teapot", "teapots", Kitchen, ANY, true, [one("spout"), one("handle"), one("lid")];
    Pan: "pan", "pans", Kitchen, ANY, false, [one("handle")];
    Knife: "knife", "knives", Kitchen, PAINTED, false, [one("blade"), one("handle")];
    Fork: "fork", "forks", Kitchen, ANY, false, [many("prongs")];
    Spoon: "spoon", "spoons", Kitchen, ANY, false, [one("bowl")];
    Bottle: "bottle", "bottles", Kitchen, ANY, true, [one("cap")];

    Apple: "apple", "apples", Food, &[Red, Yellow, Green, Orange, Pink], false, [];
    Banana: "banana", "bananas", Food, &[Yellow, Green, Orange, Brown, Pink], false, [];
    Pear: "pear", "pears", Food, &[Green, Yellow, Red, Orange, Brown], false, [];
    Carrot: "carrot", "carrots", Food, &[Orange, Red, Yellow, Purple, Pink, White], false, [many("leaves")];
    IceCream: "ice cream", "ice creams", Food, &[Pink, White, Green, Yellow, Blue, Purple, Red], true, [one("cone")];
    Cupcake: "cupcake", "cupcakes", Food, ANY, false, [one("icing")];
    Donut: "donut", "donuts", Food, &[Pink, White, Blue, Green, Red, Purple, Brown, Yellow], false, [];

    Shirt: "shirt", "shirts", Clothes, ANY, true, [many("sleeves")];
    Trousers: "trousers", "trousers", Clothes, ANY, true, [many("legs")];
    Dress: "dress", "dresses", Clothes, ANY, true, [one("skirt")];
    Hat: "hat", "hats", Clothes, ANY, true, [one("brim")];
    Sock: "sock", "socks", Clothes, ANY, true, [];
    Shoe: "shoe", "shoes", Clothes, ANY, false, [one("sole")];
    Umbrella: "umbrella", "umbrellas", Clothes, ANY, true, [one("handle")];

    Cat: "cat", "cats", Animals, FUR, true, [one("tail"), many("ears")];
    Dog: "dog", "dogs", Animals, &[Brown, Black, White, Grey, Orange, Yellow], true, [one("tail"), many("ears")];
    Deer: "deer", "deer", Animals, FUR, false, [many("antlers"), many("legs")];
    Bird: "bird", "birds", Animals, ANY, false, [many("wings"), one("beak")];
    Fish: "fish", "fish", Animals, ANY, true, [many("fins"), one("tail")];
    Rabbit: "rabbit", "rabbits", Animals, &[Brown, Black, White, Grey, Pink], false, [many("ears")];
    Elephant: "elephant", "elephants", Animals, &[Grey, Blue, Pink, Brown, Purple], false, [one("trunk"), many("tusks"), many("ears")];
    Snail: "snail", "snails", Animals, BRIGHT, true, [one("shell")];
    Turtle: "turtle", "turtles", Animals, &[Green, Brown, Blue, Orange, Purple, Red], true, [one("shell")];
    Butterfly: "butterfly", "butterflies", Animals, BRIGHT, true, [many("wings")];

    Car: "car", "cars", Vehicles, ANY, false, [many("wheels"), many("windows")];
    Bus: "bus", "buses", Vehicles, ANY, false, [many("wheels"), many("windows")];
    Bicycle: "bicycle", "bicycles", Vehicles, PAINTED, false, [many("wheels"), one("handlebar")];
    Boat: "boat", "boats", Vehicles, ANY, false, [many("sails")];
    Plane: "plane", "planes", Vehicles, ANY, false, [many("wings"), one("tail")];
    Train: "train", "trains", Vehicles, PAINTED, false, [many("wheels"), one("chimney")];
    Rocket: "rocket", "rockets", Vehicles, ANY, true, [many("fins")];

    Chair: "chair", "chairs", Furniture, ANY, false, [many("legs"), one("back")];
    Table: "table", "tables", Furniture, ANY, false, [many("legs"), one("top")];
    Lamp: "lamp", "lamps", Furniture, ANY, true, [one("shade")];
    Clock: "clock", "clocks", Furniture, PAINTED, false, [many("hands")];
    Sofa: "sofa", "sofas", Furniture, ANY, true, [many("cushions")];
    Bed: "bed", "beds", Furniture, ANY, true, [one("pillow")];

    Tree: "tree", "trees", Nature, &[Green, Orange, Yellow, Red, Pink], false, [many("leaves"), one("trunk")];
    Flower: "flower", "flowers", Nature, &[Red, Orange, Yellow, Blue, Purple, Pink, White], false, [many("petals"), one("stem")];
    Mushroom: "mushroom", "mushrooms", Nature, &[Red, Brown, Orange, Purple, White, Yellow], true, [one("cap"), one("stem")];
    Leaf: "leaf", "leaves", Nature, AUTUMN, false, [];
}

impl Kind {
    /// The name of one, "mug". Scissors and trousers have only a plural.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The name of several, "mugs".
    pub fn plural(self) -> &'static str {
        self.entry().plural
    }

    /// Its family.
    pub fn family(self) -> Family {
        self.entry().family
    }

    /// Its named parts; empty if it has none.
    pub fn parts(self) -> &'static [Part] {
        self.entry().parts
    }

    /// The colours that its body may take, five or more.
    pub fn colours(self) -> &'static [Colour] {
        self.entry().colours
    }

    /// Whether its body may be striped, spotted or checked.
    pub fn patterned(self) -> bool {
        self.entry().patterned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_catalog_is_as_large_as_promised() {
        assert!(Kind::ALL.len() >= 44);
        assert!(Kind::ALL.iter().filter(|kind| !kind.parts().is_empty()).count() >= 14);
        for family in Family::ALL {
            assert!(Kind::ALL.iter().filter(|kind| kind.family() == family).count() >= 4, "{family:?}");
        }
    }

    #[test]
    fn names_parts_and_colours_are_distinct() {
        let names: HashSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let colours: HashSet<Colour> = kind.colours().iter().copied().collect();
            assert!(colours.len() >= 5 && colours.len() == kind.colours().len(), "{kind:?}");
            let parts: HashSet<&str> = kind.parts().iter().map(|part| part.name).collect();
            assert_eq!(parts.len(), kind.parts().len(), "{kind:?}");
        }
    }
}
