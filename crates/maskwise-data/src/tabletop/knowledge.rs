//! What one knows about the things of the Tabletop world: what they are for, what they do, what their parts are for.
//!
//! Each entry lists the kinds it holds for, and those of which it could be argued. A question is asked only in a picture without
//! anything arguable, so that its answer is certain.

use super::Kind::{self, *};

/// Kinds that a statement holds for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holds {
    /// It is true of these.
    pub(super) of: &'static [Kind],
    /// One could argue about these.
    pub(super) perhaps: &'static [Kind],
}

/// A use that things can be put to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Wordings of one use, to follow "one could use it to".
    pub(super) to: &'static [&'static str],
    pub(super) holds: Holds,
}

/// Something that things do or are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trait {
    /// Wordings of one statement, to follow "the thing that".
    pub(super) that: &'static [&'static str],
    pub(super) holds: Holds,
}

/// Things with a common name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// "animal"
    pub(super) noun: &'static str,
    /// "animals"
    pub(super) plural: &'static str,
    pub(super) holds: Holds,
}

/// What a part is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartUse {
    pub(super) kinds: &'static [Kind],
    pub(super) part: &'static str,
    /// Wordings of one use, to follow "the part of it that".
    pub(super) that: &'static [&'static str],
    /// More wordings of it, to follow "which part of it".
    pub(super) which: &'static [&'static str],
}

const fn to(to: &'static [&'static str], of: &'static [Kind], perhaps: &'static [Kind]) -> Use {
    Use { to, holds: Holds { of, perhaps } }
}

const fn that(that: &'static [&'static str], of: &'static [Kind], perhaps: &'static [Kind]) -> Trait {
    Trait { that, holds: Holds { of, perhaps } }
}

const fn group(
    noun: &'static str,
    plural: &'static str,
    of: &'static [Kind],
    perhaps: &'static [Kind],
) -> Group {
    Group { noun, plural, holds: Holds { of, perhaps } }
}

const fn part(
    kinds: &'static [Kind],
    part: &'static str,
    that: &'static [&'static str],
    which: &'static [&'static str],
) -> PartUse {
    PartUse { kinds, part, that, which }
}

/// What things are used for.
pub(super) const USES: &[Use] = &[
    to(
        &["drive a nail into the wall", "knock a nail into a board", "hang a picture on a nail"],
        &[Hammer],
        &[Axe, Shoe, Pan],
    ),
    to(&["cut paper", "cut out a paper star", "cut hair", "cut a ribbon"], &[Scissors], &[Knife, Axe, Saw]),
    to(&["cut a board in two", "cut a plank to length"], &[Saw], &[Axe, Knife, Scissors]),
    to(&["chop firewood", "fell a tree", "split a log"], &[Axe], &[Saw, Hammer]),
    to(&["turn a screw", "tighten a screw", "fasten a shelf with screws"], &[Screwdriver], &[Knife, Key]),
    to(&["paint a picture", "paint the wall", "put colour on a fence"], &[Paintbrush], &[]),
    to(&["open a locked door", "lock the front door", "start a car"], &[Key], &[Axe, Screwdriver, Hammer]),
    to(&["drink hot chocolate", "drink a coffee"], &[Mug], &[Bottle, Teapot]),
    to(&["make tea for the guests", "pour tea", "brew tea"], &[Teapot], &[Mug, Pan, Bottle]),
    to(&["fry an egg", "make a pancake", "cook a steak"], &[Pan], &[]),
    to(
        &["cut bread", "slice a tomato", "cut a cake into pieces"],
        &[Knife],
        &[Saw, Axe, Scissors, Spoon, Fork],
    ),
    to(&["eat noodles", "pick up pieces of meat"], &[Fork], &[Spoon, Knife]),
    to(&["eat soup", "stir the tea", "measure sugar"], &[Spoon], &[Fork, Mug, Knife]),
    to(&["carry water on a long walk", "take juice to school"], &[Bottle], &[Mug, Teapot]),
    to(&["cool down with something sweet", "enjoy a frozen treat"], &[IceCream], &[Bottle, Mug]),
    to(&["protect the head from the sun", "cover the head"], &[Hat], &[Umbrella]),
    to(&["keep the feet warm indoors", "warm cold toes"], &[Sock], &[Shoe, Trousers]),
    to(&["walk over sharp stones", "protect the feet outdoors"], &[Shoe], &[Sock, Bicycle, Car, Bus, Train]),
    to(&["stay dry on a rainy walk", "keep off the rain"], &[Umbrella], &[Hat, Tree, Mushroom]),
    to(&["drive the family to the sea", "drive to work"], &[Car], &[Bus, Train, Bicycle]),
    to(&["take a whole class through the town", "carry many people along the street"], &[Bus], &[Train, Car]),
    to(&["get to school by pedalling", "ride on two wheels"], &[Bicycle], &[]),
    to(&["cross a lake", "travel on water", "go fishing on the sea"], &[Boat], &[Plane, Rocket]),
    to(&["fly to another country", "travel above the clouds"], &[Plane], &[Rocket, Bird]),
    to(&["travel on rails", "travel from station to station"], &[Train], &[Bus]),
    to(&["fly to the moon", "travel into space"], &[Rocket], &[Plane]),
    to(
        &["travel to another town", "visit a friend far away"],
        &[Car, Bus, Bicycle, Boat, Plane, Train],
        &[Rocket],
    ),
    to(&["sit at the table", "sit down at a desk"], &[Chair], &[Sofa, Bed, Table]),
    to(&["sit down"], &[Chair, Sofa], &[Bed, Table, Bicycle, Mushroom, Car, Bus, Train, Boat, Plane]),
    to(&["set out dinner for the family", "put the plates down for dinner"], &[Table], &[Chair, Bed, Sofa]),
    to(&["light up a dark room", "read at night", "see in the dark"], &[Lamp], &[]),
    to(&["find out the time", "know when it is noon"], &[Clock], &[]),
    to(&["sit with two friends side by side", "watch a film in comfort"], &[Sofa], &[Bed, Chair]),
    to(&["sleep through the night", "lie down and sleep"], &[Bed], &[Sofa]),
    to(&["fill a vase", "thank somebody with a bouquet"], &[Flower], &[Leaf, Cupcake, Donut, IceCream]),
    to(&["cut things into pieces"], &[Scissors, Saw, Knife, Axe], &[]),
    to(&["drink some water"], &[Mug, Bottle], &[Teapot, Spoon]),
    to(&["eat without dirty fingers", "bring food to the mouth"], &[Fork, Spoon], &[Knife, Pan]),
];

