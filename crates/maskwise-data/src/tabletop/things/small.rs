//! Animals that fly and swim.

use super::super::draw::{Dice, Ink, Sketch, at, blob, oval, oval_turned, poly, tube};
use super::eye;
use std::f32::consts::PI;

pub(super) fn bird(dice: &mut Dice, s: &mut Sketch) {
    let beak = Ink::Own(dice.pick(&[[244, 162, 40], [232, 126, 44], [236, 190, 64]]));
    if dice.chance(0.4) { flying_bird(dice, s, beak) } else { perched_bird(dice, s, beak) }
}

fn perched_bird(dice: &mut Dice, s: &mut Sketch, beak: Ink) {
    let (rx, ry) = (dice.between(28.0, 36.0), dice.between(21.0, 27.0));
    let lean = dice.between(0.2, 0.6);
    let leg = dice.between(14.0, 24.0);
    for x in [-2.0, 8.0] {
        s.fill(tube(&[(x, ry * 0.7, 3.6), (x + 1.0, ry + leg, 3.6)]), beak);
        s.fill(tube(&[(x - 6.0, ry + leg, 3.2), (x + 9.0, ry + leg, 3.2)]), beak);
    }
    let tail = at((0.0, 0.0), rx + 26.0, PI - lean);
    let (root_x, root_y) = at((0.0, 0.0), rx * 0.7, PI - lean);
    s.fill(
        poly(&[
            (root_x, root_y - 8.0),
            (tail.0 - 2.0, tail.1 - 6.0),
            (tail.0 + 1.0, tail.1 + 9.0),
            (root_x + 4.0, root_y + 8.0),
        ]),
        Ink::Tone(-0.2),
    );
    let (x, y) = (rx * 0.75, -ry * 0.95);
    let r = dice.between(14.0, 18.0);
    let long = dice.between(18.0, 25.0);
    s.part(1).fill(poly(&[(x + r * 0.6, y - 8.0), (x + r + long, y + 2.0), (x + r * 0.55, y + 10.0)]), beak);
    s.rest().merge([oval_turned(0.0, 0.0, rx, ry, -lean * 0.5), oval(x, y, r, r)], Ink::Body);
    if dice.chance(0.5) {
        s.mark(oval_turned(rx * 0.55, ry * 0.45, rx * 0.5, ry * 0.5, -0.8), Ink::Tone(0.45));
    }
    if dice.chance(0.3) {
        for tuft in [-0.5, 0.0, 0.5] {
            let (tx, ty) = at((x - 2.0, y), r + 11.0, -PI / 2.0 - 0.3 + tuft);
            s.fill(tube(&[(x - 2.0, y - r + 2.0, 4.0), (tx, ty, 3.0)]), Ink::Tone(-0.2));
        }
    }
    eye(s, x + 4.0, y - 3.0, 3.6);
    let drop = dice.between(8.0, 15.0);
    s.part(0).fill(
        blob(&[
            (rx * 0.35, -6.0),
            (rx * 0.2, drop),
            (-rx * 0.3, drop + 6.0),
            (-rx * 0.95, drop * 0.6 + 6.0),
            (-rx * 1.1, drop * 0.3 + 2.0),
            (-rx * 0.5, -8.0),
            (0.0, -12.0),
        ]),
        Ink::Tone(-0.3),
    );
    s.mark(tube(&[(rx * 0.05, drop - 2.0, 1.8), (-rx * 0.7, drop * 0.5 + 5.0, 1.8)]), Ink::Tone(-0.55));
}

fn flying_bird(dice: &mut Dice, s: &mut Sketch, beak: Ink) {
    let (rx, ry) = (dice.between(28.0, 36.0), dice.between(13.0, 17.0));
    let up = dice.between(42.0, 58.0);
    let wing = |back: f32| {
        blob(&[
            (14.0 + back, -4.0),
            (8.0 + back, -up * 0.55),
            (-12.0 + back, -up),
            (-30.0 + back, -up * 0.95),
            (-24.0 + back, -up * 0.55),
            (-18.0 + back, -4.0),
        ])
    };
    s.part(0).fill(wing(14.0), Ink::Tone(-0.4));
    s.rest().fill(
        poly(&[
            (-rx * 0.7, -6.0),
            (-rx - 22.0, -12.0),
            (-rx - 17.0, 0.0),
            (-rx - 23.0, 10.0),
            (-rx * 0.7, 6.0),
        ]),
        Ink::Tone(-0.2),
    );
    let (x, y) = (rx * 0.95, -8.0);
    let r = dice.between(11.0, 14.0);
    s.part(1).fill(
        poly(&[(x + r * 0.6, y - 7.0), (x + r + dice.between(17.0, 22.0), y + 2.0), (x + r * 0.6, y + 6.0)]),
        beak,
    );
    s.rest().merge([oval(0.0, 0.0, rx, ry), oval(x, y, r, r)], Ink::Body);
    eye(s, x + 4.0, y - 2.0, 3.0);
    s.part(0).fill(wing(-4.0), Ink::Tone(-0.25));
    for feather in [0.3, 0.6] {
        s.mark(
            tube(&[(8.0 - 22.0 * feather, -8.0, 1.6), (-4.0 - 26.0 * feather, -up * 0.8, 1.6)]),
            Ink::Tone(-0.5),
        );
    }
}

