//! Kitchen.

use super::super::draw::{Dice, Ink, Sketch, oval, poly, rounded, soft_poly, tube};

pub(super) fn mug(dice: &mut Dice, sketch: &mut Sketch) {
    let width = dice.between(46.0, 72.0);
    let height = dice.between(52.0, 84.0);
    let foot = width * dice.between(0.36, 0.54);
    let rim = dice.between(5.0, 10.0);
    let half = width / 2.0;
    // The handle is an open loop on the right.
    let (out, thick) = (dice.between(20.0, 32.0), dice.between(8.0, 12.0));
    let (top, low) = (height * dice.between(0.15, 0.3), height * dice.between(0.65, 0.85));
    let square = dice.between(0.6, 1.0);
    sketch.part(0).fill(
        tube(&[
            (half - 4.0, top, thick),
            (half + out * square, top + 1.0, thick),
            (half + out, (top + low) / 2.0, thick),
            (half + out * 0.7 * square, low, thick),
            (half - 6.0, low, thick),
        ]),
        Ink::Tone(-0.12),
    );
    let body =
        soft_poly(&[(-half, 0.0), (half, 0.0), (foot, height), (-foot, height)], dice.between(2.0, 14.0));
    sketch.rest().merge([body, oval(0.0, 0.0, half, rim)], Ink::Body);
    sketch.mark(oval(0.0, 0.0, half - 3.0, rim - 2.0), Ink::Tone(-0.45));
    let _ = (poly, rounded);
}
