//! Nature.

use super::super::draw::{Dice, Ink, Sketch, at, blob, oval, oval_turned, poly, tube};
use super::{leaf_green, leaf_shape};
use std::f32::consts::{PI, TAU};

pub(super) fn tree(dice: &mut Dice, s: &mut Sketch) {
    let bark = Ink::Own(dice.pick(&[[110, 74, 46], [128, 92, 62], [86, 62, 48]]));
    let thick = dice.between(10.0, 16.0);
    let foot = dice.between(30.0, 46.0);
    s.part(1).fill(
        poly(&[
            (-thick * 0.4, -14.0),
            (thick * 0.4, -14.0),
            (thick * 0.55, foot - 4.0),
            (thick * 0.9, foot),
            (-thick * 0.9, foot),
            (-thick * 0.55, foot - 4.0),
        ]),
        bark,
    );
    match dice.whole(0, 3) {
        // A fir: tiers of branches.
        0 => {
            let tiers = dice.whole(3, 4);
            s.part(0);
            for tier in 0..tiers {
                let y = 14.0 - 24.0 * tier as f32;
                let half = 36.0 * (1.0 - 0.2 * tier as f32);
                s.fill(
                    poly(&[
                        (0.0, y - 42.0),
                        (half * 0.5, y - 16.0),
                        (half, y),
                        (half * 0.4, y - 4.0),
                        (0.0, y + 2.0),
                        (-half * 0.4, y - 4.0),
                        (-half, y),
                        (-half * 0.5, y - 16.0),
                    ]),
                    Ink::Body,
                );
            }
        }
        // A poplar: one tall crown.
        1 => {
            let half = dice.between(17.0, 25.0);
            s.part(0).fill(
                blob(&[
                    (0.0, -86.0),
                    (half * 0.7, -58.0),
                    (half, -20.0),
                    (half * 0.6, 10.0),
                    (0.0, 16.0),
                    (-half * 0.6, 10.0),
                    (-half, -20.0),
                    (-half * 0.7, -58.0),
                ]),
                Ink::Body,
            );
            tufts(dice, s, half * 0.7, 36.0, -28.0);
        }
        // A broad crown out of several round ones.
        2 => {
            for side in [-1.0, 1.0] {
                s.fill(tube(&[(0.0, 4.0, 8.0), (side * 15.0, -18.0, 6.0)]), bark);
            }
            let crowns = dice.whole(5, 7);
            let mut shapes = vec![oval(0.0, -34.0, 30.0, 24.0)];
            for crown in 0..crowns {
                let (x, y) =
                    at((0.0, -32.0), 25.0, TAU * crown as f32 / crowns as f32 + dice.between(-0.2, 0.2));
                let r = dice.between(15.0, 21.0);
                shapes.push(oval(x * 1.2, y * 0.85 - 6.0, r, r * 0.95));
            }
            s.part(0).merge(shapes, Ink::Body);
            tufts(dice, s, 30.0, 22.0, -34.0);
        }
        // A round crown.
        _ => {
            let r = dice.between(33.0, 40.0);
            let edge: Vec<(f32, f32)> = (0..14)
                .map(|i| at((0.0, -32.0), r * dice.between(0.9, 1.1), TAU * i as f32 / 14.0))
                .collect();
            s.part(0).fill(blob(&edge), Ink::Body);
            tufts(dice, s, 24.0, 24.0, -32.0);
        }
    }
}

/// Lighter and darker strokes within a crown.
fn tufts(dice: &mut Dice, s: &mut Sketch, rx: f32, ry: f32, y: f32) {
    for _ in 0..dice.whole(4, 9) {
        let (cx, cy) = (dice.between(-rx, rx), y + dice.between(-ry, ry));
        let tone = dice.pick(&[-0.2, -0.2, 0.15]);
        s.mark(tube(&[(cx - 5.0, cy, 2.5), (cx, cy + 3.5, 3.5), (cx + 5.0, cy, 2.5)]), Ink::Tone(tone));
    }
}

pub(super) fn flower(dice: &mut Dice, s: &mut Sketch) {
    let green = Ink::Own(leaf_green(dice));
    let long = dice.between(50.0, 68.0);
    let bend = dice.between(-9.0, 9.0);
    s.part(1).fill(tube(&[(0.0, 0.0, 5.5), (bend, long * 0.5, 5.5), (0.0, long, 6.5)]), green);
    s.rest();
    for side in [-1.0, 1.0] {
        if dice.chance(0.75) {
            let angle = -PI / 2.0 + side * dice.between(0.7, 1.2);
            s.fill(
                leaf_shape(
                    (bend * 0.6, long * dice.between(0.6, 0.85)),
                    dice.between(22.0, 30.0),
                    angle,
                    0.4,
                ),
                green,
            );
        }
    }
    if dice.chance(0.28) {
        // A tulip.
        let (half, high) = (dice.between(22.0, 27.0), dice.between(42.0, 50.0));
        s.part(0).fill(
            blob(&[
                (0.0, 4.0),
                (-half * 0.9, -8.0),
                (-half, -high * 0.7),
                (-half * 0.75, -high),
                (-half * 0.35, -high * 0.72),
                (0.0, -high * 1.05),
                (half * 0.35, -high * 0.72),
                (half * 0.75, -high),
                (half, -high * 0.7),
                (half * 0.9, -8.0),
            ]),
            Ink::Body,
        );
        s.mark(tube(&[(-half * 0.35, -high * 0.7, 1.6), (-half * 0.3, -high * 0.3, 1.6)]), Ink::Tone(-0.3));
        s.mark(tube(&[(half * 0.35, -high * 0.7, 1.6), (half * 0.3, -high * 0.3, 1.6)]), Ink::Tone(-0.3));
        return;
    }
    let petals = dice.whole(5, 10);
    let (reach, wide) = (dice.between(17.0, 23.0), if petals < 7 { 13.0 } else { 8.5 });
    let start = dice.between(0.0, TAU);
    let shapes: Vec<_> = (0..petals)
        .map(|i| start + TAU * i as f32 / petals as f32)
        .map(|angle| (at((0.0, -4.0), reach, angle), angle))
        .map(|((x, y), angle)| oval_turned(x, y, 16.0, wide, angle))
        .collect();
    s.part(0);
    if dice.chance(0.5) {
        s.merge(shapes, Ink::Body);
    } else {
        for shape in shapes {
            s.fill(shape, Ink::Body);
        }
    }
    let heart = dice.between(8.5, 12.0);
    let centre = dice.pick(&[[250, 206, 60], [110, 66, 34], [250, 236, 150]]);
    s.rest().fill(oval(0.0, -4.0, heart, heart), Ink::Own(centre));
}

