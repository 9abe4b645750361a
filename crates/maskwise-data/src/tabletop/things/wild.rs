//! Large and wild animals.

use super::super::draw::{Dice, Ink, Sketch, at, blob, oval, oval_turned, poly, tube};
use super::{eye, legs};
use std::f32::consts::PI;

pub(super) fn deer(dice: &mut Dice, s: &mut Sketch) {
    let (long, thick) = (dice.between(26.0, 33.0), dice.between(13.0, 17.0));
    let neck = dice.between(26.0, 36.0);
    let (x, y) = (long + dice.between(9.0, 15.0), -thick - neck);
    let horn = Ink::Own(dice.pick(&[[150, 108, 62], [196, 160, 108], [116, 82, 52]]));
    s.part(0);
    for side in [-1.0, 1.0] {
        let tilt = -PI / 2.0 + side * dice.between(0.42, 0.6);
        let beam = dice.between(34.0, 44.0);
        let root = (x - 3.0 + side * 3.0, y - 8.0);
        let (middle, tip) = (at(root, beam * 0.55, tilt), at(root, beam, tilt - side * 0.45));
        s.fill(tube(&[(root.0, root.1, 6.5), (middle.0, middle.1, 6.0), (tip.0, tip.1, 4.5)]), horn);
        for branch in 0..dice.whole(2, 3) {
            let from = at(root, beam * (0.35 + 0.22 * branch as f32), tilt);
            let to = at(from, beam * 0.36, tilt - side * dice.between(0.75, 1.1));
            s.fill(tube(&[(from.0, from.1, 5.5), (to.0, to.1, 4.0)]), horn);
        }
    }
    s.part(1);
    legs(dice, s, &[-long * 0.85, -long * 0.55, long * 0.5, long * 0.82], 2.0, long * 0.7 + 26.0, 8.5);
    s.rest().fill(oval_turned(-long - 4.0, -8.0, 6.0, 4.5, -0.6), Ink::Tone(0.5));
    s.fill(oval_turned(x - 13.0, y - 4.0, 9.5, 4.5, 0.45), Ink::Tone(-0.15));
    s.merge(
        [
            blob(&[
                (-long - 3.0, -6.0),
                (-long * 0.6, -thick),
                (long * 0.5, -thick * 0.85),
                (long + 4.0, -thick),
                (long + 6.0, 2.0),
                (long * 0.4, thick * 0.75),
                (-long * 0.6, thick * 0.75),
            ]),
            tube(&[
                (long * 0.75, -2.0, 22.0),
                ((long + x) / 2.0, (y - thick) / 2.0 + 2.0, 16.0),
                (x - 3.0, y, 13.0),
            ]),
            tube(&[(x - 4.0, y - 2.0, 17.0), (x + 15.0, y + 5.0, 10.0)]),
        ],
        Ink::Body,
    );
    eye(s, x + 1.0, y - 4.0, 3.0);
    s.mark(oval(x + 18.0, y + 4.0, 3.6, 3.2), Ink::Own([34, 28, 28]));
    if dice.chance(0.5) {
        for _ in 0..7 {
            s.mark(
                oval(dice.between(-long * 0.8, long * 0.4), dice.between(-thick * 0.75, 0.0), 2.2, 2.0),
                Ink::Tone(0.6),
            );
        }
    }
}