/// What things do and are.
pub(super) const TRAITS: &[Trait] = &[
    that(&["meows", "purrs", "catches mice"], &[Cat], &[]),
    that(&["barks", "guards the house", "fetches a stick"], &[Dog], &[]),
    that(&["runs through the forest on long legs", "lives in the forest and eats grass"], &[Deer], &[Rabbit]),
    that(&["sings in the morning", "builds a nest", "has feathers"], &[Bird], &[]),
    that(
        &["breathes under water", "never leaves the water", "is caught with a hook"],
        &[Fish],
        &[Turtle, Boat],
    ),
    that(&["hops across the meadow", "loves to eat carrots"], &[Rabbit], &[Bird, Deer]),
    that(&["is the heaviest animal on land", "sprays water with its nose"], &[Elephant], &[]),
    that(&["crawls slowly and leaves a trail of slime", "has a spiral house on its back"], &[Snail], &[]),
    that(&["pulls its head and legs into its shell", "is slow and has four short legs"], &[Turtle], &[Snail]),
    that(&["was a caterpillar once", "comes out of a cocoon"], &[Butterfly], &[]),
    that(&["can fly", "moves through the air"], &[Bird, Butterfly, Plane], &[Rocket]),
    that(&["lays eggs"], &[Bird, Fish, Turtle, Snail, Butterfly], &[]),
    that(&["has fur", "feels soft and furry"], &[Cat, Dog, Deer, Rabbit], &[Elephant, Butterfly, Sofa, Bed]),
    that(&["lives in a shell"], &[Snail, Turtle], &[]),
    that(&["is alive and has wings"], &[Bird, Butterfly], &[]),
    that(&["rolls on wheels"], &[Car, Bus, Bicycle, Train], &[Plane]),
    that(&["has an engine", "needs fuel"], &[Car, Bus, Train, Plane, Rocket], &[Boat]),
    that(&["is moved by the wind"], &[Boat], &[Leaf]),
    that(&["runs on rails", "stops at a station"], &[Train], &[Bus]),
    that(&["is moved by pedals"], &[Bicycle], &[]),
    that(&["starts with a countdown", "flies into space"], &[Rocket], &[Plane]),
    that(&["melts in the sun", "is kept in the freezer"], &[IceCream], &[Cupcake, Donut, Fish]),
    that(&["is baked in a small paper cup"], &[Cupcake], &[]),
    that(&["is sweet and has a hole in the middle"], &[Donut], &[]),
    that(
        &["can be eaten", "tastes good", "would help against hunger"],
        &[Apple, Banana, Pear, Carrot, IceCream, Cupcake, Donut],
        &[Mushroom, Fish, Leaf],
    ),
    that(&["is a fruit"], &[Apple, Banana, Pear], &[]),
    that(&["is a vegetable", "grows under the ground"], &[Carrot], &[Mushroom]),
    that(&["is long and is peeled before it is eaten"], &[Banana], &[Carrot]),
    that(&["is worn on the head"], &[Hat], &[]),
    that(&["is worn on the legs"], &[Trousers], &[Sock, Dress]),
    that(&["is worn on the upper body and has sleeves"], &[Shirt], &[Dress]),
    that(&["covers the body and the legs in one piece"], &[Dress], &[]),
    that(&["is worn on the feet"], &[Sock, Shoe], &[]),
    that(&["tells the time", "ticks"], &[Clock], &[]),
    that(&["gives light"], &[Lamp], &[]),
    that(&["gives wood", "grows taller than a house"], &[Tree], &[]),
    that(&["smells sweet and attracts bees", "blooms in spring"], &[Flower], &[Tree, Cupcake, Donut]),
    that(
        &["pops up in the forest after rain", "may be poisonous to eat"],
        &[Mushroom],
        &[Tree, Flower, Snail, Leaf],
    ),
    that(&["falls from the tree in autumn"], &[Leaf], &[Apple, Pear, Tree]),
    that(&["has roots"], &[Tree, Flower], &[Mushroom, Carrot, Leaf]),
    that(&["keeps one dry in the rain"], &[Umbrella], &[Hat, Tree, Car, Bus, Train, Mushroom, Boat]),
    that(&["fits into a lock"], &[Key], &[]),
];

