//! How each kind is drawn: one function per kind, about 100 units large, y downwards.

use super::Kind;
use super::colour::{Rgb, from_hsv};
use super::draw::{Dice, Ink, Sketch, at, blob, oval, tube};
use tiny_skia::Path;

mod clothes;
mod food;
mod furniture;
mod kitchen;
mod nature;
mod pets;
mod small;
mod tools;
mod vehicles;
mod wild;

/// A new drawing of a thing of `kind`.
pub(super) fn sketch(kind: Kind, dice: &mut Dice) -> Sketch {
    let mut sketch = Sketch::default();
    let draw: fn(&mut Dice, &mut Sketch) = match kind {
        Kind::Hammer => tools::hammer,
        Kind::Scissors => tools::scissors,
        Kind::Saw => tools::saw,
        Kind::Screwdriver => tools::screwdriver,
        Kind::Axe => tools::axe,
        Kind::Paintbrush => tools::paintbrush,
        Kind::Key => tools::key,
        Kind::Mug => kitchen::mug,
        Kind::Teapot => kitchen::teapot,
        Kind::Pan => kitchen::pan,
        Kind::Knife => kitchen::knife,
        Kind::Fork => kitchen::fork,
        Kind::Spoon => kitchen::spoon,
        Kind::Bottle => kitchen::bottle,
        Kind::Apple => food::apple,
        Kind::Banana => food::banana,
        Kind::Pear => food::pear,
        Kind::Carrot => food::carrot,
        Kind::IceCream => food::ice_cream,
        Kind::Cupcake => food::cupcake,
        Kind::Donut => food::donut,
        Kind::Shirt => clothes::shirt,
        Kind::Trousers => clothes::trousers,
        Kind::Dress => clothes::dress,
        Kind::Hat => clothes::hat,
        Kind::Sock => clothes::sock,
        Kind::Shoe => clothes::shoe,
        Kind::Umbrella => clothes::umbrella,
        Kind::Cat => pets::cat,
        Kind::Dog => pets::dog,
        Kind::Deer => wild::deer,
        Kind::Bird => small::bird,
        Kind::Fish => small::fish,
        Kind::Rabbit => pets::rabbit,
        Kind::Elephant => wild::elephant,
        Kind::Snail => wild::snail,
        Kind::Turtle => wild::turtle,
        Kind::Butterfly => small::butterfly,
        Kind::Car => vehicles::car,
        Kind::Bus => vehicles::bus,
        Kind::Bicycle => vehicles::bicycle,
        Kind::Boat => vehicles::boat,
        Kind::Plane => vehicles::plane,
        Kind::Train => vehicles::train,
        Kind::Rocket => vehicles::rocket,
        Kind::Chair => furniture::chair,
        Kind::Table => furniture::table,
        Kind::Lamp => furniture::lamp,
        Kind::Clock => furniture::clock,
        Kind::Sofa => furniture::sofa,
        Kind::Bed => furniture::bed,
        Kind::Tree => nature::tree,
        Kind::Flower => nature::flower,
        Kind::Mushroom => nature::mushroom,
        Kind::Leaf => nature::leaf,
    };
    draw(dice, &mut sketch);
    sketch
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

const METAL_DARK: Rgb = [92, 98, 106];

/// A shade of steel.
fn metal(dice: &mut Dice) -> Rgb {
    from_hsv(dice.between(200.0, 230.0), dice.between(0.02, 0.08), dice.between(0.68, 0.84))
}

/// A shade of bare wood.
fn wood(dice: &mut Dice) -> Rgb {
    from_hsv(dice.between(24.0, 34.0), dice.between(0.4, 0.58), dice.between(0.5, 0.78))
}

/// A shade of fresh leaves.
fn leaf_green(dice: &mut Dice) -> Rgb {
    from_hsv(dice.between(90.0, 135.0), dice.between(0.5, 0.75), dice.between(0.45, 0.7))
}

/// A pointed leaf from `base` in the direction `angle`, with half its width as a share of its length.
fn leaf_shape(base: (f32, f32), length: f32, angle: f32, wide: f32) -> Path {
    let side = |along: f32, across: f32| {
        let middle = at(base, length * along, angle);
        at(middle, length * wide * across, angle + std::f32::consts::FRAC_PI_2)
    };
    blob(&[
        side(0.0, 0.0),
        side(0.2, 0.75),
        side(0.5, 1.0),
        side(0.8, 0.55),
        side(1.0, 0.0),
        side(0.8, -0.55),
        side(0.5, -1.0),
        side(0.2, -0.75),
    ])
}

/// An eye that shows on any fur.
fn eye(s: &mut Sketch, x: f32, y: f32, r: f32) {
    s.mark(oval(x, y, r, r * 1.1), Ink::Own([252, 252, 248]));
    s.mark(oval(x + r * 0.2, y, r * 0.62, r * 0.75), Ink::Own([20, 18, 22]));
}

/// Legs at the given columns, those of the far side darker.
fn legs(dice: &mut Dice, s: &mut Sketch, columns: &[f32; 4], top: f32, bottom: f32, wide: f32) {
    let stride = dice.between(-7.0, 7.0);
    for (index, far) in [(0, true), (3, true), (1, false), (2, false)] {
        let x = columns[index];
        let swing = if far { -stride } else { stride };
        let foot = (x + swing, bottom);
        let leg = tube(&[
            (x, top, wide * 1.15),
            (x + swing * 0.4, (top + bottom) / 2.0, wide),
            (foot.0, foot.1 - wide * 0.4, wide * 0.9),
        ]);
        s.fill(leg, if far { Ink::Tone(-0.3) } else { Ink::Body });
    }
}
