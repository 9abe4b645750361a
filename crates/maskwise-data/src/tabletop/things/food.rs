//! Food.

use super::super::draw::{
    Dice, Ink, Sketch, at, blob, holed, oval, oval_turned, poly, ring, sin, soft_poly, tube,
};
use super::{leaf_green, leaf_shape};
use std::f32::consts::{PI, TAU};

pub(super) fn apple(dice: &mut Dice, s: &mut Sketch) {
    let (rx, ry) = (dice.between(38.0, 46.0), dice.between(35.0, 44.0));
    let (dent, foot) = (dice.between(5.0, 11.0), dice.between(1.0, 6.0));
    let lean = dice.between(-8.0, 8.0);
    s.fill(
        tube(&[
            (0.0, -ry + dent + 4.0, 5.0),
            (lean * 0.4, -ry - 4.0, 4.5),
            (lean, -ry - dice.between(10.0, 16.0), 6.0),
        ]),
        Ink::Own([96, 62, 36]),
    );
    let side = dice.between(0.55, 0.72);
    s.fill(
        blob(&[
            (0.0, -ry + dent),
            (rx * 0.45, -ry),
            (rx * 0.95, -ry * 0.45),
            (rx * 0.97, ry * 0.1),
            (rx * side, ry * 0.8),
            (rx * 0.25, ry),
            (0.0, ry - foot),
            (-rx * 0.25, ry),
            (-rx * side, ry * 0.8),
            (-rx * 0.97, ry * 0.1),
            (-rx * 0.95, -ry * 0.45),
            (-rx * 0.45, -ry),
        ]),
        Ink::Body,
    );
    s.mark(oval(0.0, -ry + dent + 1.0, rx * 0.22, 4.0), Ink::Tone(-0.35));
    s.mark(oval_turned(-rx * 0.52, -ry * 0.4, 5.0, 11.0, 0.5), Ink::Tone(0.5));
    if dice.chance(0.75) {
        let leaf =
            leaf_shape((lean * 0.5, -ry - 4.0), dice.between(20.0, 28.0), dice.between(-0.7, 0.1), 0.42);
        s.fill(leaf, Ink::Own(leaf_green(dice)));
    }
}

pub(super) fn pear(dice: &mut Dice, s: &mut Sketch) {
    let (wide, neck) = (dice.between(30.0, 38.0), dice.between(13.0, 18.0));
    let lean = dice.between(-7.0, 7.0);
    let high = dice.between(44.0, 56.0);
    s.fill(tube(&[(lean, -high + 3.0, 5.0), (lean + 3.0, -high - 13.0, 5.0)]), Ink::Own([90, 60, 36]));
    s.fill(
        blob(&[
            (lean, -high),
            (lean + neck * 0.9, -high * 0.82),
            (lean * 0.6 + neck * 1.05, -high * 0.4),
            (wide * 0.95, 4.0),
            (wide, 22.0),
            (wide * 0.62, 41.0),
            (0.0, 45.0),
            (-wide * 0.62, 41.0),
            (-wide, 22.0),
            (-wide * 0.95, 4.0),
            (lean * 0.6 - neck * 1.05, -high * 0.4),
            (lean - neck * 0.9, -high * 0.82),
        ]),
        Ink::Body,
    );
    s.mark(oval_turned(-wide * 0.5, 14.0, 5.0, 12.0, 0.25), Ink::Tone(0.45));
    if dice.chance(0.6) {
        s.fill(
            leaf_shape((lean + 2.0, -high - 6.0), dice.between(20.0, 27.0), dice.between(-0.5, 0.3), 0.4),
            Ink::Own(leaf_green(dice)),
        );
    }
}