pub(super) fn elephant(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(36.0, 44.0), dice.between(27.0, 33.0));
    let leg = dice.between(40.0, 48.0);
    s.fill(tube(&[(-rx + 4.0, -6.0, 5.0), (-rx - 8.0, 6.0, 4.5), (-rx - 9.0, 20.0, 6.0)]), Ink::Tone(-0.15));
    legs(dice, s, &[-rx * 0.72, -rx * 0.3, rx * 0.35, rx * 0.75], 6.0, leg, 17.0);
    let (x, y) = (rx * 1.05, -ry * 0.55);
    let r = dice.between(21.0, 25.0);
    s.fill(oval(0.0, 0.0, rx, ry), Ink::Body);
    let raised = dice.chance(0.35);
    let reach = dice.between(16.0, 24.0);
    let trunk = if raised {
        tube(&[
            (x + r * 0.5, y + 6.0, 17.0),
            (x + r + reach * 0.6, y + 12.0, 13.0),
            (x + r + reach, y - 10.0, 11.0),
            (x + r + reach * 0.8, y - 32.0, 9.0),
        ])
    } else {
        tube(&[
            (x + r * 0.55, y + 4.0, 18.0),
            (x + r + 6.0, y + 22.0, 14.0),
            (x + r + 5.0, y + 44.0, 11.0),
            (x + r + reach, y + 55.0, 9.0),
        ])
    };
    s.fill(oval(x, y, r, r), Ink::Body);
    s.part(0).fill(trunk, Ink::Body);
    let tusk = dice.between(18.0, 23.0);
    s.part(1).fill(
        tube(&[
            (x + r * 0.35, y + 15.0, 10.0),
            (x + r * 0.35 + tusk * 0.5, y + 24.0, 8.5),
            (x + r * 0.35 + tusk * 1.1, y + 22.0, 3.5),
        ]),
        Ink::Own([250, 246, 230]),
    );
    let ear = dice.between(0.85, 1.15);
    s.part(2).fill(
        blob(&[
            (x - 4.0, y - 17.0 * ear),
            (x - 20.0 * ear, y - 20.0 * ear),
            (x - 31.0 * ear, y - 2.0),
            (x - 22.0 * ear, y + 21.0 * ear),
            (x - 8.0, y + 20.0 * ear),
            (x - 1.0, y + 4.0),
        ]),
        Ink::Tone(-0.18),
    );
    s.rest();
    eye(s, x + 8.0, y - 5.0, 3.2);
}

pub(super) fn turtle(dice: &mut Dice, s: &mut Sketch) {
    let skin = Ink::Own(dice.pick(&[[150, 176, 96], [178, 168, 104], [122, 150, 98]]));
    if dice.chance(0.35) {
        return turtle_from_above(dice, s, skin);
    }
    let (rx, ry) = (dice.between(38.0, 44.0), dice.between(28.0, 38.0));
    s.fill(poly(&[(-rx + 6.0, -6.0), (-rx + 6.0, 4.0), (-rx - 13.0, 4.0)]), skin);
    for x in [-rx * 0.6, rx * 0.55] {
        s.fill(tube(&[(x, -3.0, 15.0), (x + 3.0, 13.0, 14.0)]), skin);
    }
    let (x, y) = (rx + dice.between(12.0, 18.0), -dice.between(8.0, 24.0));
    s.merge([tube(&[(rx * 0.7, -5.0, 15.0), (x, y + 2.0, 13.0)]), oval(x + 3.0, y, 13.0, 10.5)], skin);
    eye(s, x + 7.0, y - 3.0, 3.0);
    s.mark(tube(&[(x + 15.0, y + 4.0, 1.4), (x + 6.0, y + 5.0, 1.4)]), Ink::Own([60, 60, 40]));
    s.part(0).fill(
        blob(&[
            (-rx, -1.0),
            (-rx * 0.86, -ry * 0.6),
            (-rx * 0.4, -ry * 0.97),
            (rx * 0.4, -ry * 0.97),
            (rx * 0.86, -ry * 0.6),
            (rx, -1.0),
            (0.0, 4.0),
        ]),
        Ink::Body,
    );
    for plate in [-0.5, 0.0, 0.5] {
        let cx = rx * plate;
        let shade = Ink::Tone(-0.25);
        s.mark(
            poly(&[
                (cx - 8.0, -ry * 0.35),
                (cx - 4.0, -ry * 0.65),
                (cx + 4.0, -ry * 0.65),
                (cx + 8.0, -ry * 0.35),
                (cx + 4.0, -ry * 0.12),
                (cx - 4.0, -ry * 0.12),
            ]),
            shade,
        );
    }
    s.fill(tube(&[(-rx - 1.0, 0.0, 7.0), (0.0, 3.0, 7.0), (rx + 1.0, 0.0, 7.0)]), Ink::Tone(-0.3));
}

