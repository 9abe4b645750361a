//! Kitchen.

use super::super::draw::{Dice, Ink, Sketch, blob, oval, poly, rounded, soft_poly, tube};
use super::{metal, wood};

pub(super) fn mug(dice: &mut Dice, s: &mut Sketch) {
    let width = dice.between(46.0, 74.0);
    let height = dice.between(52.0, 84.0);
    let foot = width * dice.between(0.36, 0.54);
    let rim = dice.between(5.0, 10.0);
    let half = width / 2.0;
    // The handle is an open loop on the right.
    let (out, thick) = (dice.between(22.0, 32.0), dice.between(8.0, 12.0));
    let (top, low) = (height * dice.between(0.15, 0.3), height * dice.between(0.65, 0.85));
    let square = dice.between(0.6, 1.0);
    s.part(0).fill(
        tube(&[
            (half - 4.0, top, thick),
            (half + out * square, top + 1.0, thick),
            (half + out, (top + low) / 2.0, thick),
            (half + out * 0.7 * square, low, thick),
            (half - 8.0, low, thick),
        ]),
        Ink::Tone(-0.12),
    );
    let body =
        soft_poly(&[(-half, 0.0), (half, 0.0), (foot, height), (-foot, height)], dice.between(2.0, 14.0));
    s.rest().merge([body, oval(0.0, 0.0, half, rim)], Ink::Body);
    s.mark(oval(0.0, 0.0, half - 3.0, rim - 2.0), Ink::Tone(-0.45));
    if dice.chance(0.3) {
        s.bare(oval(0.0, 1.0, half - 6.0, rim - 3.0), Ink::Own([92, 58, 36]));
    }
}

pub(super) fn teapot(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(34.0, 44.0), dice.between(26.0, 38.0));
    let thick = dice.between(7.0, 10.0);
    let reach = dice.between(22.0, 32.0);
    s.part(1);
    if dice.chance(0.7) {
        let high = ry * dice.between(0.5, 0.75);
        s.fill(
            tube(&[
                (-rx * 0.75, -high, thick),
                (-rx - reach, -high * 0.8, thick),
                (-rx - reach * 0.9, ry * 0.2, thick),
                (-rx * 0.85, ry * 0.45, thick),
            ]),
            Ink::Tone(-0.2),
        );
    } else {
        // A bow over the lid.
        let top = -ry - dice.between(26.0, 34.0);
        s.fill(
            tube(&[
                (-rx * 0.7, -ry * 0.6, thick),
                (-rx * 0.6, top * 0.85, thick),
                (0.0, top, thick),
                (rx * 0.6, top * 0.85, thick),
                (rx * 0.7, -ry * 0.6, thick),
            ]),
            Ink::Tone(-0.2),
        );
    }
    let rise = dice.between(0.5, 1.0) * ry;
    s.part(0).fill(
        tube(&[
            (rx * 0.6, ry * 0.45, 22.0),
            (rx + 9.0, ry * 0.05, 15.0),
            (rx + 15.0, -rise * 0.6, 10.0),
            (rx + 26.0, -rise, 10.0),
        ]),
        Ink::Tone(-0.12),
    );
    let square = dice.between(0.75, 1.0);
    s.rest().fill(
        blob(&[
            (0.0, -ry),
            (rx * 0.75, -ry * 0.72),
            (rx, 0.0),
            (rx * 0.8, ry * 0.75 * square),
            (0.0, ry),
            (-rx * 0.8, ry * 0.75 * square),
            (-rx, 0.0),
            (-rx * 0.75, -ry * 0.72),
        ]),
        Ink::Body,
    );
    s.fill(rounded(-rx * 0.5, ry * 0.9, rx * 0.5, ry + 5.0, 2.0), Ink::Tone(-0.3));
    let lid = rx * dice.between(0.5, 0.68);
    let knob = dice.between(5.0, 7.5);
    s.part(2).merge(
        [
            oval(0.0, -ry - 8.0, knob, knob),
            blob(&[
                (-lid, -ry + 5.0),
                (-lid * 0.8, -ry - 3.0),
                (0.0, -ry - 7.0),
                (lid * 0.8, -ry - 3.0),
                (lid, -ry + 5.0),
                (0.0, -ry + 8.0),
            ]),
        ],
        Ink::Tone(0.25),
    );
}