pub(super) fn mushroom(dice: &mut Dice, s: &mut Sketch) {
    let (half, thin) = (dice.between(11.0, 17.0), dice.between(0.7, 1.0));
    let long = dice.between(34.0, 52.0);
    let flesh = dice.pick(&[[240, 230, 208], [226, 212, 184], [248, 244, 234]]);
    s.part(1).fill(
        blob(&[
            (-half * thin, -4.0),
            (half * thin, -4.0),
            (half * thin, long * 0.5),
            (half * 1.3, long),
            (0.0, long + 4.0),
            (-half * 1.3, long),
            (-half * thin, long * 0.5),
        ]),
        Ink::Own(flesh),
    );
    let (rx, ry) = (dice.between(38.0, 48.0), dice.between(28.0, 46.0));
    let pointed = dice.between(0.6, 0.8);
    s.part(0).fill(
        blob(&[
            (-rx, 0.0),
            (-rx * 0.92, -ry * 0.4),
            (-rx * 0.55, -ry * pointed - 6.0),
            (0.0, -ry),
            (rx * 0.55, -ry * pointed - 6.0),
            (rx * 0.92, -ry * 0.4),
            (rx, 0.0),
            (rx * 0.5, 5.0),
            (0.0, 7.0),
            (-rx * 0.5, 5.0),
        ]),
        Ink::Body,
    );
    s.mark(oval(0.0, 6.5, rx * 0.8, 5.0), Ink::Own([206, 188, 160]));
}

pub(super) fn leaf(dice: &mut Dice, s: &mut Sketch) {
    let stem = Ink::Tone(-0.4);
    match dice.whole(0, 2) {
        // Pointed and plain.
        0 => {
            let (half, long) = (dice.between(22.0, 34.0), dice.between(78.0, 92.0));
            s.fill(tube(&[(0.0, -4.0, 4.5), (dice.between(-6.0, 6.0), 24.0, 4.0)]), stem);
            s.fill(leaf_shape((0.0, 0.0), long, -PI / 2.0, half / long), Ink::Body);
            veins(s, long, half * 0.8, 4);
        }
        // Lobed like an oak's.
        1 => {
            s.fill(tube(&[(0.0, -4.0, 4.5), (dice.between(-6.0, 6.0), 24.0, 4.0)]), stem);
            let right = [
                (5.0, -2.0),
                (20.0, -12.0),
                (9.0, -22.0),
                (28.0, -32.0),
                (12.0, -44.0),
                (28.0, -56.0),
                (11.0, -66.0),
                (15.0, -80.0),
                (0.0, -90.0),
            ];
            let wide = dice.between(0.85, 1.2);
            let mut edge: Vec<(f32, f32)> = right.iter().map(|&(x, y)| (x * wide, y)).collect();
            edge.extend(right.iter().rev().skip(1).map(|&(x, y)| (-x * wide, y)));
            s.fill(blob(&edge), Ink::Body);
            veins(s, 86.0, 20.0 * wide, 4);
        }
        // Five points like a maple's.
        _ => {
            s.fill(tube(&[(0.0, 4.0, 4.5), (dice.between(-6.0, 6.0), 38.0, 4.0)]), stem);
            let right = [
                (0.0, 8.0),
                (22.0, 14.0),
                (17.0, 3.0),
                (46.0, -6.0),
                (37.0, -15.0),
                (46.0, -34.0),
                (25.0, -27.0),
                (17.0, -36.0),
                (16.0, -56.0),
                (8.0, -48.0),
                (0.0, -68.0),
            ];
            let mut edge: Vec<(f32, f32)> = right.to_vec();
            edge.extend(right[1..10].iter().rev().map(|&(x, y)| (-x, y)));
            s.fill(poly(&edge), Ink::Body);
            for tip in [(0.0, -56.0), (34.0, -26.0), (-34.0, -26.0), (30.0, -4.0), (-30.0, -4.0)] {
                s.mark(tube(&[(0.0, 6.0, 2.6), (tip.0, tip.1, 1.4)]), Ink::Tone(-0.3));
            }
        }
    }
}

fn veins(s: &mut Sketch, long: f32, half: f32, pairs: usize) {
    s.mark(tube(&[(0.0, 0.0, 3.0), (0.0, -long * 0.9, 1.6)]), Ink::Tone(-0.3));
    for pair in 0..pairs {
        let y = -long * (0.15 + 0.6 * pair as f32 / pairs as f32);
        for side in [-1.0, 1.0] {
            s.mark(tube(&[(0.0, y, 1.8), (side * half * 0.7, y - 13.0, 1.2)]), Ink::Tone(-0.3));
        }
    }
}
