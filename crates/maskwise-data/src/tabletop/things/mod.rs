//! How each kind is drawn: one function per kind, about 100 units large, y downwards.

use super::Kind;
use super::draw::{Dice, Ink, Sketch, oval};

mod kitchen;

/// A new drawing of a thing of `kind`.
pub(super) fn sketch(kind: Kind, dice: &mut Dice) -> Sketch {
    let mut sketch = Sketch::default();
    let draw: fn(&mut Dice, &mut Sketch) = match kind {
        Kind::Mug => kitchen::mug,
        _ => unfinished,
    };
    draw(dice, &mut sketch);
    sketch
}

fn unfinished(dice: &mut Dice, sketch: &mut Sketch) {
    sketch.fill(oval(50.0, 50.0, dice.between(20.0, 50.0), dice.between(20.0, 50.0)), Ink::Body);
}

/// Whether things of `kind` lie at any angle rather than stand.
pub(super) fn lies(kind: Kind) -> bool {
    use Kind::{
        Axe, Banana, Carrot, Fork, Hammer, Key, Knife, Leaf, Paintbrush, Pan, Saw, Scissors, Screwdriver,
        Spoon,
    };
    let lying = [
        Axe,
        Banana,
        Carrot,
        Fork,
        Hammer,
        Key,
        Knife,
        Leaf,
        Paintbrush,
        Pan,
        Saw,
        Scissors,
        Screwdriver,
        Spoon,
    ];
    lying.contains(&kind)
}