pub(super) fn pan(dice: &mut Dice, s: &mut Sketch) {
    let long = dice.between(42.0, 56.0);
    let grip = if dice.chance(0.5) { Ink::Own([44, 42, 44]) } else { Ink::Own(wood(dice)) };
    if dice.chance(0.6) {
        // A frying pan from above.
        let r = dice.between(40.0, 46.0);
        let ry = r * dice.between(0.85, 1.0);
        s.part(0).fill(tube(&[(r - 4.0, 0.0, 9.0), (r + long * 0.3, 0.0, 9.0), (r + long, 0.0, 14.0)]), grip);
        s.mark(oval(r + long - 3.0, 0.0, 3.0, 2.5), Ink::Own([200, 200, 200]));
        s.rest().fill(oval(0.0, 0.0, r, ry), Ink::Body);
        s.mark(oval(0.0, 1.0, r * 0.82, ry * 0.82), Ink::Tone(-0.22));
        s.mark(oval(0.0, 3.0, r * 0.76, ry * 0.76), Ink::Tone(-0.1));
    } else {
        // A saucepan from the side, with or without a lid.
        let (half, high) = (dice.between(30.0, 38.0), dice.between(32.0, 46.0));
        s.part(0).fill(
            tube(&[
                (half - 3.0, -high * 0.7, 9.0),
                (half + long * 0.4, -high * 0.8, 10.0),
                (half + long, -high * 0.85, 12.0),
            ]),
            grip,
        );
        s.rest().fill(
            soft_poly(&[(-half, -high), (half, -high), (half * 0.96, 0.0), (-half * 0.96, 0.0)], 7.0),
            Ink::Body,
        );
        if dice.chance(0.6) {
            s.merge(
                [
                    oval(0.0, -high - 12.0, 6.0, 5.0),
                    blob(&[
                        (-half, -high),
                        (-half * 0.6, -high - 8.0),
                        (half * 0.6, -high - 8.0),
                        (half, -high),
                    ]),
                ],
                Ink::Tone(0.25),
            );
        }
        s.fill(rounded(-half - 3.0, -high - 3.0, half + 3.0, -high + 4.0, 3.0), Ink::Tone(-0.25));
    }
}

pub(super) fn knife(dice: &mut Dice, s: &mut Sketch) {
    let (long, wide) = (dice.between(46.0, 58.0), dice.between(12.0, 17.0));
    let steel = Ink::Own(metal(dice));
    s.part(0);
    if dice.chance(0.5) {
        s.fill(
            blob(&[
                (-wide * 0.45, 4.0),
                (-wide * 0.5, -long * 0.5),
                (-wide * 0.3, -long * 0.9),
                (0.0, -long),
                (wide * 0.42, -long * 0.75),
                (wide * 0.5, -long * 0.3),
                (wide * 0.45, 4.0),
            ]),
            steel,
        );
    } else {
        // A straight back and a pointed blade.
        s.fill(
            soft_poly(
                &[
                    (-wide * 0.45, 4.0),
                    (-wide * 0.45, -long),
                    (wide * 0.1, -long * 0.8),
                    (wide * 0.65, -long * 0.4),
                    (wide * 0.65, 0.0),
                    (wide * 0.3, 4.0),
                ],
                3.0,
            ),
            steel,
        );
    }
    let grip = dice.between(14.0, 18.0);
    let end = dice.between(46.0, 58.0);
    s.part(1).fill(
        tube(&[(0.0, 5.0, grip * 0.9), (0.0, end * 0.5, grip), (dice.between(-3.0, 3.0), end, grip * 1.15)]),
        Ink::Body,
    );
    if dice.chance(0.6) {
        for rivet in [0.25, 0.55, 0.85] {
            s.mark(oval(0.0, end * rivet, 2.4, 2.4), Ink::Tone(0.6));
        }
    }
}