fn turtle_from_above(dice: &mut Dice, s: &mut Sketch, skin: Ink) {
    let (rx, ry) = (dice.between(32.0, 37.0), dice.between(36.0, 42.0));
    for (side, y) in [(-1.0, -ry * 0.62), (1.0, -ry * 0.62), (-1.0, ry * 0.68), (1.0, ry * 0.68)] {
        s.fill(tube(&[(side * rx * 0.6, y * 0.8, 16.0), (side * (rx + 9.0), y * 1.15, 12.0)]), skin);
    }
    s.fill(poly(&[(-5.0, ry - 4.0), (5.0, ry - 4.0), (0.0, ry + 13.0)]), skin);
    s.fill(oval(0.0, -ry - 9.0, 12.0, 15.0), skin);
    eye(s, -5.5, -ry - 14.0, 2.6);
    eye(s, 5.5, -ry - 14.0, 2.6);
    s.part(0).fill(oval(0.0, 0.0, rx, ry), Ink::Body);
    let hexagon = |x: f32, y: f32, r: f32| {
        let corners: Vec<(f32, f32)> =
            (0..6).map(|i| at((x, y), r, PI / 3.0 * i as f32 + PI / 6.0)).collect();
        poly(&corners)
    };
    s.mark(hexagon(0.0, 0.0, 11.0), Ink::Tone(-0.28));
    for plate in 0..6 {
        let (x, y) = at((0.0, 0.0), 22.0, PI / 3.0 * plate as f32);
        s.mark(hexagon(x, y, 8.5), Ink::Tone(-0.28));
    }
}

pub(super) fn snail(dice: &mut Dice, s: &mut Sketch) {
    let skin = Ink::Own(dice.pick(&[[206, 180, 140], [178, 160, 132], [222, 202, 164]]));
    let r = dice.between(32.0, 38.0);
    let long = dice.between(40.0, 50.0);
    let (x, y) = (long + 6.0, -dice.between(16.0, 28.0));
    for (shift, rise) in [(2.0, 21.0), (12.0, 18.0)] {
        s.fill(tube(&[(x + shift - 2.0, y, 3.5), (x + shift + 4.0, y - rise, 3.0)]), skin);
        s.fill(oval(x + shift + 4.0, y - rise, 4.0, 4.0), skin);
        s.mark(oval(x + shift + 5.0, y - rise, 2.2, 2.2), Ink::Own([26, 24, 24]));
    }
    s.merge(
        [tube(&[
            (-long, 7.0, 4.0),
            (-long * 0.4, 3.0, 13.0),
            (long * 0.4, 2.0, 17.0),
            (long, -3.0, 17.0),
            (x + 4.0, y + 3.0, 16.0),
        ])],
        skin,
    );
    s.mark(tube(&[(x + 11.0, y + 6.0, 1.6), (x + 5.0, y + 8.0, 1.6)]), Ink::Own([110, 84, 60]));
    let (cx, cy) = (-6.0, -r * 0.82);
    let tall = dice.between(0.9, 1.08);
    s.part(0).fill(oval(cx, cy, r, r * tall), Ink::Body);
    let turns = dice.between(2.0, 2.8);
    let spiral: Vec<(f32, f32, f32)> = (0..=18)
        .map(|i| i as f32 / 18.0)
        .map(|t| (at((cx, cy), r * (1.0 - t) * 0.98, 0.9 + t * turns * 2.0 * PI), 3.4 - 1.2 * t))
        .map(|((px, py), width)| (px, cy + (py - cy) * tall, width))
        .collect();
    s.mark(tube(&spiral), Ink::Tone(-0.5));
}