pub(super) fn banana(dice: &mut Dice, s: &mut Sketch) {
    let fruits = dice.pick(&[1, 1, 2, 3]);
    let (thick, bend) = (dice.between(24.0, 30.0), dice.between(16.0, 30.0));
    for fruit in 0..fruits {
        let lower = fruit as f32 * 15.0;
        let (x, y) = (-46.0 + lower * 0.6, -20.0);
        let spine = [
            (x, y, 8.0),
            (x + 12.0, y + 16.0 + lower * 0.3, thick * 0.75),
            (4.0 - lower * 0.2, bend + lower, thick),
            (38.0 - lower * 0.3, 8.0 + lower, thick * 0.8),
            (52.0 - lower * 0.2, -13.0 + lower, 8.0),
        ];
        s.fill(tube(&spine), Ink::Body);
        let crest: Vec<(f32, f32, f32)> =
            spine[1..4].iter().map(|&(x, y, _)| (x * 0.9 + 1.0, y - 4.0, 2.2)).collect();
        s.mark(tube(&crest), Ink::Tone(-0.22));
        let (x, y, _) = spine[4];
        s.bare(oval(x + 1.0, y - 2.0, 4.5, 4.5), Ink::Own([70, 52, 32]));
    }
    s.fill(tube(&[(-46.0, -16.0, 9.0), (-47.0, -31.0, 8.0)]), Ink::Own([104, 84, 40]));
}

pub(super) fn carrot(dice: &mut Dice, s: &mut Sketch) {
    let leaves = Ink::Own(leaf_green(dice));
    let fronds = dice.whole(3, 5);
    s.part(0);
    for frond in 0..fronds {
        let angle = -PI / 2.0 + (frond as f32 - (fronds - 1) as f32 / 2.0) * dice.between(0.32, 0.42);
        let (middle, tip) = (at((0.0, -2.0), 17.0, angle), at((0.0, -2.0), dice.between(30.0, 42.0), angle));
        s.fill(tube(&[(0.0, 2.0, 5.0), (middle.0, middle.1, 10.0), (tip.0, tip.1, 6.0)]), leaves);
    }
    let (half, long) = (dice.between(14.0, 21.0), dice.between(66.0, 86.0));
    let bend = dice.between(-9.0, 9.0);
    s.rest().fill(
        blob(&[
            (-half * 0.7, -2.0),
            (0.0, -4.0),
            (half * 0.7, -2.0),
            (half, 8.0),
            (half * 0.72 + bend * 0.3, long * 0.45),
            (bend + 2.5, long),
            (bend - 2.5, long),
            (-half * 0.72 + bend * 0.3, long * 0.45),
            (-half, 8.0),
        ]),
        Ink::Body,
    );
    for ring_line in 0..4 {
        let y = 12.0 + 14.0 * ring_line as f32 + dice.between(-3.0, 3.0);
        let x = half * (1.0 - y / long) * dice.pick(&[-1.0, 1.0]);
        s.mark(tube(&[(x, y, 2.0), (x * 0.1, y + 2.0, 2.0)]), Ink::Tone(-0.3));
    }
}

pub(super) fn ice_cream(dice: &mut Dice, s: &mut Sketch) {
    let half = dice.between(19.0, 25.0);
    let long = dice.between(46.0, 60.0);
    let wafer = Ink::Own(dice.pick(&[[222, 172, 104], [206, 150, 82], [232, 190, 128]]));
    s.part(0).fill(soft_poly(&[(-half, 0.0), (half, 0.0), (2.0, long), (-2.0, long)], 3.0), wafer);
    for i in -3..=3 {
        let x = i as f32 * half * 0.5;
        s.mark(tube(&[(x, 0.0, 1.6), (x + half, long, 1.6)]), Ink::Own([168, 112, 56]));
        s.mark(tube(&[(x, 0.0, 1.6), (x - half, long, 1.6)]), Ink::Own([168, 112, 56]));
    }
    s.rest();
    let r = half * 1.12;
    match dice.whole(0, 2) {
        // Soft ice in a swirl.
        0 => {
            for (level, y) in [0.0, -15.0, -29.0, -41.0].into_iter().enumerate() {
                let wide = r * (1.0 - 0.23 * level as f32);
                s.fill(oval_turned(0.0, y - 4.0, wide, 12.0, -0.12), Ink::Body);
            }
            s.fill(blob(&[(-5.0, -47.0), (2.0, -64.0), (6.0, -48.0)]), Ink::Body);
        }
        scoops => {
            if scoops == 2 {
                s.fill(oval(dice.between(-6.0, 6.0), -44.0, r * 0.88, r * 0.88), Ink::Body);
            }
            let drip = dice.between(3.0, 9.0);
            s.merge(
                [
                    oval(0.0, -12.0, r, r),
                    oval(-r * 0.6, 4.0, 7.0, 5.0),
                    oval(0.0, 3.0 + drip * 0.4, 7.0, 4.0 + drip * 0.5),
                    oval(r * 0.6, 4.0, 7.0, 5.0),
                ],
                Ink::Body,
            );
            s.mark(oval_turned(-r * 0.4, -20.0, 4.0, 8.0, 0.5), Ink::Tone(0.5));
        }
    }
}