pub(super) fn fork(dice: &mut Dice, s: &mut Sketch) {
    let half = dice.between(11.0, 16.0);
    let prongs = dice.whole(3, 4);
    let (tine, long) = (dice.between(24.0, 34.0), dice.between(46.0, 64.0));
    let thick = if prongs == 4 { 5.0 } else { 6.0 };
    let shoulders = blob(&[
        (-half - 2.0, -2.0),
        (half + 2.0, -2.0),
        (half, 11.0),
        (4.0, 21.0),
        (-4.0, 21.0),
        (-half, 11.0),
    ]);
    let end = dice.between(9.0, 15.0);
    let stem = tube(&[(0.0, 18.0, 7.0), (0.0, 30.0, 7.5), (0.0, 18.0 + long, end)]);
    let tines: Vec<_> = (0..prongs)
        .map(|i| half * (2.0 * i as f32 / (prongs - 1) as f32 - 1.0))
        .map(|x| tube(&[(x, 2.0, thick), (x, -tine * 0.6, thick), (x * 0.96, -tine, thick * 0.5)]))
        .collect();
    s.part(0).merge(tines, Ink::Body);
    s.rest().merge([stem, shoulders], Ink::Body);
}

pub(super) fn spoon(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(14.0, 20.0), dice.between(20.0, 27.0));
    let end = dice.between(9.0, 14.0);
    let long = dice.between(60.0, 76.0);
    s.fill(tube(&[(0.0, ry * 0.6, 7.0), (0.0, ry + 12.0, 7.5), (0.0, ry + long, end)]), Ink::Body);
    s.part(0).fill(
        blob(&[
            (0.0, -ry),
            (rx * 0.85, -ry * 0.5),
            (rx, ry * 0.1),
            (rx * 0.55, ry * 0.75),
            (0.0, ry + 3.0),
            (-rx * 0.55, ry * 0.75),
            (-rx, ry * 0.1),
            (-rx * 0.85, -ry * 0.5),
        ]),
        Ink::Body,
    );
    s.mark(oval(0.0, -1.0, rx * 0.68, ry * 0.7), Ink::Tone(-0.2));
    s.mark(oval(-rx * 0.15, -ry * 0.15, rx * 0.4, ry * 0.45), Ink::Tone(0.12));
}

pub(super) fn bottle(dice: &mut Dice, s: &mut Sketch) {
    let half = dice.between(15.0, 24.0);
    let neck = dice.between(6.5, 9.5);
    let (high, shoulder) = (dice.between(50.0, 66.0), dice.between(12.0, 26.0));
    let top = -high - shoulder - dice.between(12.0, 24.0);
    let glass = soft_poly(
        &[
            (-half, 0.0),
            (-half, -high),
            (-neck, -high - shoulder),
            (-neck, top),
            (neck, top),
            (neck, -high - shoulder),
            (half, -high),
            (half, 0.0),
        ],
        dice.between(4.0, 10.0),
    );
    s.fill(glass, Ink::Body);
    if dice.chance(0.6) {
        let (upper, lower) = (-high * dice.between(0.75, 0.9), -high * dice.between(0.2, 0.35));
        s.mark(poly(&[(-40.0, upper), (40.0, upper), (40.0, lower), (-40.0, lower)]), Ink::Tone(0.7));
        s.mark(
            rounded(-half * 0.5, (upper + lower) / 2.0 - 4.0, half * 0.5, (upper + lower) / 2.0 + 4.0, 2.0),
            Ink::Tone(-0.3),
        );
    }
    s.mark(tube(&[(-half * 0.62, -high * 0.95, 3.0), (-half * 0.62, -8.0, 3.0)]), Ink::Tone(0.45));
    let cap = if dice.chance(0.5) { Ink::Own(wood(dice)) } else { Ink::Own(metal(dice)) };
    s.part(0).fill(rounded(-neck - 2.5, top - 9.0, neck + 2.5, top + 5.0, 2.0), cap);
}