pub(super) fn fish(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(34.0, 44.0), dice.between(18.0, 32.0));
    let tail = dice.between(17.0, 25.0);
    let fork = dice.between(4.0, 14.0);
    s.part(1).fill(
        blob(&[
            (-rx * 0.8, -4.0),
            (-rx - 10.0, -tail * 0.8),
            (-rx - 25.0, -tail),
            (-rx - 25.0 + fork, 0.0),
            (-rx - 25.0, tail),
            (-rx - 10.0, tail * 0.8),
            (-rx * 0.8, 4.0),
        ]),
        Ink::Tone(-0.14),
    );
    let high = dice.between(12.0, 18.0);
    s.part(0);
    s.fill(
        blob(&[
            (rx * 0.35, -ry * 0.75),
            (-rx * 0.05, -ry - high),
            (-rx * 0.55, -ry - high * 0.8),
            (-rx * 0.5, -ry * 0.6),
        ]),
        Ink::Tone(-0.14),
    );
    s.fill(
        blob(&[
            (rx * 0.1, ry * 0.75),
            (-rx * 0.2, ry + high * 0.8),
            (-rx * 0.55, ry + high * 0.6),
            (-rx * 0.4, ry * 0.6),
        ]),
        Ink::Tone(-0.14),
    );
    let point = dice.between(0.6, 0.85);
    s.rest().fill(
        blob(&[
            (rx, 0.0),
            (rx * 0.75, -ry * 0.6),
            (rx * 0.15, -ry),
            (-rx * 0.5, -ry * point),
            (-rx, -5.0),
            (-rx, 5.0),
            (-rx * 0.5, ry * point),
            (rx * 0.15, ry),
            (rx * 0.75, ry * 0.6),
        ]),
        Ink::Body,
    );
    eye(s, rx * 0.62, -ry * 0.2, 4.4);
    s.mark(
        tube(&[(rx * 0.36, -ry * 0.7, 1.8), (rx * 0.28, 0.0, 1.8), (rx * 0.36, ry * 0.7, 1.8)]),
        Ink::Tone(-0.4),
    );
    s.mark(tube(&[(rx * 0.98, ry * 0.22, 1.8), (rx * 0.78, ry * 0.32, 1.8)]), Ink::Tone(-0.6));
    if dice.chance(0.5) {
        for (column, x) in [-0.1, -0.35, -0.6].into_iter().enumerate() {
            for row in -1..=1 {
                let y = ry * 0.42 * (row as f32) + if column == 1 { 5.0 } else { 0.0 };
                s.mark(
                    tube(&[
                        (rx * x + 4.0, y - 4.5, 1.4),
                        (rx * x - 1.0, y, 1.4),
                        (rx * x + 4.0, y + 4.5, 1.4),
                    ]),
                    Ink::Tone(-0.14),
                );
            }
        }
    }
    s.part(0).fill(
        blob(&[(rx * 0.2, ry * 0.1), (-rx * 0.1, ry * 0.05), (-rx * 0.3, ry * 0.42), (-rx * 0.1, ry * 0.5)]),
        Ink::Tone(-0.35),
    );
}

pub(super) fn butterfly(dice: &mut Dice, s: &mut Sketch) {
    let (wide, high) = (dice.between(40.0, 50.0), dice.between(30.0, 42.0));
    let (low_wide, low) = (dice.between(28.0, 38.0), dice.between(26.0, 36.0));
    let pointed = dice.between(0.75, 1.05);
    let dots = dice.chance(0.7);
    let rim = if dice.chance(0.4) { Ink::Tone(-0.6) } else { Ink::Body };
    s.part(0);
    for side in [-1.0, 1.0] {
        let upper = |k: f32| {
            blob(&[
                (side * 2.0, -5.0),
                (side * wide * 0.35 * k, -high * 0.8 * k),
                (side * wide * 0.85 * k, -high * pointed * k),
                (side * wide * k, -high * 0.45 * k),
                (side * wide * 0.7 * k, 2.0 * k),
                (side * 3.0, 4.0),
            ])
        };
        let lower = |k: f32| {
            blob(&[
                (side * 2.0, 0.0),
                (side * low_wide * 0.8 * k, 2.0 * k),
                (side * low_wide * k, low * 0.5 * k),
                (side * low_wide * 0.6 * k, low * k),
                (side * low_wide * 0.2 * k, low * 0.7 * k),
            ])
        };
        if matches!(rim, Ink::Body) {
            s.fill(lower(1.0), Ink::Body).fill(upper(1.0), Ink::Body);
        } else {
            s.fill(lower(1.0), rim).fill(upper(1.0), rim);
            s.bare(lower(0.84), Ink::Body).bare(upper(0.86), Ink::Body);
        }
        if dots {
            s.mark(oval(side * wide * 0.66, -high * 0.52, 6.0, 6.5), Ink::Tone(0.6));
            s.mark(oval(side * low_wide * 0.6, low * 0.5, 5.0, 5.0), Ink::Tone(0.6));
        }
    }
    let body = Ink::Own(dice.pick(&[[52, 42, 42], [92, 66, 46], [40, 44, 60]]));
    s.rest();
    for side in [-1.0, 1.0] {
        s.fill(tube(&[(side * 2.0, -18.0, 2.4), (side * 6.0, -30.0, 2.2), (side * 14.0, -38.0, 3.0)]), body);
    }
    s.merge([oval(0.0, 4.0, 4.5, 25.0), oval(0.0, -19.0, 6.0, 6.0)], body);
}