/// Things with a common name.
pub(super) const GROUPS: &[Group] = &[
    group(
        "tool",
        "tools",
        &[Hammer, Scissors, Saw, Screwdriver, Axe, Paintbrush],
        &[Knife, Key, Fork, Spoon, Pan],
    ),
    group(
        "kitchen item",
        "kitchen items",
        &[Mug, Teapot, Pan, Knife, Fork, Spoon, Bottle],
        &[Scissors, Table, Chair, Clock],
    ),
    group(
        "thing to eat",
        "things to eat",
        &[Apple, Banana, Pear, Carrot, IceCream, Cupcake, Donut],
        &[Mushroom, Fish, Leaf],
    ),
    group("piece of clothing", "pieces of clothing", &[Shirt, Trousers, Dress, Hat, Sock, Shoe], &[Umbrella]),
    group(
        "animal",
        "animals",
        &[Cat, Dog, Deer, Bird, Fish, Rabbit, Elephant, Snail, Turtle, Butterfly],
        &[],
    ),
    group("vehicle", "vehicles", &[Car, Bus, Bicycle, Boat, Plane, Train, Rocket], &[]),
    group("piece of furniture", "pieces of furniture", &[Chair, Table, Sofa, Bed], &[Lamp, Clock]),
    group("plant", "plants", &[Tree, Flower], &[Mushroom, Leaf, Carrot, Apple, Banana, Pear]),
    group("fruit", "fruits", &[Apple, Banana, Pear], &[]),
];