pub(super) fn cupcake(dice: &mut Dice, s: &mut Sketch) {
    let (top, foot, high) = (dice.between(30.0, 36.0), dice.between(20.0, 26.0), dice.between(28.0, 36.0));
    let paper = dice.pick(&[[206, 152, 96], [240, 226, 200], [150, 96, 60], [225, 190, 140]]);
    s.fill(poly(&[(-top, 0.0), (top, 0.0), (foot, high), (-foot, high)]), Ink::Own(paper));
    for fold in -3..=3 {
        let share = fold as f32 / 3.5;
        s.mark(tube(&[(top * share, 0.0, 2.4), (foot * share, high, 2.4)]), Ink::Own([130, 90, 60]));
    }
    s.part(0);
    let swell = dice.between(1.05, 1.25);
    if dice.chance(0.6) {
        for (level, y) in [-3.0, -18.0, -31.0].into_iter().enumerate() {
            let wide = top * swell * (1.0 - 0.26 * level as f32);
            s.fill(oval(dice.between(-2.0, 2.0), y, wide, 12.5), Ink::Body);
        }
        s.fill(blob(&[(-8.0, -38.0), (1.0, -55.0), (8.0, -38.0)]), Ink::Body);
    } else {
        let r = top * swell;
        s.merge(
            [
                blob(&[(-r, 0.0), (-r * 0.8, -24.0), (0.0, -38.0), (r * 0.8, -24.0), (r, 0.0), (0.0, 4.0)]),
                oval(-r * 0.66, 2.0, r * 0.34, 8.0),
                oval(0.0, 3.0, r * 0.36, 9.0),
                oval(r * 0.66, 2.0, r * 0.34, 8.0),
            ],
            Ink::Body,
        );
    }
    for _ in 0..dice.whole(0, 12) {
        let (x, y) = (dice.between(-0.75, 0.75) * top, dice.between(-26.0, 0.0));
        let colour = dice.pick(&[[250, 240, 120], [240, 90, 110], [110, 190, 240], [255, 255, 255]]);
        s.mark(oval_turned(x, y, 3.2, 1.6, dice.between(0.0, PI)), Ink::Own(colour));
    }
    if dice.chance(0.5) {
        s.rest().fill(oval(0.0, -48.0, 7.5, 7.5), Ink::Own([204, 30, 52]));
    }
}

pub(super) fn donut(dice: &mut Dice, s: &mut Sketch) {
    let (r, flat) = (46.0, dice.between(0.72, 1.0));
    let hole = dice.between(0.26, 0.36);
    s.fill(
        ring(0.0, 3.0, r, r * flat, hole),
        Ink::Own(dice.pick(&[[206, 148, 84], [188, 128, 70], [222, 170, 108]])),
    );
    // The icing's edge waves inside the dough's.
    let waves = dice.whole(6, 10) as f32;
    let depth = dice.between(1.0, 4.0);
    let edge: Vec<(f32, f32)> = (0..40)
        .map(|i| {
            let angle = TAU * i as f32 / 40.0;
            let (x, y) = at((0.0, 0.0), r * 0.92 - depth * (1.0 + sin(angle * waves)), angle);
            (x, y * flat)
        })
        .collect();
    s.bare(holed(&edge, (0.0, 1.0), (r * hole * 1.18, r * flat * hole * 1.18)), Ink::Body);
    for _ in 0..dice.whole(0, 26) {
        let (x, y) = at((0.0, 0.0), r * dice.between(hole + 0.16, 0.78), dice.between(0.0, TAU));
        let colour =
            dice.pick(&[[250, 232, 100], [236, 84, 104], [104, 180, 240], [255, 255, 255], [110, 60, 40]]);
        s.mark(oval_turned(x, y * flat, 3.4, 1.5, dice.between(0.0, PI)), Ink::Own(colour));
    }
}