/// What parts are for.
pub(super) const PART_USES: &[PartUse] = &[
    part(
        &[Hammer, Saw, Screwdriver, Axe, Paintbrush, Knife, Pan, Mug, Teapot, Umbrella],
        "handle",
        &["is held in the hand", "is made for gripping"],
        &["does one hold", "do the fingers go around"],
    ),
    part(&[Scissors], "handles", &["is held in the hand"], &["do the fingers go through"]),
    part(&[Hammer], "head", &["hits the nail", "is heavy and strikes"], &[]),
    part(&[Scissors], "blades", &["cuts", "is sharp"], &["touches the paper"]),
    part(&[Saw, Axe, Knife], "blade", &["cuts", "is sharp", "could hurt somebody"], &[]),
    part(&[Screwdriver], "tip", &["fits into the screw", "touches the screw"], &[]),
    part(&[Paintbrush], "bristles", &["takes up the paint", "is dipped into the paint"], &[]),
    part(&[Teapot], "spout", &["lets the tea out"], &["does the tea come out of"]),
    part(&[Teapot], "lid", &["covers the opening", "is lifted to fill in water"], &[]),
    part(&[Fork], "prongs", &["goes into the food", "picks up the food"], &[]),
    part(&[Spoon], "bowl", &["holds the soup", "goes into the mouth"], &[]),
    part(&[Bottle], "cap", &["closes it", "is unscrewed before drinking"], &["does one open"]),
    part(&[Carrot], "leaves", &["grows above the ground", "is not eaten"], &[]),
    part(&[IceCream], "cone", &["is crisp", "is held in the hand"], &["does one hold"]),
    part(&[Cupcake], "icing", &["is the sweetest", "is put on after baking"], &[]),
    part(&[Shirt], "sleeves", &["covers the arms"], &["do the arms go into"]),
    part(&[Trousers], "legs", &["reaches down to the feet"], &[]),
    part(&[Dress], "skirt", &["swings around the legs", "is wide and covers the legs"], &[]),
    part(&[Hat], "brim", &["keeps the sun out of the eyes", "gives shade to the face"], &[]),
    part(&[Shoe], "sole", &["touches the ground", "wears off from walking"], &["does one walk on"]),
    part(&[Cat], "tail", &["helps it to keep its balance"], &["does it balance with"]),
    part(&[Dog], "tail", &["wags when it is happy"], &["does it wag when it is happy"]),
    part(&[Cat, Dog, Rabbit, Elephant], "ears", &["is used for hearing"], &["does it hear with"]),
    part(&[Deer], "antlers", &["is used for defence", "is lost every winter"], &["does it fight with"]),
    part(&[Deer], "legs", &["carries it through the forest"], &["does it run with"]),
    part(&[Bird, Butterfly], "wings", &["lets it fly", "keeps it up in the air"], &["does it fly with"]),
    part(&[Bird], "beak", &["picks up seeds"], &["does it pick up seeds with", "does it eat with"]),
    part(&[Fish], "fins", &["steers it"], &["does it steer with"]),
    part(&[Fish], "tail", &["pushes it through the water"], &[]),
    part(
        &[Elephant],
        "trunk",
        &["sprays water", "is used for smelling"],
        &["does it spray water with", "does it pick things up with"],
    ),
    part(&[Elephant], "tusks", &["is made of ivory"], &["do poachers want"]),
    part(&[Snail, Turtle], "shell", &["protects it", "is hard"], &["does it hide in"]),
    part(&[Car, Bus, Bicycle, Train], "wheels", &["rolls", "turns while it drives"], &[]),
    part(&[Car, Bus], "windows", &["is made of glass"], &["does one look out of"]),
    part(
        &[Bicycle],
        "handlebar",
        &["is used for steering"],
        &["does one steer with", "do the hands rest on"],
    ),
    part(&[Boat], "sails", &["catches the wind"], &["does the wind blow into"]),
    part(&[Plane], "wings", &["keeps it up in the air", "carries it through the air"], &[]),
    part(&[Plane], "tail", &["is at the very back"], &[]),
    part(&[Train], "chimney", &["lets the smoke out"], &["does the smoke come out of"]),
    part(&[Rocket], "fins", &["keeps it straight in flight"], &[]),
    part(&[Chair, Table], "legs", &["stands on the floor", "carries its weight"], &["does it stand on"]),
    part(&[Chair], "back", &["supports a tired back"], &["does one lean against"]),
    part(&[Table], "top", &["is flat"], &["does one put plates on"]),
    part(&[Lamp], "shade", &["softens the light", "is around the bulb"], &[]),
    part(&[Clock], "hands", &["shows the time", "moves around in a circle"], &[]),
    part(&[Sofa], "cushions", &["is soft to sit on"], &["does one sit on"]),
    part(&[Bed], "pillow", &["is for the head"], &["does one rest the head on"]),
    part(&[Tree], "leaves", &["turns sunlight into food", "falls off in autumn"], &[]),
    part(&[Tree], "trunk", &["gives wood", "carries the branches"], &[]),
    part(&[Flower], "petals", &["attracts the bees", "smells sweet"], &[]),
    part(&[Flower, Mushroom], "stem", &["holds it up", "rises from the ground"], &["does it stand on"]),
    part(&[Mushroom], "cap", &["is like a roof", "is on the very top"], &[]),
];

/// Kinds that one could take for one another, or put up with instead.
pub(super) const KIN: &[&[Kind]] = &[
    &[Hammer, Saw, Screwdriver, Axe],
    &[Scissors, Knife],
    &[Mug, Teapot, Bottle],
    &[Knife, Fork, Spoon],
    &[Apple, Banana, Pear],
    &[IceCream, Cupcake, Donut],
    &[Shirt, Dress],
    &[Sock, Shoe],
    &[Cat, Dog, Rabbit],
    &[Bird, Butterfly],
    &[Snail, Turtle],
    &[Deer, Elephant],
    &[Car, Bus, Train],
    &[Plane, Rocket],
    &[Chair, Sofa, Bed],
    &[Tree, Flower, Leaf],
];
